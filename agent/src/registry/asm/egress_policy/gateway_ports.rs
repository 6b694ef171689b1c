//! Which port of the gateway a destination is reached by: declared, or assigned by ASM.

use serde_yaml::Value;

use super::raw;
use crate::registry::{
    findings::Findings,
    meta::Meta,
    port::{Protocol, ServicePort, check_number, in_range},
    report::Code,
};

/// How the ports of one policy are given.
pub(super) enum GatewayPorts<'a> {
    /// Each destination declares its own.
    Declared,
    /// ASM assigns all of them, and writes them into the status.
    Assigned(&'a Value),
}

const ASSIGNED_HTTP: u16 = 10_000;
const ASSIGNED_GRPC: u16 = 50_051;

impl<'a> GatewayPorts<'a> {
    /// Only the newer version assigns ports, and only if no destination declares one.
    pub(super) fn of(meta: &Meta, document: &'a Value, spec: &raw::Spec) -> Self {
        let mut all = spec.egress_rules.iter().flat_map(|rule| &rule.to);
        let is_declared = meta.version() == "v1beta1" || all.any(|to| declared(to) != 0);
        if is_declared { Self::Declared } else { Self::Assigned(document) }
    }

    /// The port for a destination at `path`; none if ASM has not assigned it yet, or it was
    /// reported.
    pub(super) fn get(
        &self,
        to: &raw::To,
        port: Option<&ServicePort>,
        path: &str,
        found: &mut Findings<'_>,
    ) -> Option<u16> {
        let path = format!("{path}.byEgressGateway.port");
        match self {
            Self::Declared if declared(to) == 0 => {
                let message = "a port of the gateway is missing (v1beta1 needs one for each destination, v1 for all or none)";
                found.add(Code::AsmSpec, path, message);
                None
            }
            Self::Declared => check_number(declared(to), path, Code::PortRange, found),
            Self::Assigned(document) => {
                let port = port?;
                written(document, to.hosts.first()?, port.number).or(match port.protocol {
                    Protocol::Http | Protocol::Http2 => Some(ASSIGNED_HTTP),
                    Protocol::Grpc => Some(ASSIGNED_GRPC),
                    // One of 10001 to 20000 for each host and port: the status says which.
                    Protocol::GrpcWeb
                    | Protocol::HttpProxy
                    | Protocol::Https
                    | Protocol::Tls
                    | Protocol::Tcp
                    | Protocol::Mongo
                    | Protocol::Redis
                    | Protocol::Mysql
                    | Protocol::Udp
                    | Protocol::Sniffed => None,
                })
            }
        }
    }
}

fn declared(to: &raw::To) -> i64 {
    to.by_egress_gateway.as_ref().map_or(0, |gateway| gateway.port)
}

/// Reads the status, which ASM writes. What cannot be read there is left out: it opens nothing.
fn written(document: &Value, host: &str, number: u16) -> Option<u16> {
    let ports = document.get("status")?.get("autoAllocatedGatewayPorts")?;
    in_range(ports.get(format!("{host}-{number}"))?.as_i64()?)
}

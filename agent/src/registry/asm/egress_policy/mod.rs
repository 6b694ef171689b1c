//! `ASMEgressTrafficPolicy`: which workloads reach which hosts through an egress gateway.

mod check;
mod gateway_ports;
mod raw;

use serde_yaml::Value;

use super::super::{
    findings::Checked, header::Header, host::HostPattern, labels::Labels, meta::Meta,
    port::ServicePort, shape::read_spec,
};

/// A valid policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EgressPolicy {
    pub header: Header,
    /// Name of the ASM gateway; its Service is `istio-<name>` in `istio-system`.
    pub gateway: String,
    pub rules: Vec<EgressRule>,
}

/// Sources and destinations, each with each.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EgressRule {
    /// One of them must fit.
    pub from: Vec<Source>,
    pub to: Vec<EgressTo>,
}

/// Workloads of a namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Source {
    pub namespace: String,
    /// Empty: all.
    pub selector: Labels,
}

/// Hosts that are reached through the gateway.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EgressTo {
    pub hosts: Vec<HostPattern>,
    pub port: ServicePort,
    /// The gateway's port; none if it is assigned automatically and not yet known.
    pub gateway_port: Option<u16>,
}

impl EgressPolicy {
    /// Checks a document whose metadata were read.
    ///
    /// Source: <https://www.alibabacloud.com/help/en/asm/sidecar/crd-fields-in-an-egress-traffic-policy>.
    pub fn check(meta: &Meta, document: &Value) -> Checked<Self> {
        match read_spec::<raw::Spec>(meta, document) {
            Ok((spec, warnings)) => check::check(meta, document, &spec, warnings),
            Err(report) => Checked::refused(*report),
        }
    }
}

#[cfg(test)]
mod tests;

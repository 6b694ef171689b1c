//! The rules for the ports of an `ExternalService`.

use std::collections::BTreeSet;

use super::{ExternalPort, GatewayRoute, TargetPort, raw};
use crate::registry::{
    findings::Findings,
    host::is_dns_label,
    port::{Protocol, ServicePort, check_number},
    report::Code,
};

/// `portMatch`, if it is absent.
const PORT_MATCH: u16 = 80;
const TLS_MODES: [&str; 4] = ["SIMPLE", "MUTUAL", "ISTIO_MUTUAL", "DISABLE"];

pub(super) fn check(
    spec: &raw::Spec,
    namespace: &str,
    found: &mut Findings<'_>,
) -> Vec<ExternalPort> {
    let mut numbers = BTreeSet::new();
    let mut names = BTreeSet::new();
    let mut matches = BTreeSet::new();
    let mut ports = Vec::new();
    for (index, raw) in spec.ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        let number = check_number(raw.number, format!("{path}.number"), Code::PortRange, found);
        if number.is_some() && !numbers.insert(raw.number) {
            let message = format!("port {} is declared twice", raw.number);
            found.add(Code::PortNumberDuplicate, format!("{path}.number"), message);
        }
        name(raw, spec.ports.len() > 1, &path, &mut names, found);
        let protocol = protocol(raw, &path, found);
        let target = raw.target.as_ref().and_then(|it| target(it, spec, &path, found));
        let originates_tls = originates_tls(raw, &path, found);
        let gateway = raw.egress_gateway_routes.as_ref().and_then(|it| {
            let path = format!("{path}.egressGatewayRoutes");
            carrier(spec, protocol, &path, found);
            route(it, namespace, &path, &mut matches, found)
        });
        if let (Some(number), Some(protocol)) = (number, protocol) {
            let port = ServicePort { number, name: raw.name.clone(), protocol, target: None };
            ports.push(ExternalPort { port, target, originates_tls, gateway });
        }
    }
    ports
}

fn name<'a>(
    raw: &'a raw::Port,
    is_required: bool,
    path: &str,
    names: &mut BTreeSet<&'a str>,
    found: &mut Findings<'_>,
) {
    let path = format!("{path}.name");
    if raw.name.is_empty() {
        if is_required {
            let message = "each port needs a name, because there are several";
            found.add(Code::PortName, path, message);
        }
    } else if !is_dns_label(&raw.name) {
        found.add(Code::PortName, path, format!("`{}` is not a DNS label", raw.name));
    } else if !names.insert(&raw.name) {
        found.add(Code::PortNameDuplicate, path, format!("the name `{}` stands twice", raw.name));
    }
}

fn protocol(raw: &raw::Port, path: &str, found: &mut Findings<'_>) -> Option<Protocol> {
    let protocol = Protocol::parse(&raw.protocol).filter(|protocol| {
        matches!(
            protocol,
            Protocol::Http
                | Protocol::Https
                | Protocol::Grpc
                | Protocol::Http2
                | Protocol::Mongo
                | Protocol::Tcp
                | Protocol::Tls
        )
    });
    if protocol.is_none() {
        let message = format!(
            "`{}` is not one of HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP, TLS (one is required)",
            raw.protocol
        );
        found.add(Code::PortProtocol, format!("{path}.protocol"), message);
    }
    protocol
}

fn target(
    raw: &raw::Target,
    spec: &raw::Spec,
    path: &str,
    found: &mut Findings<'_>,
) -> Option<TargetPort> {
    let path = format!("{path}.targetPort");
    match (raw.number, raw.name.as_deref().filter(|name| !name.is_empty())) {
        (Some(number), None) => {
            check_number(number, format!("{path}.number"), Code::TargetPortRange, found)
                .map(TargetPort::Number)
        }
        (None, Some(name)) => {
            if spec.selector.is_empty() {
                let message = format!(
                    "`{name}` names a port of endpoints, but the selector selects none (give a number, or select endpoints)"
                );
                found.add(Code::GlooTargetPort, format!("{path}.name"), message);
            }
            Some(TargetPort::Name(name.to_owned()))
        }
        (Some(_), Some(_)) | (None, None) => {
            let message = "a target port has a number or a name, one of them";
            found.add(Code::GlooTargetPort, path, message);
            None
        }
    }
}

/// Whether a proxy must begin TLS. Whoever orders TLS without a mode gets it.
fn originates_tls(raw: &raw::Port, path: &str, found: &mut Findings<'_>) -> bool {
    let Some(tls) = &raw.clientside_tls else {
        return false;
    };
    let mode = tls.mode.to_ascii_uppercase();
    if !mode.is_empty() && !TLS_MODES.contains(&mode.as_str()) {
        let message = format!("`{}` is not one of {}", tls.mode, TLS_MODES.join(", "));
        found.add(Code::GlooTls, format!("{path}.clientsideTls.mode"), message);
    }
    mode != "DISABLE"
}

/// Whether a port can be routed through a gateway at all.
fn carrier(spec: &raw::Spec, protocol: Option<Protocol>, path: &str, found: &mut Findings<'_>) {
    if spec.hosts.is_empty() {
        let message = "only a service with hosts can be reached through a gateway";
        found.add(Code::GlooGatewayRoute, path, message);
    }
    let is_carried = |it| matches!(it, Protocol::Http | Protocol::Http2 | Protocol::Https);
    if !protocol.is_none_or(is_carried) {
        let message = "only HTTP, HTTP2 and HTTPS ports can be reached through a gateway";
        found.add(Code::GlooGatewayRoute, path, message);
    }
}

fn route(
    raw: &raw::Routes,
    namespace: &str,
    path: &str,
    matches: &mut BTreeSet<u16>,
    found: &mut Findings<'_>,
) -> Option<GatewayRoute> {
    let mut gateways = Vec::new();
    for (index, reference) in raw.virtual_gateway_refs.iter().enumerate() {
        if reference.name.is_empty() {
            let path = format!("{path}.virtualGatewayRefs[{index}].name");
            found.add(Code::GlooGatewayRoute, path, "a gateway is meant by its name");
        }
        let own = if reference.namespace.is_empty() { namespace } else { &reference.namespace };
        gateways.push((own.to_owned(), reference.name.clone()));
    }
    let path = format!("{path}.portMatch");
    // 0 is how protobuf writes an absent number.
    let port = match raw.port_match {
        0 => PORT_MATCH,
        number => check_number(number, path.as_str(), Code::GlooGatewayRoute, found)?,
    };
    if !matches.insert(port) {
        let message = format!("another port of the service is matched by port {port} already");
        found.add(Code::GlooGatewayRoute, path, message);
    }
    let is_remote = raw.virtual_gateway_refs.iter().any(|it| !it.cluster.is_empty());
    Some(GatewayRoute { gateways, is_remote, port })
}

//! The ports of a `Service`: their rules, and what they carry.

use std::collections::BTreeSet;

use exeat_common::flow::protocol;

use super::{Port, Target, raw};
use crate::registry::{
    findings::Findings,
    host::is_dns_label,
    kubernetes::transport,
    port::{Protocol, check_number, in_range},
    report::Code,
};

/// Longest name of a container port (RFC 6335 §5.1).
const PORT_NAME_BYTES: usize = 15;

pub(super) fn check(raw: &[raw::Port], found: &mut Findings<'_>) -> Vec<Port> {
    let mut names = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    let mut ports = Vec::new();
    for (index, port) in raw.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        name(port, raw.len() > 1, &path, &mut names, found);
        let number = check_number(port.number, format!("{path}.port"), Code::PortRange, found);
        let transport = transport::check(&port.protocol, &format!("{path}.protocol"), found);
        let target = target(port, &path, found);
        if let (Some(number), Some(transport)) = (number, transport) {
            if !numbers.insert((number, transport)) {
                let message = format!("port {number} is declared twice for one protocol");
                found.add(Code::PortNumberDuplicate, format!("{path}.port"), message);
            }
            let protocol = if transport == protocol::UDP { Protocol::Udp } else { carries(port) };
            ports.push(Port { name: port.name.clone(), number, protocol, target });
        }
    }
    ports
}

fn name<'a>(
    port: &'a raw::Port,
    is_required: bool,
    path: &str,
    names: &mut BTreeSet<&'a str>,
    found: &mut Findings<'_>,
) {
    let name = port.name.as_str();
    if name.is_empty() {
        if is_required {
            let message = "each port needs a name, because there are several";
            found.add(Code::PortName, format!("{path}.name"), message);
        }
    } else if !is_dns_label(name) {
        let message = format!("`{name}` is not a DNS label");
        found.add(Code::PortName, format!("{path}.name"), message);
    } else if !names.insert(name) {
        let message = format!("the name `{name}` stands twice");
        found.add(Code::PortNameDuplicate, format!("{path}.name"), message);
    }
}

fn target(port: &raw::Port, path: &str, found: &mut Findings<'_>) -> Option<Target> {
    let target = match port.target.as_ref()? {
        // How an absent value is written out.
        raw::Target::Number(0) => return None,
        raw::Target::Name(name) if name.is_empty() => return None,
        raw::Target::Number(number) => in_range(*number).map(Target::Number),
        raw::Target::Name(name) => {
            let is_name = is_dns_label(name)
                && name.len() <= PORT_NAME_BYTES
                && name.bytes().any(|byte| byte.is_ascii_alphabetic());
            is_name.then(|| Target::Name(name.clone()))
        }
    };
    if target.is_none() {
        let message = "this is neither a port (1 to 65535) nor the name of a container port";
        found.add(Code::TargetPortRange, format!("{path}.targetPort"), message);
    }
    target
}

/// What a TCP port carries: `appProtocol` says it, else the name up to the first hyphen.
///
/// Source: <https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/>.
fn carries(port: &raw::Port) -> Protocol {
    let text = match port.app_protocol.as_deref() {
        Some("kubernetes.io/h2c") => "http2",
        Some("kubernetes.io/ws") => "http",
        Some("kubernetes.io/wss") => "https",
        Some(text) => text,
        None => &port.name,
    };
    let is_grpc_web = text.get(..8).is_some_and(|it| it.eq_ignore_ascii_case("grpc-web"));
    let prefix = if is_grpc_web { "grpc-web" } else { text.split('-').next().unwrap_or_default() };
    match Protocol::parse(prefix) {
        // A name makes no UDP of a TCP port.
        Some(Protocol::Udp) => Protocol::Tcp,
        Some(protocol) => protocol,
        None => Protocol::Sniffed,
    }
}

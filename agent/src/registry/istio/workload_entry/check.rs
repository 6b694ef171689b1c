//! The rules of a `WorkloadEntry` that need nothing but the object itself.

use std::{collections::BTreeMap, net::IpAddr};

use super::{WorkloadEntry, raw};
use crate::registry::{
    endpoint::{Endpoint, EndpointAddress},
    findings::{Checked, Findings},
    header::Header,
    host::{HostPattern, is_dns_label},
    labels::{Labels, is_key, is_value},
    meta::Meta,
    port::in_range,
    report::{Code, Report},
};

/// What unix sockets begin with, where addresses stand.
const UNIX: &str = "unix://";

pub(super) fn check(
    meta: &Meta,
    spec: &raw::Spec,
    warnings: Vec<Report>,
) -> Checked<WorkloadEntry> {
    let mut found = Findings::new(&meta.object, warnings);
    self::labels(&spec.labels, "spec", &mut found);
    let address = address(spec, &mut found);
    let ports = ports(spec, &mut found);
    let mut labels = spec.labels.clone();
    labels.extend(meta.labels.clone());
    let endpoint = address.map(|address| Endpoint { address, ports, weight: spec.weight.max(1) });
    match endpoint {
        Some(endpoint) => {
            found.finish(WorkloadEntry { header: Header::new(meta), labels, endpoint })
        }
        None => Checked { value: None, reports: found.finish(()).reports },
    }
}

/// Which of the addresses an entry can use depends on its resolution, so all are valid here.
fn address(spec: &raw::Spec, found: &mut Findings<'_>) -> Option<EndpointAddress> {
    const PATH: &str = "spec.address";
    let text = spec.address.as_str();
    if text.is_empty() {
        if spec.network.is_empty() {
            found.add(Code::EndpointAddress, PATH, "an address or a network is needed");
            return None;
        }
        let message = "without an address it is reached through a gateway of its network only; it counts for nothing here";
        found.add(Code::EndpointNetwork, PATH, message);
        return Some(EndpointAddress::Network(spec.network.clone()));
    }
    if let Some(socket) = text.strip_prefix(UNIX) {
        if !spec.ports.is_empty() {
            found.add(Code::UdsPorts, "spec.ports", "a unix socket has no ports");
        }
        if is_socket(socket) {
            return Some(EndpointAddress::Unix(socket.to_owned()));
        }
        let message = format!("`{text}` is neither an absolute path nor an abstract name");
        found.add(Code::UdsPath, PATH, message);
        return None;
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(EndpointAddress::Ip(ip.to_canonical()));
    }
    match HostPattern::parse(text) {
        Ok(name) if !name.is_wildcard() => Some(EndpointAddress::Name(name)),
        _ => {
            let message = format!("`{text}` is neither an IP address, a plain name nor a socket");
            found.add(Code::EndpointAddress, PATH, message);
            None
        }
    }
}

fn ports(spec: &raw::Spec, found: &mut Findings<'_>) -> BTreeMap<String, u16> {
    let mut ports = BTreeMap::new();
    for (name, number) in &spec.ports {
        let path = format!("spec.ports.{name}");
        if !is_dns_label(name) {
            let message = format!("`{name}` is not a DNS label, as names of ports are");
            found.add(Code::EndpointPort, path, message);
        } else if let Some(number) = in_range(*number) {
            ports.insert(name.clone(), number);
        } else {
            let message = format!("{number} is not a port (1 to 65535)");
            found.add(Code::EndpointPort, path, message);
        }
    }
    ports
}

/// Checks the labels of an endpoint at `path`.
pub(in crate::registry::istio) fn labels(labels: &Labels, path: &str, found: &mut Findings<'_>) {
    for (key, value) in labels {
        if !is_key(key) || !is_value(value) {
            let message = format!("`{key}: {value}` is not a Kubernetes label");
            found.add(Code::EndpointLabel, format!("{path}.labels"), message);
        }
    }
}

/// Whether what stands behind `unix://` is the absolute path of a file, or an abstract name.
pub(in crate::registry::istio) fn is_socket(text: &str) -> bool {
    (text.starts_with('/') && !text.ends_with('/')) || (text.starts_with('@') && text.len() > 1)
}

//! The rules for the endpoints of a `ServiceEntry`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{Resolution, raw};
use crate::registry::{
    endpoint::{Endpoint, EndpointAddress},
    findings::Findings,
    host::HostPattern,
    istio::workload_entry::check::{is_socket, labels},
    port::in_range,
    report::Code,
};

pub(super) fn check_all(
    spec: &raw::Spec,
    resolution: Resolution,
    found: &mut Findings<'_>,
) -> Vec<Endpoint> {
    let refused = match resolution {
        Resolution::None => Some((Code::NoneEndpoints, "NONE goes to the address dialled")),
        Resolution::DynamicDns => Some((Code::DynamicEndpoints, "DYNAMIC_DNS goes by name")),
        Resolution::Static | Resolution::Dns | Resolution::DnsRoundRobin => None,
    };
    if let Some((code, why)) = refused {
        if !spec.endpoints().is_empty() {
            found.add(code, "spec.endpoints", format!("resolution {why} and takes no endpoints"));
        }
        return Vec::new();
    }
    if resolution == Resolution::DnsRoundRobin && spec.endpoints().len() > 1 {
        found.add(
            Code::DnsRoundRobinEndpoints,
            "spec.endpoints",
            "DNS_ROUND_ROBIN takes one endpoint at most",
        );
    }
    let names: BTreeSet<&str> = spec.ports.iter().map(|port| port.name.as_str()).collect();
    let mut endpoints = Vec::new();
    for (index, endpoint) in spec.endpoints().iter().enumerate() {
        let path = format!("spec.endpoints[{index}]");
        labels(&endpoint.labels, &path, found);
        let address = address(endpoint, resolution, &path, found);
        let ports = if matches!(address, Some(EndpointAddress::Unix(_))) {
            unix_ports(spec, endpoint, &path, found);
            BTreeMap::new()
        } else {
            ports(&names, endpoint, &path, found)
        };
        if let Some(address) = address {
            endpoints.push(Endpoint { address, ports, weight: endpoint.weight.max(1) });
        }
    }
    endpoints
}

fn address(
    endpoint: &raw::Endpoint,
    resolution: Resolution,
    path: &str,
    found: &mut Findings<'_>,
) -> Option<EndpointAddress> {
    let text = endpoint.address.as_str();
    let path = format!("{path}.address");
    if text.is_empty() {
        if endpoint.network.is_empty() {
            let message = "an endpoint needs an address or a network";
            found.add(Code::EndpointAddress, path, message);
            return None;
        }
        let message = "without an address the endpoint is reached through a gateway of its network only; it counts for nothing here";
        found.add(Code::EndpointNetwork, path, message);
        return Some(EndpointAddress::Network(endpoint.network.clone()));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(EndpointAddress::Ip(ip.to_canonical()));
    }
    let socket = text.strip_prefix("unix://");
    if resolution == Resolution::Static {
        let Some(socket) = socket else {
            let message = format!("`{text}`: STATIC endpoints are IP addresses or unix sockets");
            found.add(Code::StaticFqdn, path, message);
            return None;
        };
        if !is_socket(socket) {
            let message = format!("`{text}` is neither an absolute path nor an abstract name");
            found.add(Code::UdsPath, path, message);
            return None;
        }
        return Some(EndpointAddress::Unix(socket.to_owned()));
    }
    match HostPattern::parse(text) {
        Ok(name) if !name.is_wildcard() => Some(EndpointAddress::Name(name)),
        _ => {
            let message = format!("`{text}` is neither an IP address nor a plain name");
            found.add(Code::DnsEndpoint, path, message);
            None
        }
    }
}

fn ports(
    names: &BTreeSet<&str>,
    endpoint: &raw::Endpoint,
    path: &str,
    found: &mut Findings<'_>,
) -> BTreeMap<String, u16> {
    let mut ports = BTreeMap::new();
    for (name, number) in &endpoint.ports {
        let path = format!("{path}.ports.{name}");
        if !names.contains(name.as_str()) {
            let message = format!("the entry declares no port named `{name}`");
            found.add(Code::EndpointPortUnknown, path, message);
        } else if let Some(number) = in_range(*number) {
            ports.insert(name.clone(), number);
        } else {
            let message = format!("{number} is not a port (1 to 65535)");
            found.add(Code::EndpointPort, path, message);
        }
    }
    ports
}

fn unix_ports(spec: &raw::Spec, endpoint: &raw::Endpoint, path: &str, found: &mut Findings<'_>) {
    if !endpoint.ports.is_empty() {
        let message = "a unix socket has no ports";
        found.add(Code::UdsPorts, format!("{path}.ports"), message);
    }
    if spec.ports.len() != 1 {
        let message = "an entry with a unix socket has exactly one port";
        found.add(Code::UdsPorts, "spec.ports", message);
    }
}

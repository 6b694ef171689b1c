//! The rules of a `ServiceEntry` that need nothing but the entry itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde_yaml::Value;

use super::{Resolution, ServiceEntry, caveats, endpoint, raw};
use crate::registry::{
    cidr,
    export_to::ExportTo,
    findings::{Checked, Findings, check_selector},
    header::Header,
    host::{HostPattern, is_dns_label},
    hosts,
    meta::Meta,
    port::{Class, Protocol, ServicePort, in_range},
    report::{Code, Report},
};

const HOSTS: usize = 256;
const ADDRESSES: usize = 256;
const ADDRESS_BYTES: usize = 64;
const PORTS: usize = 256;
const ENDPOINTS: usize = 4096;

/// Labels of the object that change what it means.
pub(super) mod label {
    pub(in super::super) const USE_WAYPOINT: &str = "istio.io/use-waypoint";
    pub(in super::super) const AUTO_ALLOCATE: &str = "networking.istio.io/enable-autoallocate-ip";
}

pub(super) fn check(
    meta: &Meta,
    document: &Value,
    spec: &raw::Spec,
    warnings: Vec<Report>,
) -> Checked<ServiceEntry> {
    let mut found = Findings::new(&meta.object, warnings);
    found.bound("spec.hosts", spec.hosts.len(), HOSTS);
    found.bound("spec.addresses", spec.addresses.len(), ADDRESSES);
    found.bound("spec.ports", spec.ports.len(), PORTS);
    found.bound("spec.endpoints", spec.endpoints().len(), ENDPOINTS);
    let resolution = resolution(spec, &mut found);
    let internal = location_is_internal(spec, &mut found);
    let hosts = declared_hosts(spec, &mut found);
    let ports = ports(spec, &mut found);
    let addresses = addresses(spec, resolution, &mut found);
    let endpoints = endpoint::check_all(spec, resolution, &mut found);
    let selector = selector(spec, resolution, &mut found);
    let export_to = ExportTo::check(&spec.export_to, &meta.object.namespace, &mut found);
    let waypoint = meta
        .labels
        .get(label::USE_WAYPOINT)
        .filter(|name| !name.is_empty())
        .map(|name| name != "none");
    let mut entry = ServiceEntry {
        header: Header::new(meta),
        hosts,
        addresses,
        ports,
        resolution,
        endpoints,
        selector,
        export_to,
        waypoint,
        virtual_addresses: BTreeMap::new(),
    };
    hosts_against_resolution(spec, &entry, &mut found);
    dynamic_dns(spec, &entry, internal, &mut found);
    if !found.refuse() {
        entry.virtual_addresses = virtual_addresses(&entry, document);
        caveats::caveats(spec, &entry, &mut found);
    }
    found.finish(entry)
}

fn resolution(spec: &raw::Spec, found: &mut Findings<'_>) -> Resolution {
    match spec.resolution.as_deref().unwrap_or("NONE") {
        "NONE" => Resolution::None,
        "STATIC" => Resolution::Static,
        "DNS" => Resolution::Dns,
        "DNS_ROUND_ROBIN" => Resolution::DnsRoundRobin,
        "DYNAMIC_DNS" => Resolution::DynamicDns,
        other => {
            let message =
                format!("`{other}` is not one of NONE, STATIC, DNS, DNS_ROUND_ROBIN, DYNAMIC_DNS");
            found.add(Code::Resolution, "spec.resolution", message);
            Resolution::None
        }
    }
}

/// Where the service runs has no influence on who may reach it.
fn location_is_internal(spec: &raw::Spec, found: &mut Findings<'_>) -> bool {
    match spec.location.as_deref().unwrap_or("MESH_EXTERNAL") {
        "MESH_EXTERNAL" => false,
        "MESH_INTERNAL" => true,
        other => {
            let message = format!("`{other}` is not one of MESH_EXTERNAL, MESH_INTERNAL");
            found.add(Code::Location, "spec.location", message);
            false
        }
    }
}

fn declared_hosts(spec: &raw::Spec, found: &mut Findings<'_>) -> Vec<HostPattern> {
    if spec.hosts.is_empty() {
        found.add(Code::HostsEmpty, "spec.hosts", "there must be at least one host");
    }
    hosts::check(&spec.hosts, "spec.hosts", found)
}

fn ports(spec: &raw::Spec, found: &mut Findings<'_>) -> Vec<ServicePort> {
    let mut names = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    let mut ports = Vec::new();
    for (index, port) in spec.ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        let number = in_range(port.number);
        if number.is_none() {
            let message = format!("{} is not a port (1 to 65535)", port.number);
            found.add(Code::PortRange, format!("{path}.number"), message);
        } else if !numbers.insert(port.number) {
            let message = format!("port {} is declared twice", port.number);
            found.add(Code::PortNumberDuplicate, format!("{path}.number"), message);
        }
        if !is_dns_label(&port.name) {
            let message = format!("`{}` is not a DNS label; every port needs one", port.name);
            found.add(Code::PortName, format!("{path}.name"), message);
        } else if !names.insert(&port.name) {
            let message = format!("the name `{}` stands twice", port.name);
            found.add(Code::PortNameDuplicate, format!("{path}.name"), message);
        }
        let protocol = Protocol::parse(&port.protocol);
        if protocol.is_none() {
            let message = format!("`{}` is not a protocol Istio knows", port.protocol);
            found.add(Code::PortProtocol, format!("{path}.protocol"), message);
        }
        // 0 is how protobuf writes an absent number.
        let target = in_range(port.target);
        if target.is_none() && port.target != 0 {
            let message = format!("{} is not a port (1 to 65535)", port.target);
            found.add(Code::TargetPortRange, format!("{path}.targetPort"), message);
        }
        if let (Some(number), Some(protocol)) = (number, protocol) {
            ports.push(ServicePort { number, name: port.name.clone(), protocol, target });
        }
    }
    ports
}

fn addresses(
    spec: &raw::Spec,
    resolution: Resolution,
    found: &mut Findings<'_>,
) -> Vec<ipnet::IpNet> {
    if resolution == Resolution::DynamicDns && !spec.addresses.is_empty() {
        found.add(
            Code::DynamicAddresses,
            "spec.addresses",
            "DYNAMIC_DNS goes by name and takes no addresses",
        );
    }
    let mut addresses = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, text) in spec.addresses.iter().enumerate() {
        let path = format!("spec.addresses[{index}]");
        let net = cidr::parse(text).filter(|_| text.len() <= ADDRESS_BYTES);
        let Some(net) = net else {
            let message = format!("`{text}` is not an address or CIDR (names belong in hosts)");
            found.add(Code::AddressSyntax, path, message);
            continue;
        };
        let is_range = net.prefix_len() < net.max_prefix_len();
        let takes_ranges = !matches!(resolution, Resolution::Dns | Resolution::DnsRoundRobin);
        if is_range && !takes_ranges {
            let message = format!("`{text}` is a range, which only NONE and STATIC can have");
            found.add(Code::AddressCidrResolution, path, message);
        }
        if seen.insert(net) {
            addresses.push(net);
        }
    }
    addresses
}

fn selector(
    spec: &raw::Spec,
    resolution: Resolution,
    found: &mut Findings<'_>,
) -> Option<BTreeMap<String, String>> {
    const PATH: &str = "spec.workloadSelector";
    let selector = spec.workload_selector.as_ref()?;
    if spec.endpoints.is_some() {
        found.add(
            Code::SelectorAndEndpoints,
            PATH,
            "a workloadSelector and endpoints exclude each other",
        );
    }
    check_selector(&selector.labels, "spec.workloadSelector.labels", found);
    if selector.labels.is_empty() {
        found.add(
            Code::SelectorEmpty,
            PATH,
            "an empty selector selects every workload of the namespace",
        );
    }
    if resolution == Resolution::None {
        found.add(
            Code::SelectorIgnored,
            PATH,
            "resolution NONE goes to the address dialled; the selector has no effect",
        );
    }
    Some(selector.labels.clone())
}

fn hosts_against_resolution(spec: &raw::Spec, entry: &ServiceEntry, found: &mut Findings<'_>) {
    let by_dns = matches!(entry.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
    if by_dns && spec.endpoints().is_empty() {
        for (index, host) in spec.hosts.iter().enumerate() {
            if host.starts_with('*') {
                let message = format!(
                    "`{host}`: a wildcard cannot be resolved; list endpoints or use resolution NONE"
                );
                found.add(Code::DnsHostWildcard, format!("spec.hosts[{index}]"), message);
            }
        }
    }
    let is_plain = |class: Class| matches!(class, Class::Tcp | Class::Udp);
    if spec.hosts.len() > 1 && entry.resolution != Resolution::None {
        for port in &entry.ports {
            if is_plain(port.protocol.class()) {
                let message = format!(
                    "port {} carries no host name, so it cannot serve several hosts (write one entry a host, or resolution NONE)",
                    port.number
                );
                found.add(Code::MultiHostTcp, "spec.hosts", message);
            }
        }
    }
}

fn dynamic_dns(spec: &raw::Spec, entry: &ServiceEntry, internal: bool, found: &mut Findings<'_>) {
    if entry.resolution != Resolution::DynamicDns {
        return;
    }
    for (index, host) in spec.hosts.iter().enumerate().filter(|(_, host)| !host.starts_with('*')) {
        let message = format!("`{host}`: DYNAMIC_DNS takes wildcards only");
        found.add(Code::DynamicHostExact, format!("spec.hosts[{index}]"), message);
    }
    for (index, port) in spec.ports.iter().enumerate() {
        let is_fit = |protocol| {
            matches!(protocol, Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::Tls)
        };
        if Protocol::parse(&port.protocol).is_some_and(|protocol| !is_fit(protocol)) {
            let message = "DYNAMIC_DNS takes HTTP, HTTP2, GRPC and TLS only";
            found.add(Code::DynamicProtocol, format!("spec.ports[{index}].protocol"), message);
        }
    }
    if internal && entry.waypoint == Some(true) {
        found.add(
            Code::DynamicWaypoint,
            "spec.location",
            "DYNAMIC_DNS inside the mesh cannot use a waypoint",
        );
    }
}

/// Whether Istio gives `host` of this entry a virtual address.
pub(super) fn allocates(entry: &ServiceEntry, host: &HostPattern) -> bool {
    entry.resolution != Resolution::None
        && entry.addresses.is_empty()
        && entry.header.labels.get(label::AUTO_ALLOCATE).map(String::as_str) != Some("false")
        && (!host.is_wildcard() || entry.resolution == Resolution::DynamicDns)
}

/// Reads `status.addresses`, which Istio writes. What cannot be read there, or belongs to a host
/// that gets none, is left out: it opens nothing.
fn virtual_addresses(entry: &ServiceEntry, document: &Value) -> BTreeMap<HostPattern, Vec<IpAddr>> {
    let mut found: BTreeMap<HostPattern, Vec<IpAddr>> = BTreeMap::new();
    let listed = document.get("status").and_then(|status| status.get("addresses"));
    for item in listed.and_then(Value::as_sequence).into_iter().flatten() {
        let text = |field: &str| item.get(field).and_then(Value::as_str);
        let address = text("value").and_then(|value| value.parse::<IpAddr>().ok());
        // Istio left the host out as long as an entry could have one pair of addresses only.
        let host = match text("host") {
            Some(host) => HostPattern::parse(host).ok(),
            None => entry.hosts.first().filter(|_| entry.hosts.len() == 1).cloned(),
        };
        if let (Some(address), Some(host)) = (address, host)
            && entry.hosts.contains(&host)
            && allocates(entry, &host)
        {
            found.entry(host).or_default().push(address.to_canonical());
        }
    }
    found
}

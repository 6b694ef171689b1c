//! The rules of `Endpoints` and `EndpointSlice`.

use std::{collections::BTreeSet, net::IpAddr};

use super::{EndpointPort, Endpoints, Subset, raw};
use crate::registry::{
    findings::{Checked, Findings},
    header::Header,
    host::is_dns_label,
    kubernetes::{address, transport},
    meta::Meta,
    port::check_number,
    report::Code,
};

/// Label of a slice that names its Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

pub(super) fn endpoints(meta: &Meta, raw: &raw::Endpoints) -> Checked<Endpoints> {
    let mut found = Findings::new(&meta.object, Vec::new());
    let mut subsets = Vec::new();
    for (index, subset) in raw.subsets.iter().enumerate() {
        let path = format!("subsets[{index}]");
        let mut addresses = Vec::new();
        for (list, field, is_ready) in [
            (&subset.addresses, "addresses", true),
            (&subset.not_ready_addresses, "notReadyAddresses", false),
        ] {
            for (index, it) in list.iter().enumerate() {
                let path = format!("{path}.{field}[{index}].ip");
                addresses
                    .extend(address::check(&it.ip, &path, &mut found).map(|ip| (ip, is_ready)));
            }
        }
        let ports = ports(&subset.ports, &format!("{path}.ports"), true, &mut found);
        subsets.push(Subset { addresses, ports });
    }
    let service = meta.object.name.clone();
    found.finish(Endpoints { header: Header::new(meta), service, subsets })
}

pub(super) fn slice(meta: &Meta, raw: &raw::Slice) -> Checked<Endpoints> {
    let mut found = Findings::new(&meta.object, Vec::new());
    let ports = ports(&raw.ports, "ports", false, &mut found);
    let addresses = match raw.address_type.as_str() {
        "IPv4" => addresses(raw, IpAddr::is_ipv4, &mut found),
        "IPv6" => addresses(raw, IpAddr::is_ipv6, &mut found),
        "FQDN" => {
            let message = "names as endpoints are not resolved here: the slice adds no endpoints";
            found.add(Code::SliceFqdn, "addressType", message);
            Vec::new()
        }
        other => {
            let message = format!("`{other}` is not one of IPv4, IPv6, FQDN");
            found.add(Code::Service, "addressType", message);
            Vec::new()
        }
    };
    let service = meta.labels.get(SERVICE_LABEL).cloned().unwrap_or_default();
    let subsets = vec![Subset { addresses, ports }];
    found.finish(Endpoints { header: Header::new(meta), service, subsets })
}

fn addresses(
    raw: &raw::Slice,
    is_of_type: impl Fn(&IpAddr) -> bool,
    found: &mut Findings<'_>,
) -> Vec<(IpAddr, bool)> {
    let mut addresses = Vec::new();
    for (endpoint, it) in raw.endpoints.iter().enumerate() {
        // Who says nothing about it is ready.
        let is_ready = it.conditions.ready.unwrap_or(true);
        for (index, text) in it.addresses.iter().enumerate() {
            let path = format!("endpoints[{endpoint}].addresses[{index}]");
            let Some(address) = address::check(text, &path, found) else {
                continue;
            };
            if is_of_type(&address) {
                addresses.push((address, is_ready));
            } else {
                let message = format!("`{text}` is not an {} address", raw.address_type);
                found.add(Code::EndpointAddress, path, message);
            }
        }
    }
    addresses
}

/// Checks the ports of one list. Only a slice may leave a number out; such a port stands for
/// every number, and is left out.
fn ports(
    raw: &[raw::Port],
    path: &str,
    needs_number: bool,
    found: &mut Findings<'_>,
) -> Vec<EndpointPort> {
    let mut names = BTreeSet::new();
    let mut ports = Vec::new();
    for (index, port) in raw.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let fault = if port.name.is_empty() && raw.len() == 1 {
            None
        } else if port.name.is_empty() {
            Some("the port needs a name, because there are several".to_owned())
        } else if !is_dns_label(&port.name) {
            Some(format!("`{}` is not a DNS label", port.name))
        } else if !names.insert(&port.name) {
            Some(format!("the name `{}` stands twice", port.name))
        } else {
            None
        };
        if let Some(message) = fault {
            found.add(Code::EndpointPortName, format!("{path}.name"), message);
        }
        let number = if port.number.is_some() || needs_number {
            let number = port.number.unwrap_or_default();
            check_number(number, format!("{path}.port"), Code::EndpointPort, found)
        } else {
            None
        };
        let transport = transport::check(&port.protocol, &format!("{path}.protocol"), found);
        if let (Some(number), Some(transport)) = (number, transport) {
            ports.push(EndpointPort { name: port.name.clone(), number, transport });
        }
    }
    ports
}

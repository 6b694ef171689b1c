//! Service entries to declarations: defaults of the mesh, endpoints that are selected or resolved.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use super::{
    Linking,
    declaration::{Audience, Declaration, Home, Likeness, Port},
};
use crate::{
    policy::{answers::Found, target::Backend},
    registry::{
        endpoint::{Endpoint, EndpointAddress},
        host::HostPattern,
        istio::service_entry::{Resolution, ServiceEntry},
        labels::selects,
        port::ServicePort,
    },
};

pub(super) fn declare(entry: &ServiceEntry, linking: &Linking<'_>) -> Declaration {
    let namespace = entry.header.namespace();
    let endpoints = endpoints(entry, linking);
    let has_endpoints = !entry.endpoints.is_empty() || entry.selector.is_some();
    let endpoints: Vec<(Endpoint, Found)> = endpoints
        .into_iter()
        .map(|endpoint| {
            let found = linking.addresses(&endpoint.address, |ip| declares(entry, ip));
            (endpoint, found)
        })
        .collect();
    let mut guarded: Vec<IpAddr> =
        endpoints.iter().flat_map(|(_, found)| found.guarded.iter().copied()).collect();
    guarded.sort_unstable();
    guarded.dedup();
    let ports = entry.ports.iter().map(|port| {
        let mut backends = backends(&endpoints, port);
        if entry.resolution == Resolution::DnsRoundRobin {
            backends.truncate(1);
        }
        Port {
            number: port.number,
            name: port.name.clone(),
            protocol: port.protocol,
            target: port.target,
            backends,
            has_unix: endpoints.iter().any(|(it, _)| it.is_unix()),
            instances: Vec::new(),
            originates_tls: false,
            is_routed_in_gloo: false,
        }
    });
    Declaration {
        entry: Arc::clone(&entry.header.object),
        created: entry.header.created,
        home: Home::Namespace,
        audience: Audience::Exported {
            to: linking.exported(entry.export_to.as_ref(), namespace),
            cap: linking.namespaces.cap(namespace),
        },
        hosts: entry.hosts.clone(),
        by_name: true,
        addresses: entry.addresses.clone(),
        virtual_addresses: virtual_addresses(entry, linking),
        ports: ports.collect(),
        resolution: entry.resolution,
        has_endpoints,
        guarded,
        likeness: Likeness {
            labels: entry.header.labels.clone(),
            selector: entry.selector.clone(),
            export_to: entry.export_to.clone(),
        },
        carrier: linking.namespaces.carrier(entry.waypoint, namespace),
        service: None,
        alias_of: None,
    }
}

/// Those that Istio gave its hosts, and those that this agent's own answers give.
fn virtual_addresses(
    entry: &ServiceEntry,
    linking: &Linking<'_>,
) -> BTreeMap<HostPattern, Vec<IpAddr>> {
    let mut addresses = entry.virtual_addresses.clone();
    linking.add_own_virtual_addresses(&entry.hosts, &mut addresses);
    addresses
}

/// The endpoints that are listed, or else selected: workload entries and ready pods of its namespace.
fn endpoints<'a>(entry: &'a ServiceEntry, linking: &Linking<'a>) -> Vec<Endpoint> {
    let Some(selector) = entry.selector.as_ref().filter(|_| entry.resolution != Resolution::None)
    else {
        return entry.endpoints.clone();
    };
    let namespace = entry.header.namespace();
    let by_dns = matches!(entry.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
    let entries = linking.registry.workload_entries().iter();
    let mut found: Vec<Endpoint> = entries
        .filter(|it| it.header.namespace() == namespace && selects(selector, &it.labels))
        .filter(|it| by_dns || matches!(it.endpoint.address, EndpointAddress::Ip(_)))
        .map(|it| it.endpoint.clone())
        .collect();
    for pod in linking.registry.pods() {
        let is_meant = pod.header.namespace() == namespace && pod.is_ready;
        if is_meant && selects(selector, &pod.header.labels) {
            found.extend(pod.addresses.first().map(|address| Endpoint {
                address: EndpointAddress::Ip(*address),
                ports: pod.ports.clone(),
                weight: 1,
            }));
        }
    }
    found
}

/// Whether the entry itself has this address written down.
fn declares(entry: &ServiceEntry, address: IpAddr) -> bool {
    let own = EndpointAddress::Ip(address);
    entry.addresses.iter().any(|net| net.contains(&address))
        || entry.endpoints.iter().any(|it| it.address == own)
}

/// Where flows to one port go: every endpoint that has an address, on its own port.
fn backends(endpoints: &[(Endpoint, Found)], port: &ServicePort) -> Vec<Backend> {
    let mut backends = Vec::new();
    for (endpoint, found) in endpoints {
        let number = endpoint.ports.get(&port.name).copied();
        let number = number.or(port.target).unwrap_or(port.number);
        for address in &found.usable {
            let backend =
                Backend { address: Some(*address), port: number, weight: endpoint.weight };
            if !backends.contains(&backend) {
                backends.push(backend);
            }
        }
    }
    backends
}

//! Which names of a registry have to be resolved, because flows are sent to their addresses. Pure.

use std::collections::BTreeSet;

use super::Wanted;
use crate::{
    config::Matching,
    registry::{
        Registry,
        endpoint::EndpointAddress,
        host::HostPattern,
        istio::{
            service_entry::{Resolution, ServiceEntry},
            virtual_service::VirtualService,
        },
        kubernetes::service::Kind,
        labels::{Labels, selects},
        port::Class,
    },
};

/// The exact names whose addresses the compiler looks up.
pub(super) fn names(registry: &Registry, matching: Matching) -> Wanted {
    let led_to = destinations(registry);
    let mut names = Wanted::new();
    for entry in registry.service_entries() {
        if !matches!(entry.resolution, Resolution::Dns | Resolution::DnsRoundRobin) {
            continue;
        }
        if entry.is_direct() {
            let is_needed = is_dialled_otherwise(entry, matching);
            let own = entry.hosts.iter().filter(|host| {
                is_needed || entry.virtual_addresses.contains_key(*host) || led_to.contains(*host)
            });
            names.extend(own.cloned());
        } else {
            let own = entry.endpoints.iter().map(|it| &it.address);
            names.extend(own.filter_map(name).cloned());
            names.extend(selected(entry, registry));
        }
    }
    names.extend(of_gloo(registry));
    for host in led_to {
        names.extend(behind(host, registry));
    }
    names.retain(|name| !name.is_wildcard());
    names
}

const fn name(address: &EndpointAddress) -> Option<&HostPattern> {
    match address {
        EndpointAddress::Name(name) => Some(name),
        EndpointAddress::Ip(_) | EndpointAddress::Unix(_) | EndpointAddress::Network(_) => None,
    }
}

/// Whether flows to the entry need not be for an address of its host.
fn is_dialled_otherwise(entry: &ServiceEntry, matching: Matching) -> bool {
    let is_open = || entry.ports.iter().any(|port| port.protocol.class() == Class::Tcp);
    !entry.addresses.is_empty() || (matching == Matching::IstioCompat && is_open())
}

/// Names of the workload entries that an entry selects.
fn selected<'a>(
    entry: &'a ServiceEntry,
    registry: &'a Registry,
) -> impl Iterator<Item = HostPattern> + 'a {
    let namespace = entry.header.namespace();
    entry.selector.iter().flat_map(move |selector| {
        let members = registry
            .workload_entries()
            .iter()
            .filter(move |it| it.header.namespace() == namespace && selects(selector, &it.labels));
        members.filter_map(|it| name(&it.endpoint.address)).cloned()
    })
}

/// Names of the endpoints that Gloo's services select.
fn of_gloo(registry: &Registry) -> impl Iterator<Item = HostPattern> + '_ {
    let named =
        registry.external_endpoints().iter().filter_map(|it| Some((it, name(&it.address)?)));
    let is_selected = |labels: &Labels| {
        let mut services = registry.external_services().iter();
        services.any(|it| !it.selector.is_empty() && selects(&it.selector, labels))
    };
    named.filter(move |(it, _)| is_selected(&it.header.labels)).map(|(_, name)| name.clone())
}

/// Hosts that routes lead other hosts to.
fn destinations(registry: &Registry) -> BTreeSet<&HostPattern> {
    let elsewhere = |routes: &VirtualService, host: &HostPattern| {
        routes.hosts.is_empty() || routes.hosts.iter().any(|own| own != host)
    };
    let of_routes = registry.virtual_services().iter().flat_map(|routes| {
        let rules = [&routes.http, &routes.tls, &routes.tcp].into_iter().flatten();
        let hosts = rules.flat_map(|rule| &rule.destinations).map(|it| &it.host);
        hosts.filter(move |host| elsewhere(routes, host))
    });
    let proxies = registry.sidecars().iter().filter_map(|it| it.policy.as_ref()?.proxy.as_ref());
    of_routes.chain(proxies.map(|proxy| &proxy.host)).collect()
}

/// What has to be resolved where a route leads to `host`, beside the host of an entry: that of
/// Gloo's services, and what a Service is an alias of.
fn behind(host: &HostPattern, registry: &Registry) -> Option<HostPattern> {
    let mut external = registry.external_services().iter();
    if external.any(|it| it.selector.is_empty() && it.hosts.contains(host)) {
        return Some(host.clone());
    }
    let alias = registry.services().iter().find(|service| {
        let header = &service.header;
        let name = format!("{}.{}.svc.cluster.local", header.name(), header.namespace());
        HostPattern::parse(&name).is_ok_and(|own| own == *host)
    });
    match &alias?.kind {
        Kind::ExternalName(target) => Some(target.clone()),
        Kind::ClusterIp(_) | Kind::Headless => None,
    }
}

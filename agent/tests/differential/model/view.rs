//! What of the services one client may use: export, import, the namespace that owns a host, and
//! several entries of one host made one.

use std::collections::BTreeSet;

use super::{
    super::{
        manifest::{Body, Listener, Object, SidecarSpec},
        world::{Client, World},
    },
    names::{is_subset, selects},
    service::{Port, Service, Source},
};

/// Whether some Gateway selects the client.
pub(crate) fn is_gateway_pod(world: &World, client: &Client) -> bool {
    world.registry.iter().any(|object| match &object.body {
        Body::Gateway(gateway) => selects(&gateway.spec.selector, &client.labels),
        _ => false,
    })
}

/// The Sidecar that applies to a client, if any.
pub(crate) fn sidecar<'a>(world: &'a World, client: &Client) -> Option<&'a SidecarSpec> {
    if is_gateway_pod(world, client) {
        return None;
    }
    let mut all: Vec<(&Object, &SidecarSpec)> = Vec::new();
    for object in &world.registry {
        if let Body::Sidecar(sidecar) = &object.body {
            all.push((object, &sidecar.spec));
        }
    }
    all.sort_by_key(|(object, _)| (&object.meta.creation_timestamp, &object.meta.name));
    let own = || all.iter().filter(|(object, _)| object.meta.namespace == client.namespace);
    let selecting = own().find(|(_, spec)| {
        spec.workload_selector.as_ref().is_some_and(|it| selects(&it.labels, &client.labels))
    });
    let plain = || own().find(|(_, spec)| spec.workload_selector.is_none());
    let root = world.root_namespace();
    let default = || {
        all.iter().find(|(object, spec)| {
            object.meta.namespace == root && spec.workload_selector.is_none()
        })
    };
    selecting.or_else(plain).or_else(default).map(|(_, spec)| *spec)
}

/// The part of a Sidecar that counts for a port.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Import<'a> {
    Everything,
    Nothing,
    /// Items; whether only services that have the port are meant.
    Items(&'a [String], bool),
}

fn needs_a_listener_of_its_own(listener: &Listener) -> bool {
    let protocol = listener.port.as_ref().map(|port| port.protocol.to_uppercase());
    listener.bind.is_some()
        || listener.capture_mode.as_deref() == Some("NONE")
        || protocol.as_deref() == Some("HTTP_PROXY")
}

pub(crate) fn import(sidecar: Option<&SidecarSpec>, port: u16) -> Result<Import<'_>, &'static str> {
    let Some(sidecar) = sidecar.filter(|it| !it.egress.is_empty()) else {
        return Ok(Import::Everything);
    };
    let of_port = |it: &&Listener| it.port.as_ref().is_some_and(|it| it.number == port);
    let with_port = sidecar.egress.iter().find(of_port);
    let without = sidecar.egress.iter().find(|it| it.port.is_none());
    match (with_port, without) {
        (Some(listener), without) if needs_a_listener_of_its_own(listener) => {
            if without.is_some() {
                return Err("whether an unsupported listener keeps its port");
            }
            Ok(Import::Nothing)
        }
        (Some(listener), _) => Ok(Import::Items(&listener.hosts, true)),
        (None, Some(listener)) if needs_a_listener_of_its_own(listener) => Ok(Import::Nothing),
        (None, Some(listener)) => Ok(Import::Items(&listener.hosts, false)),
        (None, None) => Ok(Import::Nothing),
    }
}

/// Whether a list of `namespace/name` items covers a host of a namespace.
pub(crate) fn imports(items: &[String], client: &str, namespace: &str, host: &str) -> bool {
    let covered = |item: &str| {
        let (wanted, name) = item.split_once('/').unwrap_or(("*", item));
        let wanted = if wanted == "." { client } else { wanted };
        let is_there = wanted == "*" || wanted.is_empty() || wanted == namespace;
        is_there && is_subset(host, &name.to_lowercase())
    };
    let mut is_imported = false;
    for item in items {
        match item.strip_prefix('~') {
            Some(taken) if covered(taken) => return false,
            None if covered(item) => is_imported = true,
            _ => {}
        }
    }
    is_imported
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sight {
    Hidden,
    /// The client's namespace is meant by name, or it is the owner's.
    Explicit,
    Public,
}

/// Whether a list of namespaces shows something to a client, and how.
fn exported(list: &[String], owner: &str, client: &str) -> Sight {
    for item in list {
        if item == client || (item == "." && owner == client) {
            return Sight::Explicit;
        }
    }
    if list.iter().any(|it| it == "*") { Sight::Public } else { Sight::Hidden }
}

fn sight(world: &World, service: &Service, client: &Client) -> (Sight, Option<&'static str>) {
    let own = exported(&service.export_to, &service.namespace, &client.namespace);
    let visibility = world.mesh.as_ref().and_then(|mesh| mesh.service_entry_visibility.as_ref());
    let cap = visibility.filter(|_| service.source == Source::Entry).map(|visibility| {
        let labels = world.namespace_labels(&service.namespace);
        let fitting = visibility.policies.iter().find(|policy| {
            let mut rules = policy.matching_rules.iter();
            rules.any(|rule| selects(&rule.namespace_selector.match_labels, &labels))
        });
        fitting.map_or(visibility.default_visibility.as_str(), |it| it.visibility.as_str())
    });
    let is_foreign = service.namespace != client.namespace;
    let is_capped = cap == Some("NONE") || (cap == Some("NAMESPACE") && is_foreign);
    let is_applied = visibility.is_some_and(|it| it.apply_to_sidecars);
    if client.ambient && service.source == Source::Entry && (own != Sight::Public || is_capped) {
        return (own, Some("what an ambient pod sees"));
    }
    if is_capped && is_applied { (Sight::Hidden, None) } else { (own, None) }
}

/// The services that a client may use on a port, one a host.
pub(crate) fn view(
    world: &World,
    all: &[Service],
    client: &Client,
    port: u16,
) -> Result<Vec<Service>, &'static str> {
    let import = import(sidecar(world, client), port)?;
    let mut seen: Vec<(Sight, Service)> = Vec::new();
    let mut unseen: Vec<Service> = Vec::new();
    for service in all {
        let (sight, vague) = sight(world, service, client);
        let mut service = service.clone();
        service.vague = service.vague.or(vague);
        let is_imported = match import {
            Import::Everything => true,
            Import::Nothing => false,
            Import::Items(items, is_trimmed) => {
                let has_port = service.ports.iter().any(|it| it.number == port);
                if is_trimmed && service.is_headless {
                    service.vague = Some("a headless Service behind a listener with a port");
                }
                if is_trimmed {
                    service.ports.retain(|it| it.number == port);
                }
                (has_port || !is_trimmed || service.is_headless)
                    && imports(items, &client.namespace, &service.namespace, &service.host)
            }
        };
        if is_imported && sight != Sight::Hidden {
            seen.push((sight, service));
        } else {
            unseen.push(service);
        }
    }
    seen.sort_by(|(_, a), (_, b)| a.age.cmp(&b.age));
    let mut hosts: Vec<String> = seen.iter().map(|(_, it)| it.host.clone()).collect();
    hosts.sort();
    hosts.dedup();
    let has_listeners = sidecar(world, client)
        .is_some_and(|it| it.egress.iter().any(|listener| listener.port.is_some()));
    let mut view = Vec::new();
    for host in hosts {
        let of_host: Vec<&(Sight, Service)> =
            seen.iter().filter(|(_, it)| it.host == host).collect();
        let owner = owner(&of_host, &client.namespace);
        let theirs: Vec<&Service> =
            of_host.iter().map(|(_, it)| it).filter(|it| it.scope == owner).collect();
        let mut made = unite(&theirs);
        if of_host.iter().any(|(_, it)| it.source == Source::Gloo)
            && of_host.iter().any(|(_, it)| it.source != Source::Gloo)
        {
            made.vague = Some("who owns a host of both Gloo and Istio");
        }
        let hidden: Vec<&Service> =
            unseen.iter().filter(|it| it.host == host && it.scope == owner).collect();
        if hidden.iter().any(|it| it.source == Source::Kubernetes || it.has_endpoints) {
            made.vague = Some("what a hidden service adds to a host");
        }
        let rivals = all
            .iter()
            .filter(|it| it.host == host && self::sight(world, it, client).0 != Sight::Hidden);
        if has_listeners && rivals.count() > 1 {
            made.vague = Some("several entries of a host under listeners with ports");
        }
        view.push(made);
    }
    Ok(view)
}

/// The namespace that owns a host for a client: the scan in two rounds.
fn owner(candidates: &[&(Sight, Service)], client: &str) -> String {
    let mut winner: Option<&Service> = None;
    for round in [Sight::Explicit, Sight::Public] {
        for (sight, service) in candidates {
            if *sight != round {
                continue;
            }
            let Some(first) = winner else {
                winner = Some(service);
                continue;
            };
            let is_home = service.scope == client && first.scope != client;
            let replaces = service.source == Source::Kubernetes
                && first.source == Source::Entry
                && first.scope != client;
            if is_home || replaces {
                winner = Some(service);
            }
        }
    }
    winner.map(|it| it.scope.clone()).unwrap_or_default()
}

fn same_ports(a: &[Port], b: &[Port]) -> bool {
    let key = |it: &Port| (it.number, it.name.clone(), it.protocol.clone(), it.target);
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| key(a) == key(b))
}

/// One service of those with one host in one namespace, the elder first.
fn unite(services: &[&Service]) -> Service {
    let kubernetes = services.iter().find(|it| it.source == Source::Kubernetes);
    if let Some(service) = kubernetes {
        return Service::clone(service);
    }
    let mut made = Service::clone(services[0]);
    for younger in &services[1..] {
        let vague = if same_ports(&made.ports, &younger.ports) {
            pool(&mut made, younger)
        } else {
            let vague = join_ports(&mut made, services[0], younger);
            if vague.is_some() {
                // Whatever the answer is, it is asked about these addresses too.
                add_addresses(&mut made, younger);
            }
            vague
        };
        made.is_of_many |= made.namespace != younger.namespace;
        made.vague = made.vague.or(younger.vague).or(vague);
    }
    made
}

/// Equal ports: the endpoints and addresses of the younger are added.
fn pool(made: &mut Service, younger: &Service) -> Option<&'static str> {
    let mut vague = None;
    if made.resolution != younger.resolution {
        vague = Some("pooled endpoints under two resolutions");
    }
    if made.has_waypoint != younger.has_waypoint {
        vague = Some("pooled entries, one with a waypoint");
    }
    let is_dns = made.resolution.starts_with("DNS");
    if is_dns && made.has_endpoints != younger.has_endpoints {
        vague = Some("endpoints pooled with the host itself");
    }
    if made.resolution != "DNS_ROUND_ROBIN" {
        for (mine, theirs) in made.ports.iter_mut().zip(&younger.ports) {
            mine.upstreams.extend(theirs.upstreams.clone());
        }
    }
    made.has_endpoints |= younger.has_endpoints;
    vague.or(add_addresses(made, younger))
}

fn add_addresses(made: &mut Service, younger: &Service) -> Option<&'static str> {
    let is_mixed = made.addresses.is_empty() != younger.addresses.is_empty();
    made.addresses.extend(younger.addresses.clone());
    made.auto_addresses.extend(younger.auto_addresses.clone());
    is_mixed.then_some("entries of one host with and without addresses")
}

/// Different ports: united if all else is equal, otherwise the younger is nothing.
fn join_ports(made: &mut Service, first: &Service, younger: &Service) -> Option<&'static str> {
    let is_default_apart = first.has_default_export != younger.has_default_export;
    let is_alike = first.resolution == younger.resolution
        && first.labels == younger.labels
        && first.selector.clone().unwrap_or_default()
            == younger.selector.clone().unwrap_or_default()
        && first.export_to == younger.export_to;
    let names = |service: &Service| -> BTreeSet<String> {
        let name = |it: &String| if it == "." { service.namespace.clone() } else { it.clone() };
        service.export_to.iter().map(name).collect()
    };
    if first.selector != younger.selector
        && first.selector.clone().unwrap_or_default()
            == younger.selector.clone().unwrap_or_default()
    {
        return Some("an empty selector beside none");
    }
    if first.export_to != younger.export_to && names(first) == names(younger) {
        return Some("one export in two ways");
    }
    let is_like_the_first = same_ports(&first.ports, &younger.ports);
    if is_like_the_first {
        return Some("a third entry with the ports of the first");
    }
    let mut mine: Vec<u16> = made.ports.iter().map(|it| it.number).collect();
    let mut theirs: Vec<u16> = younger.ports.iter().map(|it| it.number).collect();
    mine.sort_unstable();
    theirs.sort_unstable();
    if mine == theirs && (made.has_endpoints || younger.has_endpoints) {
        return Some("equal port numbers that differ in name, protocol, target or order");
    }
    if !is_alike {
        return None;
    }
    let mut vague = is_default_apart.then_some("exportTo given as the default is");
    for port in &younger.ports {
        match made.ports.iter().find(|it| it.number == port.number) {
            Some(elder) if !elder.upstreams.is_empty() || !port.upstreams.is_empty() => {
                vague = Some("endpoints of a port that two entries have");
            }
            Some(_) => {}
            None => made.ports.push(port.clone()),
        }
    }
    made.has_endpoints |= younger.has_endpoints;
    if made.has_endpoints && made.resolution.starts_with("DNS") {
        // Per port then: one has endpoints, the other is the host itself.
        let is_mixed = made.ports.iter().any(|it| it.upstreams.is_empty());
        if is_mixed {
            vague = Some("ports with endpoints beside ports of the host itself");
        }
    }
    vague.or(add_addresses(made, younger))
}

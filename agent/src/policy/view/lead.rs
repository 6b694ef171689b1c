//! Routes: whether one is for a flow, and what stands where it leads.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use exeat_common::reason::Reason;
use ipnet::IpNet;

use super::{
    Action,
    action::{Dial, Dialled, needs_proxy, refuse, unsupported},
    choose::Chosen,
    sight::Sight,
};
use crate::{
    policy::{
        services::{
            Exported,
            declaration::{Declaration, Port},
            routes::{self, Routed, Ruled},
            rules::Asking,
            sidecars,
        },
        target::{Backend, Target, TargetKind},
    },
    registry::{
        host::HostPattern,
        istio::{
            destination_rule::TlsMode,
            service_entry::Resolution,
            sidecar::EgressProxy,
            virtual_service::{Destination, Rule, VirtualService},
        },
        kubernetes::service::Kind,
        port::Class,
        report::{Code, ObjectRef, Report},
    },
};

/// What the routes say about a flow.
pub(super) enum Routing<'a> {
    /// Nothing.
    Direct,
    /// They are for other parts of the host only.
    Uncovered(&'a Arc<ObjectRef>),
    /// It depends on what is inside the flow.
    Inside {
        routes: &'a Arc<ObjectRef>,
        field: &'static str,
    },
    To {
        routes: &'a Arc<VirtualService>,
        destination: &'a Destination,
    },
}

impl<'a> Sight<'a> {
    /// Looks up the route of a flow.
    pub(super) fn route(&self, dial: Dial<'_, 'a>) -> Routing<'a> {
        if self.is_gateway || self.services.routes.is_empty() {
            return Routing::Direct;
        }
        match dial.port.protocol.class() {
            Class::Http => self.first_rule(dial.name(), dial, |it| &it.http),
            Class::Tcp => self.first_rule(dial.chosen.host, dial, |it| &it.tcp),
            Class::Tls => self.by_server_name(dial),
            Class::Udp => Routing::Direct,
        }
    }

    /// The most specific routes over `name`, and the first rule of them that fits.
    fn first_rule(
        &self,
        name: &HostPattern,
        dial: Dial<'_, 'a>,
        rules: fn(&VirtualService) -> &Vec<Rule>,
    ) -> Routing<'a> {
        let is_used = |it: &VirtualService| self.uses(it, rules);
        let found = self.services.routes_for(name, self.client.namespace, &is_used);
        let Some(Exported { object: found, .. }) = found.map(|it| &**it) else {
            return Routing::Direct;
        };
        let routed = self.routed(dial.port.number, dial.dialled);
        ruled(found, routes::judge(found, rules(found), routed))
    }

    fn routed(&self, port: u16, dialled: Dialled<'_>) -> Routed<'a> {
        let net = match dialled {
            Dialled::Address(net) | Dialled::Virtual(net) => Some(net),
            Dialled::Name(_) | Dialled::Anything => None,
        };
        Routed { namespace: self.client.namespace, labels: self.client.labels, port, net }
    }

    /// Whether the client uses `rules` of an object.
    fn uses(&self, object: &VirtualService, rules: fn(&VirtualService) -> &Vec<Rule>) -> bool {
        let namespace = self.client.namespace;
        routes::is_on_mesh(object, rules(object))
            && self.sidecar.is_none_or(|sidecar| {
                let of = object.header.namespace();
                sidecars::imports_routes(sidecar, namespace, of, &object.hosts)
            })
    }

    /// TLS flows: once any rule is for this client and port, names that none covers are refused.
    fn by_server_name(&self, dial: Dial<'_, 'a>) -> Routing<'a> {
        let is_used = |it: &VirtualService| self.uses(it, |it| &it.tls);
        let client = self.client.namespace;
        let objects = self.services.routes_meeting(dial.chosen.host, client, &is_used);
        let flow = self.routed(dial.port.number, dial.dialled);
        let mut fitting = Vec::new();
        for routes in objects {
            for rule in &routes.object.tls {
                let matches =
                    rule.matches.iter().filter(|it| routes::fits(&routes.object, it, flow));
                fitting.extend(matches.map(|it| (&routes.object, rule, it)));
            }
        }
        let Some((first, ..)) = fitting.first() else {
            return Routing::Direct;
        };
        // The most specific server name counts, of equal ones the first.
        let name = dial.name();
        let wanted: Vec<HostPattern> =
            std::iter::once(name.clone()).chain(name.covering()).collect();
        let covering = fitting.iter().filter_map(|(object, rule, asked)| {
            let is_named = |it: &HostPattern| asked.sni_hosts.binary_search(it).is_ok();
            Some((wanted.iter().position(is_named)?, object, rule, asked))
        });
        match covering.min_by_key(|(distance, ..)| *distance) {
            Some((_, object, _, asked)) if asked.looks_inside.is_some() => {
                let field = asked.looks_inside.unwrap_or_default();
                Routing::Inside { routes: &object.header.object, field }
            }
            Some((_, object, _, asked)) if flow.leaves_open(&asked.subnets) => {
                Routing::Inside { routes: &object.header.object, field: "destinationSubnets" }
            }
            Some((_, object, rule, _)) => ruled(object, routes::lead(rule)),
            // Only the flow itself says which name it is for.
            None if !matches!(dial.dialled, Dialled::Name(_)) => {
                Routing::Inside { routes: &first.header.object, field: "sniHosts" }
            }
            None => Routing::Uncovered(&first.header.object),
        }
    }

    /// Whether a route for a port of a wider service speaks of `name` itself.
    pub(super) fn is_routed_apart(&self, name: &HostPattern, dial: Dial<'_, 'a>) -> bool {
        match dial.port.protocol.class() {
            Class::Http => {
                let is_used = |it: &VirtualService| self.uses(it, |it| &it.http);
                let client = self.client.namespace;
                let first = self.services.routes_for(name, client, &is_used);
                first.is_some_and(|it| it.object.names(name))
            }
            Class::Tls => {
                let is_used = |it: &VirtualService| self.uses(it, |it| &it.tls);
                let client = self.client.namespace;
                let flow = self.routed(dial.port.number, dial.dialled);
                let objects = self.services.routes_meeting(dial.chosen.host, client, &is_used);
                objects.iter().any(|routes| {
                    let matches = routes.object.tls.iter().flat_map(|rule| &rule.matches);
                    let mut fitting = matches.filter(|it| routes::fits(&routes.object, it, flow));
                    fitting.any(|it| it.sni_hosts.binary_search(name).is_ok())
                })
            }
            Class::Tcp | Class::Udp => false,
        }
    }

    /// The route of HTTP to port 80 of a name that no service declares.
    pub(super) fn unregistered(
        &self,
        name: &'a HostPattern,
        reports: &mut BTreeSet<Report>,
    ) -> Option<(Arc<ObjectRef>, Action)> {
        const HTTP_PORT: u16 = 80;
        let is_used = |it: &VirtualService| self.uses(it, |it| &it.http);
        let found = self.services.routes_for(name, self.client.namespace, &is_used)?;
        let found = &found.object;
        if !found.names(name) {
            return None;
        }
        let routed = self.routed(HTTP_PORT, Dialled::Name(name));
        let entry = Arc::clone(&found.header.object);
        let ruled = routes::judge(found, &found.http, routed);
        if matches!(ruled, Ruled::Nothing) {
            return None;
        }
        if self.has_proxy() {
            return Some((entry, Action::To(Arc::clone(&self.proxy))));
        }
        let action = match ruled {
            Ruled::Nothing => return None,
            Ruled::Proxy(field) => {
                let message = format!(
                    "flows to {name} depend on `{field}`, which only a proxy can carry out: they are denied"
                );
                unsupported(Code::L7Route, &entry, "spec.http", message, reports)
            }
            Ruled::To(destination) => self.elsewhere(found, destination, HTTP_PORT, name, reports),
        };
        Some((entry, action))
    }

    /// Where a route leads: to the service itself, or to another one.
    pub(super) fn lead(
        &self,
        dial: Dial<'_, 'a>,
        routes: &Arc<VirtualService>,
        destination: &Destination,
        reports: &mut BTreeSet<Report>,
    ) -> Action {
        let Dial { chosen, port, .. } = dial;
        if destination.host != *chosen.host || chosen.host.is_wildcard() {
            return self.elsewhere(routes, destination, port.number, dial.name(), reports);
        }
        let number = destination.port.unwrap_or_else(|| only_port(chosen).unwrap_or(port.number));
        let own = chosen.ports.iter().find(|(it, _)| it.number == number);
        let Some((own, owner)) = own.copied() else {
            return unknown(routes, destination, reports);
        };
        let subset = destination.subset.as_deref();
        let action = self.without_route(Dial { port: own, owner, ..dial }, subset, reports);
        if action == Action::Allow && number != port.number {
            let backend = Backend { address: None, port: number, weight: 1 };
            let kind = TargetKind::Endpoints;
            return Action::To(Arc::new(Target { kind, backends: vec![backend] }));
        }
        action
    }

    /// A route to another service, which the client need not see: an egress gateway as a rule.
    fn elsewhere(
        &self,
        routes: &Arc<VirtualService>,
        destination: &Destination,
        port: u16,
        name: &HostPattern,
        reports: &mut BTreeSet<Report>,
    ) -> Action {
        let found = self.standing(&destination.host);
        let number = found.and_then(|it| {
            let only = if let [only] = it.ports.as_slice() { Some(only.number) } else { None };
            let number = destination.port.or(only).unwrap_or(port);
            it.ports.iter().find(|it| it.number == number)
        });
        let (Some(service), Some(target)) = (found, number) else {
            return unknown(routes, destination, reports);
        };
        let object = &routes.header.object;
        if let Some(kubernetes) = &service.service
            && !self.services.takes_plain(kubernetes, target.number, name)
        {
            return takes_mtls(destination, object, reports);
        }
        let asking = Asking { namespace: self.client.namespace, labels: self.client.labels };
        let subset = destination.subset.as_deref();
        let host = &destination.host;
        let need = self.services.need(asking, service.namespace(), host, subset, target.number);
        if service.is_kubernetes() && need.tls != TlsMode::Disable {
            return takes_mtls(destination, object, reports);
        }
        let originates = target.originates_tls;
        if let Some(denied) = needs_proxy(need, originates, object, target.number, reports) {
            return denied;
        }
        self.to_service(host, service, target, object, reports)
    }

    /// The service that stands under `host` for routes, whoever sees it.
    fn standing(&self, host: &HostPattern) -> Option<&'a Arc<Declaration>> {
        let declared = self.services.declared(host);
        declared.iter().find(|it| it.is_kubernetes()).or_else(|| declared.first())
    }

    /// To the addresses of a service.
    pub(super) fn to_service(
        &self,
        host: &HostPattern,
        service: &Declaration,
        port: &Port,
        object: &Arc<ObjectRef>,
        reports: &mut BTreeSet<Report>,
    ) -> Action {
        let mut backends = self.addresses(host, service, port);
        backends.sort_unstable();
        backends.dedup();
        if backends.is_empty() {
            let message = format!(
                "the route leads to {host}, which has no usable endpoint: flows are denied"
            );
            let (reason, code) = (Reason::NoUpstream, Code::NoUpstream);
            return refuse(reason, code, object, "spec", message, reports);
        }
        let kind = TargetKind::Gateway { host: host.to_string(), port: port.number };
        Action::To(Arc::new(Target { kind, backends }))
    }

    /// Where flows for a service go: its cluster addresses, its endpoints, or itself.
    fn addresses(&self, host: &HostPattern, service: &Declaration, port: &Port) -> Vec<Backend> {
        let at = |address, number| Backend { address: Some(address), port: number, weight: 1 };
        if let Some(kubernetes) = &service.service {
            return match &kubernetes.kind {
                Kind::ClusterIp(addresses) => {
                    addresses.iter().map(|ip| at(*ip, port.number)).collect()
                }
                Kind::Headless => {
                    let instances = port.instances.iter();
                    instances.map(|it: &SocketAddr| at(it.ip(), it.port())).collect()
                }
                Kind::ExternalName(target) => {
                    let resolved = self.services.resolved(target, &[]).usable;
                    resolved.into_iter().map(|ip| at(ip, port.number)).collect()
                }
            };
        }
        let number = port.target.unwrap_or(port.number);
        if !service.is_direct() {
            return port.backends.clone();
        }
        if service.resolution == Resolution::None {
            let single = service.addresses.iter().filter(|it| is_single(it));
            return single.map(|net| at(net.addr(), number)).collect();
        }
        let resolved = self.services.resolved(host, &service.addresses).usable;
        resolved.into_iter().map(|ip| at(ip, number)).collect()
    }

    /// The gateway that takes what nothing declares; none if it cannot be found.
    pub(super) fn egress_proxy(&self, proxy: &EgressProxy) -> Option<Arc<Target>> {
        let service = self.standing(&proxy.host)?;
        let only = if let [only] = service.ports.as_slice() { Some(only.number) } else { None };
        let number = proxy.port.or(only)?;
        let port = service.ports.iter().find(|it| it.number == number)?;
        let nobody = &service.entry;
        match self.to_service(&proxy.host, service, port, nobody, &mut BTreeSet::new()) {
            Action::To(target) => Some(target),
            Action::Allow | Action::Deny(_) => None,
        }
    }
}

fn ruled<'a>(routes: &'a Arc<VirtualService>, ruled: Ruled<'a>) -> Routing<'a> {
    match ruled {
        Ruled::Nothing => Routing::Direct,
        Ruled::Proxy(field) => Routing::Inside { routes: &routes.header.object, field },
        Ruled::To(destination) => Routing::To { routes, destination },
    }
}

fn only_port(chosen: &Chosen<'_>) -> Option<u16> {
    if let [(only, _)] = chosen.ports.as_slice() { Some(only.number) } else { None }
}

fn is_single(net: &IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

fn unknown(
    routes: &Arc<VirtualService>,
    destination: &Destination,
    reports: &mut BTreeSet<Report>,
) -> Action {
    let port = destination.port.map_or_else(String::new, |port| format!(" port {port}"));
    let message = format!(
        "the route leads to {}{port}, which nothing declares: flows are denied",
        destination.host
    );
    let object = &routes.header.object;
    let code = Code::RouteDestinationUnknown;
    refuse(Reason::RouteUnknown, code, object, "spec", message, reports)
}

fn takes_mtls(
    destination: &Destination,
    object: &Arc<ObjectRef>,
    reports: &mut BTreeSet<Report>,
) -> Action {
    let message = format!(
        "{} ends TLS itself, so it would refuse the bytes of a pod without a proxy: flows are denied",
        destination.host
    );
    unsupported(Code::GatewayMtls, object, "spec", message, reports)
}

//! Egress gateways: which pods are one, what their servers take, and whether they see what they
//! are meant to reach.

use std::collections::BTreeSet;

use super::{Exported, Services};
use crate::registry::{
    host::HostPattern,
    istio::{
        gateway::{Gateway, ServerTls},
        virtual_service::{GatewayRef, Rule, VirtualService},
    },
    kubernetes::service::{Service, Target},
    labels::{Labels, selects},
    report::{Code, Report},
};

impl Services {
    /// Whether a pod with these labels is a gateway. It is no client of the mesh then: neither
    /// routes nor Sidecars are for it.
    pub(in crate::policy) fn is_gateway(&self, labels: &Labels) -> bool {
        let selectors = self.gateways.iter().map(|it| &it.selector);
        selectors.into_iter().any(|it| !it.is_empty() && selects(it, labels))
    }

    /// Whether the gateways behind a port of `service` take the bytes of a pod for `host` as they
    /// are. A service with no gateway behind it takes everything.
    pub(in crate::policy) fn takes_plain(
        &self,
        service: &Service,
        port: u16,
        host: &HostPattern,
    ) -> bool {
        let numbers = server_ports(service, port);
        let behind = self.gateways.iter().filter(|it| is_behind(it, service));
        behind.flat_map(|it| &it.servers).all(|server| {
            let is_meant = numbers.contains(&server.port)
                && server
                    .hosts
                    .iter()
                    .any(|it| it.as_ref().is_none_or(|it| it.covers(host) || host.covers(it)));
            !is_meant || matches!(server.tls, ServerTls::None | ServerTls::Passthrough)
        })
    }

    /// Says which routes name gateways that do not exist, or that cannot see where they lead.
    pub(super) fn report_gateways(&self, reports: &mut BTreeSet<Report>) {
        for routes in self.routes.values().flatten() {
            let object = &routes.object;
            for gateway in gateways(object) {
                let GatewayRef::Named { namespace, name } = gateway else {
                    continue;
                };
                let found = self
                    .gateways
                    .iter()
                    .find(|it| it.header.namespace() == namespace && it.header.name() == name);
                if let Some(found) = found {
                    self.report_blind(routes, gateway, found, reports);
                    continue;
                }
                let message = format!(
                    "there is no Gateway {namespace}/{name}: this route is bound to nothing there (a name without a namespace means the route's own)"
                );
                let code = Code::GatewayUnknown;
                reports.insert(Report::new(code, &object.header.object, "spec.gateways", message));
            }
        }
    }

    /// Says that a gateway's namespace does not see a host that a route makes it reach.
    fn report_blind(
        &self,
        routes: &Exported<VirtualService>,
        gateway: &GatewayRef,
        found: &Gateway,
        reports: &mut BTreeSet<Report>,
    ) {
        let object = &routes.object;
        let namespace = found.header.namespace();
        let rules = [&object.http, &object.tls, &object.tcp].into_iter().flatten();
        let bound = rules.filter(|rule| is_bound(object, rule, gateway));
        for host in bound.flat_map(|rule| &rule.destinations).map(|it| &it.host) {
            let declared = self.declared(host);
            let is_blind = !declared.is_empty()
                && !declared.iter().any(|it| self.is_seen(it, namespace, false));
            if is_blind {
                let message = format!(
                    "the gateway {} does not see {host}: its namespace is not in exportTo of {}",
                    found.header.object, declared[0].entry
                );
                let code = Code::GatewayBlind;
                reports.insert(Report::new(code, &object.header.object, "spec.gateways", message));
            }
        }
    }
}

/// Every gateway an object names, each once.
fn gateways(object: &VirtualService) -> BTreeSet<&GatewayRef> {
    let rules = [&object.http, &object.tls, &object.tcp].into_iter().flatten();
    let own = rules.flat_map(|rule| &rule.matches).filter_map(|it| it.gateways.as_ref()).flatten();
    object.gateways.iter().chain(own).collect()
}

/// Whether a rule is for the clients behind `gateway`.
fn is_bound(object: &VirtualService, rule: &Rule, gateway: &GatewayRef) -> bool {
    if rule.matches.is_empty() {
        return object.gateways.contains(gateway);
    }
    rule.matches.iter().any(|it| it.gateways.as_ref().unwrap_or(&object.gateways).contains(gateway))
}

/// Whether every pod of `service` is one of `gateway`.
fn is_behind(gateway: &Gateway, service: &Service) -> bool {
    !gateway.selector.is_empty() && selects(&gateway.selector, &service.selector)
}

/// Numbers by which a gateway may know a port of its service.
fn server_ports(service: &Service, port: u16) -> BTreeSet<u16> {
    let declared = service.ports.iter().find(|it| it.number == port);
    let target = declared.and_then(|it| match it.target {
        Some(Target::Number(number)) => Some(number),
        _ => None,
    });
    [Some(port), target].into_iter().flatten().collect()
}

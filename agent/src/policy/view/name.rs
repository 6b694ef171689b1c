//! The ports of one name or pattern: of its own service, of routes and policies that speak of it,
//! and of the name it stands for.

use std::{collections::BTreeSet, sync::Arc};

use exeat_common::{flow::protocol, reason::Reason};

use super::{
    ANSWER, Action, Granted, PortKey, Ports,
    action::{Dial, Dialled, refuse, unsupported},
    choose::Chosen,
    sight::Sight,
};
use crate::{
    config::GatewayTransport,
    policy::services::egress_gateway,
    registry::{
        asm::egress_policy::{EgressPolicy, EgressTo},
        host::HostPattern,
        labels::selects,
        port::Class,
        report::{Code, Report},
    },
};

/// Aliases of aliases that are followed.
const ALIASES: usize = 16;
/// Where HTTP needs no declared service.
const HTTP_PORT: u16 = 80;

impl<'a> Sight<'a> {
    /// What the client may do with names that fit `name` and nothing more specific.
    pub(super) fn name(&self, name: &'a HostPattern, reports: &mut BTreeSet<Report>) -> Ports {
        self.name_within(name, ALIASES, reports)
    }

    fn name_within(
        &self,
        name: &'a HostPattern,
        aliases: usize,
        reports: &mut BTreeSet<Report>,
    ) -> Ports {
        let mut ports = Ports::new();
        let chosen = self.choose(name, reports);
        let mut is_declared = chosen.is_some();
        if let Some(chosen) = &chosen {
            self.own_ports(chosen, &mut ports, reports);
            ports.extend(self.answer(chosen, reports).map(|granted| (ANSWER, granted)));
            if let Some(target) = &chosen.first.alias_of
                && aliases > 0
            {
                // What holds for the target holds for its alias, whatever the alias says itself.
                let of_target = self.closed(target, aliases - 1, reports).into_iter();
                let rank = name.rank();
                ports.extend(of_target.map(|(key, granted)| (key, Granted { rank, ..granted })));
            }
        }
        let services = self.services;
        let is_spoken_of =
            services.routes.contains_key(name) || services.server_names.contains(name);
        if is_spoken_of && !self.is_gateway {
            is_declared |= self.wider_ports(name, &mut ports, reports);
            if !is_declared && let Some((entry, action)) = self.unregistered(name, reports) {
                ports.insert(
                    (HTTP_PORT, protocol::TCP),
                    Granted { entry, rank: name.rank(), action },
                );
            }
        }
        self.policy_ports(name, &mut ports, reports);
        // What is reached at its real addresses has to be told those.
        if ports.values().any(|granted| granted.action == Action::Allow) {
            ports.remove(&ANSWER);
        }
        ports
    }

    /// The ports of the service of that very name.
    fn own_ports(&self, chosen: &Chosen<'a>, ports: &mut Ports, reports: &mut BTreeSet<Report>) {
        if !chosen.first.by_name {
            return;
        }
        let rank = chosen.host.rank();
        let by_name_alone = !chosen.has_addresses();
        for (port, owner) in &chosen.ports {
            if by_name_alone || port.protocol.class() == Class::Http {
                let dialled = Dialled::Name(chosen.host);
                let action = self.action(Dial { chosen, port, owner, dialled }, reports);
                ports.insert(port.key(), Granted { entry: Arc::clone(&owner.entry), rank, action });
            }
        }
    }

    /// Ports of wider services, where a route speaks of `name` itself. Returns whether there is
    /// any wider service.
    fn wider_ports(
        &self,
        name: &'a HostPattern,
        ports: &mut Ports,
        reports: &mut BTreeSet<Report>,
    ) -> bool {
        let mut is_declared = false;
        let rank = name.rank();
        let mut decided: BTreeSet<PortKey> = ports.keys().copied().collect();
        for wide in name.covering() {
            let Some(wide) = self.services.known_host(&wide) else {
                continue;
            };
            let Some(chosen) = self.choose(wide, reports) else {
                continue;
            };
            is_declared = true;
            let by_name_alone = !chosen.has_addresses();
            for (port, owner) in &chosen.ports {
                let is_by_name = by_name_alone || port.protocol.class() == Class::Http;
                let dial = Dial { chosen: &chosen, port, owner, dialled: Dialled::Name(name) };
                // The longest wildcard with that port decides, whatever stands on shorter ones.
                if is_by_name && decided.insert(port.key()) && self.is_routed_apart(name, dial) {
                    let action = self.action(dial, reports);
                    ports.insert(
                        port.key(),
                        Granted { entry: Arc::clone(&owner.entry), rank, action },
                    );
                }
            }
        }
        is_declared
    }

    /// What holds for `name` with everything wider that covers it, per port the most specific.
    fn closed(&self, name: &HostPattern, aliases: usize, reports: &mut BTreeSet<Report>) -> Ports {
        let mut ports = Ports::new();
        for pattern in std::iter::once(name.clone()).chain(name.covering()) {
            if let Some(known) = self.services.known_name(&pattern) {
                for (key, granted) in self.name_within(known, aliases, reports) {
                    ports.entry(key).or_insert(granted);
                }
            }
        }
        ports
    }

    /// Ports that an egress policy opens to the client through its gateway.
    fn policy_ports(&self, name: &HostPattern, ports: &mut Ports, reports: &mut BTreeSet<Report>) {
        if self.is_gateway {
            return;
        }
        let mut taken = BTreeSet::new();
        for policy in self.services.policies.get(name).into_iter().flatten() {
            let rules = policy.rules.iter().filter(|rule| {
                rule.from.iter().any(|from| {
                    from.namespace == self.client.namespace
                        && selects(&from.selector, self.client.labels)
                })
            });
            for to in rules.flat_map(|rule| &rule.to).filter(|to| to.hosts.contains(name)) {
                let key = (to.port.number, to.port.protocol.transport());
                // The oldest policy counts, and it counts before any plain entry.
                if taken.insert(key) {
                    let action = self.to_gateway(policy, to, reports);
                    if let Action::To(target) = &action {
                        self.report_redirect(target, &policy.header.object, reports);
                    }
                    let entry = Arc::clone(&policy.header.object);
                    ports.insert(key, Granted { entry, rank: name.rank(), action });
                }
            }
        }
    }

    fn to_gateway(
        &self,
        policy: &EgressPolicy,
        to: &EgressTo,
        reports: &mut BTreeSet<Report>,
    ) -> Action {
        let object = &policy.header.object;
        if self.has_proxy() && to.port.protocol.transport() == protocol::TCP {
            return Action::To(Arc::clone(&self.proxy));
        }
        if self.services.settings.gateway_transport == GatewayTransport::Mtls {
            let message = "the gateway takes mutual TLS only, so it would refuse the bytes of a pod without a proxy: flows are denied (gatewayTransport says what it takes)";
            return unsupported(
                Code::GatewayMtls,
                object,
                "spec.byEgressGateway",
                message.to_owned(),
                reports,
            );
        }
        let found = egress_gateway(&policy.gateway).and_then(|host| {
            let service = self.services.declared(&host).iter().find(|it| it.is_kubernetes())?;
            let port = service.ports.iter().find(|it| Some(it.number) == to.gateway_port)?;
            Some((host, service, port))
        });
        let Some((host, service, port)) = found else {
            let message = format!(
                "there is no Service istio-{} in istio-system with the gateway's port: flows are denied",
                policy.gateway
            );
            let code = Code::RouteDestinationUnknown;
            let path = "spec.byEgressGateway";
            return refuse(Reason::RouteUnknown, code, object, path, message, reports);
        };
        self.to_service(&host, service, port, object, reports)
    }
}

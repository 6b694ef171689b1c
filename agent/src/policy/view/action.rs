//! What happens to a flow that is declared: to the proxy, along a route, to endpoints, refused, or
//! just on its way.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use exeat_common::{flow::protocol, reason::Reason};
use ipnet::IpNet;

use super::{Action, Denial, choose::Chosen, lead::Routing, sight::Sight};
use crate::{
    policy::{
        services::{
            declaration::{Carrier, Declaration, Port},
            rules::Asking,
        },
        target::{Backend, Target, TargetKind},
    },
    registry::{
        host::HostPattern,
        istio::{
            destination_rule::{Need, TlsMode},
            service_entry::Resolution,
        },
        report::{Code, ObjectRef, Report},
    },
};

/// What was dialled.
#[derive(Clone, Copy)]
pub(super) enum Dialled<'a> {
    /// An address that was learned of this name or pattern.
    Name(&'a HostPattern),
    /// An address that is declared.
    Address(IpNet),
    /// An address that stands for the host and leads nowhere.
    Virtual(IpNet),
    /// Any address.
    Anything,
}

/// One port of a service as it is dialled.
#[derive(Clone, Copy)]
pub(super) struct Dial<'c, 'a> {
    pub(super) chosen: &'c Chosen<'a>,
    pub(super) port: &'a Port,
    pub(super) owner: &'a Arc<Declaration>,
    pub(super) dialled: Dialled<'c>,
}

impl Dial<'_, '_> {
    /// The pattern that routes are looked up by.
    pub(super) const fn name(&self) -> &HostPattern {
        match self.dialled {
            Dialled::Name(name) => name,
            Dialled::Address(_) | Dialled::Virtual(_) | Dialled::Anything => self.chosen.host,
        }
    }
}

impl<'a> Sight<'a> {
    /// What happens to flows of the client that are dialled so.
    pub(super) fn action(&self, dial: Dial<'_, 'a>, reports: &mut BTreeSet<Report>) -> Action {
        let action = self.judge(dial, reports);
        if let Action::To(target) = &action {
            self.report_redirect(target, &dial.owner.entry, reports);
        }
        action
    }

    /// The first that applies: the client's proxy, a waypoint, a route, what only a proxy can do,
    /// the endpoints.
    fn judge(&self, dial: Dial<'_, 'a>, reports: &mut BTreeSet<Report>) -> Action {
        if self.has_proxy() && dial.port.key().1 == protocol::TCP {
            return Action::To(Arc::clone(&self.proxy));
        }
        if dial.owner.carrier == Carrier::Waypoint {
            return self.through_waypoint(dial, reports);
        }
        match self.route(dial) {
            Routing::Direct => self.without_route(dial, None, reports),
            Routing::Uncovered(routes) => {
                let message = format!(
                    "a rule for part of {} closes the rest of it: no sniHosts covers it",
                    dial.chosen.host
                );
                refuse(Reason::NoRoute, Code::NoRoute, routes, "spec.tls", message, reports)
            }
            Routing::Inside { routes, field } => {
                let message = format!(
                    "flows to {} depend on `{field}`, which only a proxy can carry out: they are denied",
                    dial.chosen.host
                );
                unsupported(Code::L7Route, routes, "spec", message, reports)
            }
            Routing::To { routes, destination } => self.lead(dial, routes, destination, reports),
        }
    }

    fn through_waypoint(&self, dial: Dial<'_, '_>, reports: &mut BTreeSet<Report>) -> Action {
        if self.client.is_ambient {
            // The proxy of the node takes it on.
            return Action::Allow;
        }
        let message = "a waypoint must carry these flows, and only pods of an ambient mesh reach it: they are denied";
        let path = "metadata.labels.istio.io/use-waypoint";
        unsupported(Code::Waypoint, &dial.owner.entry, path, message.to_owned(), reports)
    }

    /// What happens where no route leads elsewhere. `subset` is that of a route to the service
    /// itself.
    pub(super) fn without_route(
        &self,
        dial: Dial<'_, '_>,
        subset: Option<&str>,
        reports: &mut BTreeSet<Report>,
    ) -> Action {
        let Dial { chosen, port, owner, .. } = dial;
        let entry = &owner.entry;
        if port.is_routed_in_gloo {
            let message = format!(
                "port {} of {} goes through a VirtualGateway, which this agent cannot find: flows are denied",
                port.number, chosen.host
            );
            let code = Code::RouteDestinationUnknown;
            return refuse(Reason::RouteUnknown, code, entry, "spec.ports", message, reports);
        }
        if owner.carrier == Carrier::RouteTable {
            let message = format!(
                "a RouteTable is for {}, which only a proxy can carry out: flows are denied",
                chosen.host
            );
            return unsupported(Code::L7Route, entry, "spec.hosts", message, reports);
        }
        let asking = Asking { namespace: self.client.namespace, labels: self.client.labels };
        let host = chosen.host;
        let need = self.services.need(asking, owner.namespace(), host, subset, port.number);
        // A gateway is a proxy itself and does what the rule asks, unless it is ours.
        if (!self.is_gateway || self.services.settings.is_plain_gateway)
            && let Some(denied) =
                needs_proxy(need, port.originates_tls, entry, port.number, reports)
        {
            return denied;
        }
        self.upstream(dial, reports)
    }

    /// Where the flow goes in the end.
    fn upstream(&self, dial: Dial<'_, '_>, reports: &mut BTreeSet<Report>) -> Action {
        let Dial { chosen, port, owner, dialled } = dial;
        let entry = &owner.entry;
        if !chosen.is_direct() {
            if chosen.has_unix(port, owner) {
                let message =
                    "a unix socket can only be reached by a proxy in the pod: flows are denied";
                return unsupported(
                    Code::Uds,
                    entry,
                    "spec.endpoints",
                    message.to_owned(),
                    reports,
                );
            }
            report_guarded(&owner.guarded, entry, reports);
            return endpoints(chosen.backends(port, owner), entry, reports);
        }
        let by_dns = match chosen.first.resolution {
            Resolution::None | Resolution::Static => false,
            Resolution::Dns | Resolution::DnsRoundRobin => true,
            Resolution::DynamicDns => {
                if matches!(dialled, Dialled::Virtual(_) | Dialled::Address(_)) {
                    let message = "behind a virtual address the name is known only to a proxy: flows to it are denied";
                    let path = "status.addresses";
                    let code = Code::DynamicDnsVip;
                    return unsupported(code, entry, path, message.to_owned(), reports);
                }
                false
            }
        };
        match dialled {
            Dialled::Address(_) | Dialled::Virtual(_) | Dialled::Anything if by_dns => {
                let found = self.services.resolved(chosen.host, &owner.addresses);
                report_guarded(&found.guarded, entry, reports);
                endpoints(own_addresses(found.usable, chosen, port), entry, reports)
            }
            // A wildcard without endpoints has no address that could be sent to.
            Dialled::Virtual(_) => endpoints(Vec::new(), entry, reports),
            Dialled::Name(_) | Dialled::Address(_) | Dialled::Anything => dialled_address(port),
        }
    }

    /// Says that what the registry asks for cannot be done for this client.
    pub(super) fn report_redirect(
        &self,
        target: &Target,
        entry: &Arc<ObjectRef>,
        reports: &mut BTreeSet<Report>,
    ) {
        if self.client.has_socket_layer {
            return;
        }
        let place = match &target.kind {
            TargetKind::Sidecar => "the proxy in the pod".to_owned(),
            TargetKind::Gateway { host, port } => format!("{host}:{port}"),
            TargetKind::Endpoints | TargetKind::Answer => "the endpoints".to_owned(),
        };
        let message = format!(
            "flows would have to be sent to {place}, which takes the workload's cgroup, and none is given for it: they are denied"
        );
        reports.insert(Report::new(Code::Redirect, entry, "spec", message));
    }
}

/// The addresses of the host itself.
fn own_addresses(addresses: Vec<IpAddr>, chosen: &Chosen<'_>, port: &Port) -> Vec<Backend> {
    let number = port.target.unwrap_or(port.number);
    let backend = |ip| Backend { address: Some(ip), port: number, weight: 1 };
    let mut backends: Vec<Backend> = addresses.into_iter().map(backend).collect();
    if chosen.first.resolution == Resolution::DnsRoundRobin {
        backends.truncate(1);
    }
    backends
}

/// Says which addresses of endpoints are not used.
fn report_guarded(guarded: &[IpAddr], entry: &Arc<ObjectRef>, reports: &mut BTreeSet<Report>) {
    if guarded.is_empty() {
        return;
    }
    let list: Vec<String> = guarded.iter().map(ToString::to_string).collect();
    let message = format!(
        "names of endpoints lead to internal addresses, which are left out: {} (list an address itself among the endpoints if it is meant)",
        list.join(", ")
    );
    reports.insert(Report::new(Code::EndpointGuarded, entry, "spec.endpoints", message));
}

/// The address that was dialled, on the port the service really has.
pub(super) fn dialled_address(port: &Port) -> Action {
    match port.target {
        Some(target) if target != port.number => {
            let backend = Backend { address: None, port: target, weight: 1 };
            Action::To(Arc::new(Target { kind: TargetKind::Endpoints, backends: vec![backend] }))
        }
        _ => Action::Allow,
    }
}

fn endpoints(
    mut backends: Vec<Backend>,
    entry: &Arc<ObjectRef>,
    reports: &mut BTreeSet<Report>,
) -> Action {
    if backends.is_empty() {
        let message = "there is no usable endpoint (none is declared or ready, or their names are not resolved): flows are denied";
        return refuse(
            Reason::NoUpstream,
            Code::NoUpstream,
            entry,
            "spec.endpoints",
            message.to_owned(),
            reports,
        );
    }
    backends.sort_unstable();
    backends.dedup();
    Action::To(Arc::new(Target { kind: TargetKind::Endpoints, backends }))
}

/// Denies what plain forwarding cannot do.
pub(super) fn needs_proxy(
    need: Need,
    originates_tls: bool,
    entry: &Arc<ObjectRef>,
    port: u16,
    reports: &mut BTreeSet<Report>,
) -> Option<Action> {
    let path = "spec.ports";
    if need.tunnel {
        let message =
            format!("flows to port {port} must pass an HTTP CONNECT proxy: they are denied");
        return Some(unsupported(Code::Tunnel, entry, path, message, reports));
    }
    (originates_tls || need.tls != TlsMode::Disable).then(|| {
        let message = format!(
            "on port {port} a proxy must begin TLS, and forwarding in clear would break that: flows are denied"
        );
        unsupported(Code::TlsOrigination, entry, path, message, reports)
    })
}

pub(super) fn unsupported(
    code: Code,
    object: &Arc<ObjectRef>,
    path: &str,
    message: String,
    reports: &mut BTreeSet<Report>,
) -> Action {
    refuse(Reason::Unsupported, code, object, path, message, reports)
}

/// Denies, and says why.
pub(super) fn refuse(
    reason: Reason,
    code: Code,
    object: &Arc<ObjectRef>,
    path: &str,
    message: String,
    reports: &mut BTreeSet<Report>,
) -> Action {
    reports.insert(Report::new(code, object, path, message));
    Action::Deny(Denial { reason, code })
}

//! Routes for the clients of the mesh: which object is for a host, and which of its rules fits.

use std::{cmp::Reverse, collections::BTreeSet, sync::Arc};

use ipnet::IpNet;

use super::{Exported, Services};
use crate::registry::{
    export_to::ExportTo,
    host::HostPattern,
    istio::virtual_service::{Destination, GatewayRef, Match, Rule, VirtualService},
    labels::{Labels, selects},
};

/// A flow of a client, as far as routes look at it before anything is sent.
#[derive(Clone, Copy)]
pub(in crate::policy) struct Routed<'a> {
    pub(in crate::policy) namespace: &'a str,
    pub(in crate::policy) labels: &'a Labels,
    pub(in crate::policy) port: u16,
    /// The declared address that was dialled; none if a learned one was.
    pub(in crate::policy) net: Option<IpNet>,
}

impl Routed<'_> {
    /// Whether only the flow itself says if it goes to one of `subnets`.
    pub(in crate::policy) fn leaves_open(&self, subnets: &[IpNet]) -> bool {
        let is_within = |net: &IpNet| subnets.iter().any(|it| it.contains(net));
        !subnets.is_empty() && !self.net.as_ref().is_some_and(is_within)
    }

    /// Whether it cannot go to any of `subnets`.
    fn is_outside(&self, subnets: &[IpNet]) -> bool {
        let meets = |net: IpNet| subnets.iter().any(|it| it.contains(&net) || net.contains(it));
        !subnets.is_empty() && self.net.is_some_and(|net| !meets(net))
    }
}

/// What the rules of one object say.
#[derive(Clone, Copy, Debug)]
pub(in crate::policy) enum Ruled<'a> {
    /// None of them is for this client and port.
    Nothing,
    /// It depends on what is inside the flow, or needs a proxy; the field that says so.
    Proxy(&'static str),
    To(&'a Destination),
}

/// Routes of one object.
pub(in crate::policy) type Routes = Arc<Exported<VirtualService>>;

impl Services {
    /// The object with the most specific host that covers `host`; of equal hosts that of the
    /// client's own, then one exported to it by name, then a public one, each by age.
    pub(in crate::policy) fn routes_for(
        &self,
        host: &HostPattern,
        client: &str,
        is_used: &impl Fn(&VirtualService) -> bool,
    ) -> Option<&Routes> {
        std::iter::once(host.clone())
            .chain(host.covering())
            .find_map(|pattern| self.routes.get(&pattern).and_then(|it| first(it, client, is_used)))
    }

    /// Objects with a host that covers `host` or lies below it; one object for each such host.
    pub(in crate::policy) fn routes_meeting(
        &self,
        host: &HostPattern,
        client: &str,
        is_used: &impl Fn(&VirtualService) -> bool,
    ) -> Vec<&Routes> {
        let mut patterns: Vec<HostPattern> =
            std::iter::once(host.clone()).chain(host.covering()).collect();
        if host.is_wildcard() {
            let below = self.routes.range(host.apex()..).map(|(pattern, _)| pattern);
            let below = below.take_while(|it| it.is_within(host)).filter(|it| host.covers(it));
            patterns.extend(below.filter(|it| *it != host).cloned());
        }
        patterns.sort_by_key(|it| (it.is_wildcard(), Reverse(it.labels())));
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for pattern in patterns {
            let routes = self.routes.get(&pattern);
            if let Some(routes) = routes.and_then(|it| first(it, client, is_used))
                && seen.insert(Arc::clone(&routes.object.header.object))
            {
                found.push(routes);
            }
        }
        found
    }
}

fn first<'a>(
    candidates: &'a [Routes],
    client: &str,
    is_used: &impl Fn(&VirtualService) -> bool,
) -> Option<&'a Routes> {
    let visible = candidates.iter().filter(|it| it.to.includes(client) && is_used(&it.object));
    // They are in order of age, and the first of the smallest is taken.
    visible.min_by_key(|it| match &it.to {
        ExportTo::Namespaces(names)
            if names.len() == 1 && it.object.header.namespace() == client =>
        {
            0
        }
        ExportTo::Namespaces(_) => 1,
        ExportTo::All | ExportTo::Nobody => 2,
    })
}

/// The first of `rules` that fits.
pub(in crate::policy) fn judge<'a>(
    object: &VirtualService,
    rules: &'a [Rule],
    flow: Routed<'_>,
) -> Ruled<'a> {
    let mut judged = rules.iter().map(|rule| match fit(object, rule, flow) {
        Fit::No => Ruled::Nothing,
        Fit::Yes => lead(rule),
        Fit::Inside(field) => Ruled::Proxy(field),
    });
    judged.find(|it| !matches!(it, Ruled::Nothing)).unwrap_or(Ruled::Nothing)
}

/// Where a rule that fits leads.
pub(in crate::policy) fn lead(rule: &Rule) -> Ruled<'_> {
    if let Some(field) = rule.proxy_only {
        return Ruled::Proxy(field);
    }
    match rule.destinations.as_slice() {
        [only] => Ruled::To(only),
        [] => Ruled::Proxy("route"),
        _ => Ruled::Proxy("weight"),
    }
}

/// Whether a rule is for a flow.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Fit {
    Yes,
    /// It looks inside the flow before it is taken.
    Inside(&'static str),
    No,
}

fn fit(object: &VirtualService, rule: &Rule, flow: Routed<'_>) -> Fit {
    if rule.matches.is_empty() {
        let is_for_all = object.gateways.contains(&GatewayRef::Mesh);
        return if is_for_all { Fit::Yes } else { Fit::No };
    }
    let fitting = rule.matches.iter().filter(|it| fits(object, it, flow));
    let each = fitting.map(|it| match it.looks_inside {
        Some(field) => Fit::Inside(field),
        None if flow.leaves_open(&it.subnets) => Fit::Inside("destinationSubnets"),
        None => Fit::Yes,
    });
    // One that asks nothing of the inside is enough.
    each.min().unwrap_or(Fit::No)
}

/// Whether everything holds that can be judged before anything is sent.
pub(in crate::policy) fn fits(object: &VirtualService, asked: &Match, flow: Routed<'_>) -> bool {
    asked.gateways.as_ref().unwrap_or(&object.gateways).contains(&GatewayRef::Mesh)
        && asked.port.is_none_or(|port| port == flow.port)
        && selects(&asked.source_labels, flow.labels)
        && !flow.is_outside(&asked.subnets)
        && asked.source_namespace.as_ref().is_none_or(|it| it == flow.namespace)
}

/// Whether any of `rules` can be for clients of the mesh.
pub(in crate::policy) fn is_on_mesh(object: &VirtualService, rules: &[Rule]) -> bool {
    let bound = |rule: &Rule| {
        let own =
            |it: &Match| it.gateways.as_ref().is_some_and(|it| it.contains(&GatewayRef::Mesh));
        object.gateways.contains(&GatewayRef::Mesh) || rule.matches.iter().any(own)
    };
    rules.iter().any(bound)
}

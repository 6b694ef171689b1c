//! The naive model: what must become of a flow, worked out from the documents each time, slowly and
//! in the words of the APIs. Shares no code with the agent.
//!
//! Where those words do not settle a question, the model says so (`Err`) and the flow is not
//! compared; how often that happens is bounded by the test.

mod act;
mod asm;
mod disputed;
mod matching;
pub(crate) mod names;
mod policies;
mod routes;
mod service;
mod view;

use std::collections::BTreeSet;

use self::{
    matching::{By, Hit, by_address, by_name, by_port},
    names::{covers, is_loopback, number, plain, prefix_over, selects, socket},
    policies::{Tls, tls_of},
    routes::{Effect, Routes},
    service::{Class, Service, services},
};
use super::{
    manifest::{Body, Object, RouteDestination, SidecarSpec},
    world::{Flow, Labels, World},
};

const RESOLVER: &str = "10.96.0.10";
const CLUSTER: [&str; 2] = ["10.244.0.0/16", "10.96.0.0/12"];
/// Seconds.
const GRACE: u32 = 30;
const SHORTEST_TTL: u32 = 30;
const TTL: u32 = 60;

/// What becomes of a flow.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Ruling {
    pub(crate) verdict: &'static str,
    /// None: the destination stays.
    pub(crate) rewrite: Option<BTreeSet<String>>,
    pub(crate) via: Option<String>,
    /// Only where the rules name one.
    pub(crate) reason: Option<&'static str>,
}

impl Ruling {
    fn plain(verdict: &'static str) -> Self {
        Self { verdict, rewrite: None, via: None, reason: None }
    }

    fn allow() -> Self {
        Self::plain("allow")
    }

    fn deny(reason: Option<&'static str>) -> Self {
        Self { reason, ..Self::plain("deny") }
    }

    fn gateway(via: &str, address: &str) -> Self {
        Self {
            rewrite: Some([address.to_owned()].into()),
            via: Some(via.to_owned()),
            ..Self::plain("redirect-gateway")
        }
    }
}

type Vague = &'static str;

/// A world of which the invalid and the undiscovered objects are gone, with its services.
pub(crate) struct Model {
    world: World,
    services: Vec<Service>,
}

impl World {
    fn objects(&self) -> impl Iterator<Item = &Object> {
        self.registry.iter()
    }

    fn namespace_labels(&self, name: &str) -> Labels {
        let found = self
            .registry
            .iter()
            .find(|object| matches!(object.body, Body::Namespace(_)) && object.meta.name == name);
        found.map(|it| it.meta.labels.clone()).unwrap_or_default()
    }

    fn root_namespace(&self) -> String {
        let given = self.mesh.as_ref().and_then(|mesh| mesh.root_namespace.clone());
        given.unwrap_or_else(|| "istio-system".to_owned())
    }

    fn route_export(&self, given: &[String]) -> Vec<String> {
        let default = self.mesh.as_ref().map(|mesh| mesh.default_virtual_service_export_to.clone());
        match default.filter(|it| !it.is_empty()) {
            _ if !given.is_empty() => given.to_vec(),
            Some(default) => default,
            None => vec!["*".to_owned()],
        }
    }

    /// The labels of the pods behind a Kubernetes Service, as far as its selector says.
    fn service_selector(&self, namespace: &str, name: &str) -> Labels {
        let found = self.registry.iter().find_map(|object| match &object.body {
            Body::Service(service)
                if object.meta.name == name && object.meta.namespace == namespace =>
            {
                Some(service.spec.selector.clone())
            }
            _ => None,
        });
        found.unwrap_or_default()
    }
}

impl Model {
    pub(crate) fn new(world: &World) -> Self {
        let mut world = world.clone();
        let refused = std::mem::take(&mut world.reject);
        let selectors = world.mesh.as_ref().map(|mesh| mesh.discovery_selectors.clone());
        let selectors = selectors.unwrap_or_default();
        let all = world.clone();
        world.registry.retain(|object| {
            let is_refused = refused.iter().any(|it| {
                let namespace = it.namespace.clone().unwrap_or_else(|| "default".to_owned());
                it.kind == object.kind()
                    && it.name == object.meta.name
                    && namespace == object.meta.namespace
            });
            let labels = all.namespace_labels(&object.meta.namespace);
            let is_discovered = selectors.is_empty()
                || matches!(object.body, Body::Namespace(_))
                || selectors.iter().any(|it| selects(&it.match_labels, &labels));
            !is_refused && is_discovered
        });
        let services = services(&world);
        Self { world, services }
    }

    pub(crate) fn judge(&self, flow: &Flow) -> Result<Ruling, Vague> {
        let (ip, port) = (flow.dest.ip.as_str(), flow.dest.port);
        let is_resolver = number(ip) == number(RESOLVER) && port == 53;
        if is_loopback(ip) || flow.client.host_network || is_resolver {
            return Ok(Ruling::allow());
        }
        let is_inside = CLUSTER.iter().any(|it| prefix_over(it, ip).is_some());
        if is_inside && self.world.agent.scope.as_deref() == Some("external") {
            return Ok(Ruling::allow());
        }
        let names = learned(flow);
        let has_listeners = view::sidecar(&self.world, &flow.client)
            .is_some_and(|it| it.egress.iter().any(|listener| listener.port.is_some()));
        let is_endpoint = |it: &Service| {
            it.is_headless && it.fixed.iter().any(|it| number(&it.0) == number(ip) && it.1 == port)
        };
        if has_listeners && self.services.iter().any(is_endpoint) {
            return Err("an endpoint under listeners with ports");
        }
        let view = view::view(&self.world, &self.services, &flow.client, port)?;
        self.check_vague(&view, flow, &names)?;
        let routes =
            Routes { world: &self.world, services: &self.services, client: &flow.client, port };
        let hits = by_address(&view, flow)?;
        if !hits.is_empty() {
            return agreed(hits.iter().map(|hit| self.act(&routes, hit, flow)));
        }
        let mut rulings = Vec::new();
        for name in &names {
            rulings.extend(self.by_name(&routes, &view, flow, name)?);
        }
        if !rulings.is_empty() {
            if names.len() > 1 {
                check_others(&routes, &view, flow, &names)?;
            }
            return agreed(rulings.into_iter().map(Ok));
        }
        let hits = by_port(&self.world, &view, flow)?;
        if !hits.is_empty() {
            check_others(&routes, &view, flow, &names)?;
            return agreed(hits.iter().map(|hit| self.act(&routes, hit, flow)));
        }
        for name in &names {
            rulings.extend(self.unregistered(&routes, &view, flow, name)?);
        }
        if !rulings.is_empty() {
            return agreed(rulings.into_iter().map(Ok));
        }
        self.unknown(flow)
    }

    /// Stops at a service that the rules leave open, if the flow may touch it.
    fn check_vague(&self, view: &[Service], flow: &Flow, names: &[String]) -> Result<(), Vague> {
        for service in view {
            let Some(vague) = service.vague else { continue };
            let addresses = service.addresses.iter().chain(&service.auto_addresses);
            let is_near =
                addresses.into_iter().any(|(it, _)| prefix_over(it, &flow.dest.ip).is_some())
                    || service.fixed.iter().any(|it| number(&it.0) == number(&flow.dest.ip))
                    || names.iter().any(|name| covers(&service.host, name))
                    || self.world.agent.matching.is_some()
                    || names.iter().any(|name| self.alias(name).is_some());
            if is_near {
                return Err(vague);
            }
        }
        Ok(())
    }

    /// What a name leads to, if some entry, alias or policy knows it on this port.
    fn by_name(
        &self,
        routes: &Routes<'_>,
        view: &[Service],
        flow: &Flow,
        name: &str,
    ) -> Result<Option<Ruling>, Vague> {
        let hit = by_name(view, flow, name);
        if let Some(target) = self.alias(name)
            && asm::gateway(&self.world, flow, &target)?.is_some()
        {
            return Err("a policy for the target of an alias");
        }
        let policy = if flow.dest.proto == "tcp" && !flow.client.host_network {
            asm::gateway(&self.world, flow, name)?
        } else {
            None
        };
        if let Some(policy) = policy {
            return self.by_policy(routes, hit.as_ref(), flow, &policy).map(Some);
        }
        let aliased = self.aliased(view, flow, name)?;
        match (hit, aliased) {
            (Some(hit), None) => self.act(routes, &hit, flow).map(Some),
            (Some(_), Some(_)) => Err("a name that is both declared and an alias"),
            (None, Some(hit)) => {
                if !matches!(
                    routes.effect(&hit.service, hit.class, Some(&hit.service.host))?,
                    Effect::None
                ) {
                    return Err("routes of an alias");
                }
                self.act(routes, &hit, flow).map(Some)
            }
            (None, None) => Ok(None),
        }
    }

    fn by_policy(
        &self,
        routes: &Routes<'_>,
        hit: Option<&Hit>,
        flow: &Flow,
        policy: &asm::Gateway,
    ) -> Result<Ruling, Vague> {
        let narrowed =
            view::sidecar(&self.world, &flow.client).is_some_and(|it| !it.egress.is_empty());
        if narrowed || view::is_gateway_pod(&self.world, &flow.client) {
            return Err("a policy under a Sidecar or for a gateway");
        }
        if let Some(hit) = hit {
            let By::Name(name) = &hit.by else { return Err("a policy beside an address") };
            let is_routed =
                !matches!(routes.effect(&hit.service, hit.class, Some(name))?, Effect::None);
            if is_routed || hit.service.has_waypoint {
                return Err("a policy beside another route");
            }
        }
        if flow.client.sidecar {
            return Ok(Ruling::plain("redirect-sidecar"));
        }
        Ok(asm::rule(&self.world, &self.services, policy))
    }

    /// The target of an `ExternalName` Service, followed to the end; none if it is none.
    fn alias(&self, name: &str) -> Option<String> {
        let mut name = name.to_owned();
        let mut is_alias = false;
        for _ in 0..8 {
            let next = self.world.objects().find_map(|object| match &object.body {
                Body::Service(service)
                    if service::kubernetes_host(&object.meta.name, &object.meta.namespace)
                        == name =>
                {
                    service.spec.external_name.clone()
                }
                _ => None,
            });
            let Some(next) = next else { break };
            name = plain(&next);
            is_alias = true;
        }
        is_alias.then_some(name)
    }

    /// The service that a name stands for because it is an alias of its host.
    fn aliased(&self, view: &[Service], flow: &Flow, name: &str) -> Result<Option<Hit>, Vague> {
        let is_seen = view.iter().any(|it| it.is_external_name && it.host == name);
        let Some(target) = self.alias(name).filter(|_| is_seen) else { return Ok(None) };
        let routes = Routes {
            world: &self.world,
            services: &self.services,
            client: &flow.client,
            port: flow.dest.port,
        };
        if flow.dest.port == 80 && !matches!(routes.unregistered(&target)?, Effect::None) {
            return Err("routes of an alias");
        }
        let Some(hit) = by_name(view, flow, &target) else { return Ok(None) };
        let is_hidden = self.world.mesh.is_some()
            || view::sidecar(&self.world, &flow.client).is_some_and(|it| !it.egress.is_empty());
        if is_hidden {
            return Err("who sees an alias");
        }
        Ok(Some(hit))
    }

    /// A route for a name that no entry declares, on port 80.
    fn unregistered(
        &self,
        routes: &Routes<'_>,
        view: &[Service],
        flow: &Flow,
        name: &str,
    ) -> Result<Option<Ruling>, Vague> {
        let is_gateway = view::is_gateway_pod(&self.world, &flow.client);
        if flow.dest.port != 80 || flow.dest.proto != "tcp" || is_gateway {
            return Ok(None);
        }
        let effect = routes.unregistered(name)?;
        if matches!(effect, Effect::None) {
            return Ok(None);
        }
        let has_listeners = view::sidecar(&self.world, &flow.client)
            .is_some_and(|it| it.egress.iter().any(|listener| listener.port.is_some()));
        let is_known = view.iter().any(|it| covers(&it.host, name))
            || has_listeners && self.services.iter().any(|it| covers(&it.host, name));
        if is_known {
            return Err("a route on port 80 of a host that is registered without it");
        }
        if flow.client.sidecar {
            return Ok(Some(Ruling::plain("redirect-sidecar")));
        }
        match effect {
            Effect::To(destination, route) => {
                let ruling = routes.follow(destination, route, None, Class::Http)?;
                ruling.map(Some).ok_or("a route that leads nowhere else")
            }
            _ => Ok(Some(Ruling::deny(Some("U-L7-ROUTE")))),
        }
    }

    /// Nothing declares the destination: the mode decides.
    fn unknown(&self, flow: &Flow) -> Result<Ruling, Vague> {
        let mesh_allows = self.world.mode.starts_with("ALLOW_ANY");
        let sidecar = view::sidecar(&self.world, &flow.client);
        let policy = sidecar.and_then(|it: &SidecarSpec| it.outbound_traffic_policy.as_ref());
        let Some(policy) = policy else {
            return Ok(if mesh_allows { Ruling::allow() } else { Ruling::deny(None) });
        };
        let may_relax = self.world.agent.sidecar_may_relax != Some(false);
        let wants = policy.mode.as_deref() == Some("ALLOW_ANY");
        if !wants || (!mesh_allows && !may_relax) {
            return Ok(Ruling::deny(None));
        }
        match &policy.egress_proxy {
            None => Ok(Ruling::allow()),
            Some(proxy) => self.egress_proxy(proxy, flow),
        }
    }

    fn egress_proxy(&self, proxy: &RouteDestination, flow: &Flow) -> Result<Ruling, Vague> {
        if flow.dest.proto == "udp" || flow.client.sidecar {
            return Err("an egressProxy for UDP, or under a sidecar");
        }
        let host = plain(&proxy.host);
        let port = proxy.port.as_ref().map(|it| it.number).ok_or("an egressProxy without port")?;
        let service = self.services.iter().find(|it| it.host == host);
        let fixed = service.and_then(|it| it.fixed.iter().find(|it| it.3 == port && !it.2));
        let (Some((ip, port, _, _)), Some(service)) = (fixed, service) else {
            return Ok(Ruling::deny(None));
        };
        if tls_of(&self.world, &flow.client, service, *port, proxy.subset.as_deref())?
            != Tls::Nothing
        {
            return Err("an egressProxy that wants TLS");
        }
        Ok(Ruling::gateway(&format!("{host}:{port}"), &socket(ip, *port)))
    }
}

/// Whether a route without an entry for one name yields to the entry of another is not said.
fn check_others(
    routes: &Routes<'_>,
    view: &[Service],
    flow: &Flow,
    names: &[String],
) -> Result<(), Vague> {
    for name in names {
        let is_routed = flow.dest.port == 80
            && by_name(view, flow, name).is_none()
            && !matches!(routes.unregistered(name)?, Effect::None);
        if is_routed {
            return Err("a route without an entry beside an entry of another name");
        }
    }
    Ok(())
}

/// All rulings must be one, for the flow to be settled.
fn agreed(rulings: impl Iterator<Item = Result<Ruling, Vague>>) -> Result<Ruling, Vague> {
    let mut all: Vec<Ruling> = Vec::new();
    for ruling in rulings {
        all.push(ruling?);
    }
    all.dedup();
    match all.as_slice() {
        [one] => Ok(one.clone()),
        _ => Err("several names or hosts that disagree"),
    }
}

/// The names that the client was told for the destination, as long as they hold.
fn learned(flow: &Flow) -> Vec<String> {
    let answers = flow.answers.clone().unwrap_or_else(|| vec![flow.dest.ip.clone()]);
    let is_told = answers.iter().any(|it| number(it) == number(&flow.dest.ip));
    let is_trusted = flow.resolver.as_ref().is_none_or(|it| number(it) == number(RESOLVER));
    let hold = flow.ttl.unwrap_or(TTL).max(SHORTEST_TTL) + GRACE;
    if !is_told || !is_trusted || flow.age.unwrap_or(0) > hold {
        return Vec::new();
    }
    // An answer never opens an address inside the cluster.
    let is_inside = CLUSTER.iter().any(|it| prefix_over(it, &flow.dest.ip).is_some());
    if is_inside {
        return Vec::new();
    }
    let meant = |name: &String| {
        let name = plain(name);
        let own_alias = flow.cname.first().map(|alias| plain(alias));
        own_alias.filter(|alias| is_completed(&name, alias)).unwrap_or(name)
    };
    flow.dns.iter().chain(&flow.also).map(meant).collect()
}

/// Whether a search list made `name` of `meant`. Nobody declares such names here.
fn is_completed(name: &str, meant: &str) -> bool {
    let suffix = name.strip_prefix(meant).and_then(|suffix| suffix.strip_prefix('.'));
    suffix.is_some_and(|it| it == "cluster.local" || it.ends_with(".cluster.local"))
}

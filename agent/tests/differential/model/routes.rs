//! VirtualServices: which one counts for a host, which of its rules fits a client, and where a route
//! leads.

use super::{
    super::{
        manifest::{self, Body, Match, Object, RouteDestination, Rule, VirtualServiceSpec},
        world::{Client, World},
    },
    Ruling, disputed,
    names::{covers, is_subset, is_wildcard, plain, selects, socket},
    policies::{Tls, tls_of},
    service::{Class, Service, Source, kubernetes_host},
    view::{Import, import, imports, sidecar},
};

/// What a rule does with a flow.
#[derive(Clone, Debug)]
pub(crate) enum Effect<'a> {
    /// Nothing: the entry decides.
    None,
    /// Something that only a proxy can do.
    NeedsProxy,
    /// A name that no rule covers.
    Refused,
    To(&'a RouteDestination, &'a Object),
}

#[derive(Clone, Copy)]
pub(crate) struct Routes<'a> {
    pub(crate) world: &'a World,
    pub(crate) services: &'a [Service],
    pub(crate) client: &'a Client,
    pub(crate) port: u16,
}

type Route<'a> = (&'a Object, &'a VirtualServiceSpec);

impl<'a> Routes<'a> {
    /// VirtualServices that the client sees and that are for pods, by rank: private, exported,
    /// public, each by age.
    fn visible(&self) -> Vec<Route<'a>> {
        let mut found = Vec::new();
        for object in &self.world.registry {
            let Body::VirtualService(service) = &object.body else { continue };
            let spec = &service.spec;
            let is_for_pods =
                spec.gateways.is_empty() || spec.gateways.iter().any(|it| it == "mesh");
            let client = &self.client.namespace;
            let owner = &object.meta.namespace;
            let export = self.world.route_export(&spec.export_to);
            let rank = if export.iter().any(|it| it == ".") && owner == client {
                0
            } else if export.iter().any(|it| it == client) {
                1
            } else if export.iter().any(|it| it == "*") {
                2
            } else {
                continue;
            };
            if is_for_pods {
                found.push((rank, &object.meta.creation_timestamp, (object, spec)));
            }
        }
        found.sort_by(|a, b| {
            (a.0, a.1, &a.2.0.meta.namespace, &a.2.0.meta.name).cmp(&(
                b.0,
                b.1,
                &b.2.0.meta.namespace,
                &b.2.0.meta.name,
            ))
        });
        found.into_iter().map(|(_, _, route)| route).collect()
    }

    /// The one with the most specific of the hosts that `fits`, and that host.
    fn best(
        &self,
        fits: impl Fn(&str) -> bool,
    ) -> Result<Option<(Route<'a>, String)>, &'static str> {
        let mut best: Option<((bool, usize), Route<'a>, String)> = None;
        for route in self.visible() {
            for host in &route.1.hosts {
                let host = plain(host);
                if !fits(&host) {
                    continue;
                }
                self.check_import(route.0, &host)?;
                let weight = (!is_wildcard(&host), host.len());
                if best.as_ref().is_none_or(|(other, _, _)| weight > *other) {
                    best = Some((weight, route, host));
                }
            }
        }
        Ok(best.map(|(_, route, host)| (route, host)))
    }

    /// Whether a Sidecar narrows routes as it narrows services is not said.
    fn check_import(&self, object: &Object, host: &str) -> Result<(), &'static str> {
        match import(sidecar(self.world, self.client), self.port)? {
            Import::Everything => Ok(()),
            Import::Nothing => Err("routes under a Sidecar that imports nothing"),
            Import::Items(items, _) => {
                if items.iter().any(|it| it.starts_with('~')) {
                    return Err("routes under a Sidecar that takes names away");
                }
                let client = &self.client.namespace;
                if imports(items, client, &object.meta.namespace, host) {
                    Ok(())
                } else {
                    Err("a route whose host a Sidecar does not import")
                }
            }
        }
    }

    /// What the routes do with a flow to a service; `name` is what was asked for, unless the
    /// address matched.
    pub(crate) fn effect(
        &self,
        service: &Service,
        class: Class,
        name: Option<&str>,
    ) -> Result<Effect<'a>, &'static str> {
        let of_entry = self.best(|host| is_subset(&service.host, host))?;
        let of_name = match name {
            Some(name) if is_wildcard(&service.host) => self.best(|host| covers(host, name))?,
            _ => None,
        };
        if class == Class::Http
            && let Some((route, host)) = &of_name
            && !is_subset(&service.host, host)
        {
            // A route for part of what the entry covers.
            if self.port != 80 {
                return Err("an HTTP route narrower than the entry, beside port 80");
            }
            if route.1.http.is_empty() {
                return Err("a route narrower than the entry without HTTP rules");
            }
            return self.http(*route, &route.1.http);
        }
        let of_entry = match (of_entry, class) {
            (of_entry, Class::Tls | Class::Tcp | Class::Sniffed) if is_wildcard(&service.host) => {
                self.narrower(service, class, of_entry)?
            }
            (of_entry, _) => of_entry,
        };
        let Some((route, _)) = of_entry else { return Ok(Effect::None) };
        self.check_others(route, class, |host| is_subset(&service.host, host))?;
        match class {
            Class::Http => self.http(route, &route.1.http),
            Class::Tls => self.tls(route, service, name),
            Class::Tcp => self.tcp(route),
            Class::Sniffed => {
                let spec = route.1;
                let some = [&spec.http, &spec.tls, &spec.tcp];
                let fits = |rules: &&Vec<Rule>| {
                    rules.iter().any(|rule| !self.fitting(route, rule).is_empty())
                };
                if some.iter().any(fits) {
                    return Err("routes on a port without a protocol");
                }
                Ok(Effect::None)
            }
            Class::Udp => Ok(Effect::None),
        }
    }

    /// For TLS a route for part of a wildcard is a route of the wildcard (Istio compares the two
    /// names in both directions). Several of them are left open.
    fn narrower(
        &self,
        service: &Service,
        class: Class,
        of_entry: Option<(Route<'a>, String)>,
    ) -> Result<Option<(Route<'a>, String)>, &'static str> {
        let mut found: Vec<(Route<'a>, String)> = Vec::new();
        for route in self.visible() {
            for host in &route.1.hosts {
                let host = plain(host);
                let rules = if class == Class::Tls { &route.1.tls } else { &route.1.tcp };
                let is_narrower = is_subset(&host, &service.host) && host != service.host;
                if is_narrower && (class == Class::Sniffed || !rules.is_empty()) {
                    self.check_import(route.0, &host)?;
                    found.push((route, host));
                }
            }
        }
        if found.is_empty() {
            return Ok(of_entry);
        }
        if found.len() > 1 || of_entry.is_some() || !found[0].0.1.tcp.is_empty() {
            return Err("routes for parts of a wildcard");
        }
        Ok(found.pop())
    }

    /// The blocks of a rule whose static predicates fit the client and the port.
    fn fitting(&self, route: Route<'a>, rule: &'a Rule) -> Vec<Option<&'a Match>> {
        if rule.matches.is_empty() {
            return vec![None];
        }
        let fits = |block: &&Match| {
            let gateways =
                if block.gateways.is_empty() { &route.1.gateways } else { &block.gateways };
            let client = self.client;
            (gateways.is_empty() || gateways.iter().any(|it| it == "mesh"))
                && block.port.is_none_or(|port| port == self.port)
                && selects(&block.source_labels, &client.labels)
                && block.source_namespace.as_ref().is_none_or(|it| *it == client.namespace)
        };
        rule.matches.iter().filter(fits).map(Some).collect()
    }

    fn http(&self, route: Route<'a>, rules: &'a [Rule]) -> Result<Effect<'a>, &'static str> {
        for rule in rules {
            let blocks = self.fitting(route, rule);
            if blocks.is_empty() {
                continue;
            }
            let is_certain = blocks.iter().any(|it| it.is_none_or(|block| block.uri.is_none()));
            if !is_certain {
                return Ok(Effect::NeedsProxy);
            }
            return lead(route, rule);
        }
        Ok(Effect::None)
    }

    fn tls(
        &self,
        route: Route<'a>,
        service: &Service,
        name: Option<&str>,
    ) -> Result<Effect<'a>, &'static str> {
        let mut fitting = Vec::new();
        for rule in &route.1.tls {
            for block in self.fitting(route, rule).into_iter().flatten() {
                fitting.push((rule, block));
            }
        }
        if fitting.is_empty() {
            return Ok(Effect::None);
        }
        let name = match name {
            Some(name) => name,
            None if is_wildcard(&service.host) => {
                return Err("TLS rules for names, and only the address is known");
            }
            None => service.host.as_str(),
        };
        let hits: Vec<&Rule> = fitting
            .into_iter()
            .filter(|(_, block)| block.sni_hosts.iter().any(|it| covers(&plain(it), name)))
            .map(|(rule, _)| rule)
            .collect();
        match hits.split_first() {
            None => Ok(Effect::Refused),
            Some((first, rest)) if rest.iter().all(|it| it.route == first.route) => {
                lead(route, first)
            }
            Some(_) => Err("two TLS rules for one name"),
        }
    }

    fn tcp(&self, route: Route<'a>) -> Result<Effect<'a>, &'static str> {
        let Some(rule) = route.1.tcp.iter().find(|it| !self.fitting(route, it).is_empty()) else {
            return Ok(Effect::None);
        };
        let has_tcp = |object: &&Object| match &object.body {
            Body::VirtualService(it) => !it.spec.tcp.is_empty(),
            _ => false,
        };
        let is_alone = self.world.registry.iter().filter(has_tcp).count() == 1;
        let hosts = &route.1.hosts;
        if !is_alone || hosts.len() != 1 || is_wildcard(&hosts[0]) {
            return Err("a TCP route to a gateway port that may serve others");
        }
        lead(route, rule)
    }

    /// What a route for a name does that no entry declares: HTTP on port 80 only.
    pub(crate) fn unregistered(&self, name: &str) -> Result<Effect<'a>, &'static str> {
        let Some((route, _)) = self.best(|host| covers(host, name))? else {
            return Ok(Effect::None);
        };
        self.check_others(route, Class::Http, |host| covers(host, name))?;
        if route.1.http.is_empty() {
            let others = self.visible();
            let has_http = |it: &Route<'_>| {
                !it.1.http.is_empty() && it.1.hosts.iter().any(|host| covers(&plain(host), name))
            };
            if others.iter().any(has_http) {
                return Err("an unregistered host whose best route has no HTTP rules");
            }
            return Ok(Effect::None);
        }
        self.http(route, &route.1.http)
    }

    /// Whether routes beside the best one have rules that fit.
    fn check_others(
        &self,
        best: Route<'a>,
        class: Class,
        fits: impl Fn(&str) -> bool,
    ) -> Result<(), &'static str> {
        let has_rules = |it: &Route<'a>| {
            let rules = match class {
                Class::Http => &it.1.http,
                Class::Tls => &it.1.tls,
                Class::Tcp | Class::Sniffed | Class::Udp => &it.1.tcp,
            };
            rules.iter().any(|rule| !self.fitting(*it, rule).is_empty())
        };
        let fits = |it: &Route<'a>| it.1.hosts.iter().any(|host| fits(&plain(host)));
        let routes = self.visible();
        let is_other = |it: &&Route<'a>| !std::ptr::eq(it.0, best.0);
        let has_others = routes.iter().filter(is_other).any(|it| fits(it) && has_rules(it));
        disputed::one_route(has_rules(&best), has_others, class)
    }

    /// Follows a route; none if it leads to the service itself.
    pub(crate) fn follow(
        &self,
        destination: &RouteDestination,
        route: &Object,
        from: Option<&Service>,
        class: Class,
    ) -> Result<Option<Ruling>, &'static str> {
        let mut host = plain(&destination.host);
        if !host.contains('.') {
            host = kubernetes_host(&host, &route.meta.namespace);
        }
        let wanted = destination.port.as_ref().map(|it| it.number);
        let found: Vec<&Service> = self.services.iter().filter(|it| it.host == host).collect();
        let only = |ports: &[super::service::Port]| {
            if ports.len() == 1 { ports[0].number } else { self.port }
        };
        if let Some(from) = from.filter(|it| it.host == host) {
            let port = wanted.unwrap_or_else(|| only(&from.ports));
            if port == self.port {
                return Ok(None);
            }
            return Err("a route to another port of the host itself");
        }
        let Some(service) = found.first() else {
            return Ok(Some(Ruling::deny(Some("E-ROUTE-DEST-UNKNOWN"))));
        };
        let is_plain = found.len() == 1
            && service.source == Source::Kubernetes
            && !service.is_headless
            && !service.is_external_name;
        if !is_plain {
            return Err("a route to something other than a Service with an address");
        }
        let port = wanted.unwrap_or_else(|| only(&service.ports));
        let Some((ip, _, is_udp, _)) = service.fixed.iter().find(|it| it.3 == port) else {
            return Ok(Some(Ruling::deny(Some("E-ROUTE-DEST-UNKNOWN"))));
        };
        if *is_udp {
            return Err("a route to a UDP port");
        }
        if let Some(denied) = self.accepts(service, port, destination, class)? {
            return Ok(Some(denied));
        }
        Ok(Some(Ruling::gateway(&format!("{host}:{port}"), &socket(ip, port))))
    }

    /// A denial, if the gateway does not take the pod's bytes as they are.
    fn accepts(
        &self,
        gateway: &Service,
        port: u16,
        destination: &RouteDestination,
        class: Class,
    ) -> Result<Option<Ruling>, &'static str> {
        match tls_of(self.world, self.client, gateway, port, destination.subset.as_deref())? {
            Tls::Nothing => {}
            Tls::Originates => return Ok(Some(Ruling::deny(Some("U-GATEWAY-MTLS")))),
            Tls::Tunnel => return Ok(Some(Ruling::deny(None))),
        }
        let pods = self.world.service_selector(&gateway.namespace, &gateway.age.3);
        let mut modes = Vec::new();
        for object in &self.world.registry {
            let Body::Gateway(it) = &object.body else { continue };
            if pods.is_empty() || !selects(&it.spec.selector, &pods) {
                continue;
            }
            for server in it.spec.servers.iter().filter(|it| it.port.number == port) {
                let mode = server.tls.as_ref().map_or("", |tls| tls.mode.as_str());
                modes.push((server.port.protocol.to_uppercase(), mode.to_owned()));
            }
        }
        let demands = |mode: &str| matches!(mode, "SIMPLE" | "MUTUAL" | "ISTIO_MUTUAL");
        let demanding = modes.iter().filter(|(_, mode)| demands(mode)).count();
        if demanding > 0 && demanding < modes.len() {
            return Err("gateway servers of one port that disagree");
        }
        if demanding > 0 {
            return Ok(Some(Ruling::deny(Some("U-GATEWAY-MTLS"))));
        }
        for (protocol, _) in &modes {
            let is_fit = match protocol.as_str() {
                "HTTP" => class == Class::Http,
                "TLS" => class == Class::Tls,
                "TCP" => true,
                _ => false,
            };
            if !is_fit {
                return Err("a gateway server of another protocol than the flow");
            }
        }
        Ok(None)
    }
}

/// Where a rule that fits leads.
fn lead<'a>(route: Route<'a>, rule: &'a Rule) -> Result<Effect<'a>, &'static str> {
    if rule.rewrite.is_some() || rule.fault.is_some() {
        return Ok(Effect::NeedsProxy);
    }
    // A share of nothing is none.
    let shares: Vec<&manifest::Route> =
        rule.route.iter().filter(|it| it.weight != Some(0)).collect();
    match shares.as_slice() {
        [one] => Ok(Effect::To(&one.destination, route.0)),
        [first, rest @ ..] if rest.iter().all(|it| it.destination == first.destination) => {
            Err("weights among equal destinations")
        }
        _ => Ok(Effect::NeedsProxy),
    }
}

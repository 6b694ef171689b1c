//! What is done with a flow that matched: sidecar, waypoint, route, TLS, and where it is sent.

use std::collections::BTreeSet;

use super::{
    super::world::Flow,
    Model, Ruling, Vague,
    matching::{By, Hit},
    names::{is_guarded, number, plain, prefix_over, socket},
    policies::{Tls, tls_of},
    routes::{Effect, Routes},
    service::{Port, Service, Source},
    view,
};

impl Model {
    /// What is done with a flow that matched.
    pub(super) fn act(&self, routes: &Routes<'_>, hit: &Hit, flow: &Flow) -> Result<Ruling, Vague> {
        let is_tcp = flow.dest.proto == "tcp";
        let is_gateway = view::is_gateway_pod(&self.world, &flow.client);
        if is_tcp && flow.client.sidecar {
            return Ok(Ruling::plain("redirect-sidecar"));
        }
        let name = match &hit.by {
            By::Name(name) => Some(name.as_str()),
            By::Address => None,
            By::Port if hit.service.host.starts_with('*') => {
                return Err("a port alone of a wildcard");
            }
            By::Port => Some(hit.service.host.as_str()),
        };
        let effect = if is_tcp && !is_gateway {
            routes.effect(&hit.service, hit.class, name)?
        } else {
            Effect::None
        };
        if let Some(ruling) = self.waypoint(hit, flow, &effect)? {
            return Ok(ruling);
        }
        match effect {
            Effect::None => {}
            Effect::NeedsProxy => return Ok(Ruling::deny(Some("U-L7-ROUTE"))),
            Effect::Refused => return Ok(Ruling::deny(None)),
            Effect::To(destination, route) => {
                let ruling = routes.follow(destination, route, Some(&hit.service), hit.class)?;
                if let Some(ruling) = ruling {
                    return Ok(ruling);
                }
            }
        }
        self.direct(hit, flow, is_gateway)
    }

    fn waypoint(
        &self,
        hit: &Hit,
        flow: &Flow,
        effect: &Effect<'_>,
    ) -> Result<Option<Ruling>, Vague> {
        let is_bound = match hit.service.source {
            Source::Entry => hit.service.has_waypoint,
            Source::Gloo | Source::Kubernetes => {
                let labels = self.world.namespace_labels(&hit.service.namespace);
                if labels.contains_key("istio.io/use-waypoint") {
                    return Err("a waypoint of something other than an entry");
                }
                false
            }
        };
        if !is_bound {
            return Ok(None);
        }
        let asked = tls_of(&self.world, &flow.client, &hit.service, flow.dest.port, None)?;
        if flow.dest.proto == "udp" || !matches!(effect, Effect::None) || asked != Tls::Nothing {
            return Err("a waypoint and something else");
        }
        if flow.client.ambient {
            return Ok(Some(Ruling::allow()));
        }
        Ok(Some(Ruling::deny(Some("U-WAYPOINT"))))
    }

    /// No route has taken the flow: it goes where the entry says.
    fn direct(&self, hit: &Hit, flow: &Flow, is_gateway: bool) -> Result<Ruling, Vague> {
        let service = &hit.service;
        let asked = tls_of(&self.world, &flow.client, service, flow.dest.port, None)?;
        if flow.dest.proto == "udp" && asked != Tls::Nothing {
            return Err("a DestinationRule that asks for TLS on UDP");
        }
        if flow.dest.proto == "tcp" {
            let is_open = is_gateway || service.source == Source::Kubernetes;
            let originates = hit.port.as_ref().is_some_and(|it| it.originates_tls);
            if is_open && (asked != Tls::Nothing || originates) {
                return Err("TLS from a gateway pod or to a Kubernetes Service");
            }
            match asked {
                Tls::Originates => return Ok(Ruling::deny(Some("U-TLS-ORIGINATION"))),
                Tls::Tunnel => return Ok(Ruling::deny(Some("U-TUNNEL"))),
                Tls::Nothing => {}
            }
        }
        let Some(port) = &hit.port else {
            // kube-proxy, or the endpoint itself.
            return Ok(Ruling::allow());
        };
        if port.originates_tls {
            return Ok(Ruling::deny(Some("U-TLS-ORIGINATION")));
        }
        self.send(service, port, &hit.by, flow)
    }

    fn send(&self, service: &Service, port: &Port, by: &By, flow: &Flow) -> Result<Ruling, Vague> {
        let ip = flow.dest.ip.as_str();
        let own = port.target.unwrap_or(port.number);
        let is_by_name = matches!(by, By::Name(_));
        match service.resolution.as_str() {
            "NONE" => return Ok(rewritten(flow, &[(ip.to_owned(), own)])),
            "DYNAMIC_DNS" if !is_by_name => return Ok(Ruling::deny(Some("U-DYNAMIC-DNS-VIP"))),
            "DYNAMIC_DNS" if port.target.is_some() => return Err("DYNAMIC_DNS with a targetPort"),
            "DYNAMIC_DNS" => return Ok(Ruling::allow()),
            "STATIC" => {}
            _ if !service.has_endpoints && is_by_name => {
                return Ok(rewritten(flow, &[(ip.to_owned(), own)]));
            }
            _ => {}
        }
        let is_dns = service.resolution.starts_with("DNS");
        let upstreams = if is_dns && !service.has_endpoints {
            vec![(service.host.clone(), own)]
        } else {
            port.upstreams.clone()
        };
        let sockets = upstreams.iter().filter(|(address, _)| address.starts_with("unix:")).count();
        if sockets > 0 {
            if sockets < upstreams.len() {
                return Err("unix sockets beside other endpoints");
            }
            return Ok(Ruling::deny(Some("U-UDS")));
        }
        let mut found = Vec::new();
        let written: Vec<String> = upstreams.iter().map(|(address, _)| address.clone()).collect();
        for (address, target) in upstreams {
            if number(&address).is_some() {
                found.push((address, target));
                continue;
            }
            let answers = self.world.resolve.get(&plain(&address)).cloned().unwrap_or_default();
            if answers.len() > 1 && service.resolution == "DNS_ROUND_ROBIN" {
                return Err("several addresses of DNS_ROUND_ROBIN");
            }
            // What a name leads to is its zone's word, so what is internal has to be the entry's too.
            let addresses = service.addresses.iter().map(|(it, _)| it);
            let own: Vec<&String> = addresses.chain(&written).collect();
            let is_usable =
                |ip: &String| !is_guarded(ip) || own.iter().any(|it| prefix_over(it, ip).is_some());
            found.extend(answers.into_iter().filter(is_usable).map(|it| (it, target)));
        }
        if found.is_empty() {
            return Ok(Ruling::deny(Some("no-upstream")));
        }
        Ok(rewritten(flow, &found))
    }
}

fn rewritten(flow: &Flow, to: &[(String, u16)]) -> Ruling {
    let dialled = socket(&flow.dest.ip, flow.dest.port);
    let set: BTreeSet<String> = to.iter().map(|(ip, port)| socket(ip, *port)).collect();
    let is_unchanged = set.iter().all(|it| *it == dialled);
    Ruling { rewrite: (!is_unchanged).then_some(set), ..Ruling::allow() }
}

//! Alibaba's egress policies: which gateway a selected pod has to take for a name and a port.

use super::{
    super::{
        manifest::{Body, EgressPolicySpec, EgressTo, Object},
        world::{Flow, World},
    },
    Ruling,
    names::{plain, selects, socket},
    service::{Class, Service, class, kubernetes_host},
};

/// Name of a gateway, and its port once it has one.
pub(crate) type Gateway = (String, Option<u16>);

/// The gateway that policies name for a flow to a name: its Service and port.
pub(crate) fn gateway(
    world: &World,
    flow: &Flow,
    name: &str,
) -> Result<Option<Gateway>, &'static str> {
    let mut found: Vec<Gateway> = Vec::new();
    for object in &world.registry {
        let Body::EgressPolicy(policy) = &object.body else { continue };
        for rule in &policy.spec.egress_rules {
            let client = &flow.client;
            let is_meant = rule.from.iter().any(|from| {
                from.namespace == client.namespace
                    && selects(&from.workload_selector, &client.labels)
            });
            for to in rule.to.iter().filter(|_| is_meant) {
                let is_named = to.hosts.iter().any(|host| plain(host) == name);
                let is_udp = class(&to.port.protocol) == Class::Udp;
                if is_named && !is_udp && to.port.number == flow.dest.port {
                    let port = gateway_port(object, &policy.spec, to)?;
                    found.push((policy.spec.by_egress_gateway.name.clone(), port));
                }
            }
        }
    }
    found.sort();
    found.dedup();
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        _ => Err("two policies for one name and port"),
    }
}

fn gateway_port(
    object: &Object,
    spec: &EgressPolicySpec,
    to: &EgressTo,
) -> Result<Option<u16>, &'static str> {
    if let Some(port) = &to.by_egress_gateway {
        return Ok(Some(port.port));
    }
    let mut all = spec.egress_rules.iter().flat_map(|it| &it.to);
    if all.any(|it| it.by_egress_gateway.is_some()) {
        return Err("a gateway port given here and not there");
    }
    let Body::EgressPolicy(policy) = &object.body else { return Err("no policy") };
    let key = format!("{}-{}", to.hosts.first().map_or("", |it| it), to.port.number);
    let allocated = policy.status.auto_allocated_gateway_ports.get(&key);
    match (allocated, to.port.protocol.to_uppercase().as_str()) {
        (Some(port), _) => Ok(Some(*port)),
        (None, "HTTP" | "HTTP2") => Ok(Some(10_000)),
        (None, "GRPC") => Ok(Some(50_051)),
        _ => Ok(None),
    }
}

/// What becomes of a flow that a policy sends to a gateway, from a pod without a sidecar.
pub(crate) fn rule(world: &World, services: &[Service], gateway: &Gateway) -> Ruling {
    let Some(port) = gateway.1 else { return Ruling::deny(None) };
    let host = kubernetes_host(&format!("istio-{}", gateway.0), "istio-system");
    let service = services.iter().find(|it| it.host == host);
    let fixed = service.and_then(|it| it.fixed.iter().find(|it| it.3 == port && !it.2));
    let takes_plain = world.agent.gateway_transport.as_deref() != Some("mtls");
    match (fixed, takes_plain) {
        (Some((ip, port, _, _)), true) => {
            Ruling::gateway(&format!("{host}:{port}"), &socket(ip, *port))
        }
        (Some(_), false) => Ruling::deny(Some("U-GATEWAY-MTLS")),
        (None, true) => Ruling::deny(Some("E-ROUTE-DEST-UNKNOWN")),
        (None, false) => Ruling::deny(None),
    }
}

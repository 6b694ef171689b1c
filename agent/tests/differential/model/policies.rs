//! DestinationRules: whether a proxy has to originate TLS or open a tunnel.

use super::{
    super::{
        manifest::{Body, DestinationRuleSpec, Object, TrafficPolicy},
        world::{Client, World},
    },
    names::{is_subset, is_wildcard, plain, selects},
    service::Service,
};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tls {
    Nothing,
    Originates,
    Tunnel,
}

/// What the rule that counts asks for on a port of a service.
pub(crate) fn tls_of(
    world: &World,
    client: &Client,
    service: &Service,
    port: u16,
    subset: Option<&str>,
) -> Result<Tls, &'static str> {
    let Some(spec) = rule(world, client, service)? else {
        return if subset.is_some() {
            Err("a subset that no rule defines")
        } else {
            Ok(Tls::Nothing)
        };
    };
    let whole = spec.traffic_policy.as_ref().map_or(Tls::Nothing, |it| asked(it, port));
    let Some(name) = subset else { return Ok(whole) };
    let Some(subset) = spec.subsets.iter().find(|it| it.name == name) else {
        return Err("a subset that no rule defines");
    };
    match &subset.traffic_policy {
        None => Ok(whole),
        Some(policy) if whole == Tls::Nothing => Ok(asked(policy, port)),
        Some(_) => Err("a subset against its rule"),
    }
}

fn asked(policy: &TrafficPolicy, port: u16) -> Tls {
    if policy.tunnel.is_some() {
        return Tls::Tunnel;
    }
    let of_port = policy.port_level_settings.iter().find(|it| it.port.number == port);
    let tls = match of_port {
        Some(level) => level.tls.as_ref(),
        None => policy.tls.as_ref(),
    };
    match tls.map(|it| it.mode.as_str()) {
        Some("SIMPLE" | "MUTUAL" | "ISTIO_MUTUAL") => Tls::Originates,
        _ => Tls::Nothing,
    }
}

/// The rule of the client's namespace, else of the service's, else of the root's; there the one
/// with the most specific host.
fn rule<'a>(
    world: &'a World,
    client: &Client,
    service: &Service,
) -> Result<Option<&'a DestinationRuleSpec>, &'static str> {
    let root = world.root_namespace();
    if service.is_of_many {
        let mut objects = world.registry.iter();
        let is_for = |object: &Object| match &object.body {
            Body::DestinationRule(it) => is_subset(&service.host, &plain(&it.spec.host)),
            _ => false,
        };
        if objects.any(is_for) {
            return Err("a rule for a service of several namespaces");
        }
    }
    for namespace in [&client.namespace, &service.namespace, &root] {
        let mut fitting: Vec<(&Object, &DestinationRuleSpec)> = Vec::new();
        for object in &world.registry {
            let Body::DestinationRule(rule) = &object.body else { continue };
            if object.meta.namespace != *namespace
                || !is_subset(&service.host, &plain(&rule.spec.host))
            {
                continue;
            }
            let is_seen = rule.spec.export_to.is_empty()
                || rule.spec.export_to.iter().any(|it| it == "*" || *it == client.namespace)
                || (rule.spec.export_to.iter().any(|it| it == ".")
                    && *namespace == client.namespace);
            let is_meant = rule.spec.workload_selector.as_ref().is_none_or(|it| {
                *namespace == client.namespace && selects(&it.match_labels, &client.labels)
            });
            if is_seen && is_meant {
                fitting.push((object, &rule.spec));
            }
        }
        fitting.sort_by_key(|(_, spec)| {
            let host = plain(&spec.host);
            let is_for_all = spec.workload_selector.is_none();
            (is_wildcard(&host), std::cmp::Reverse(host.len()), is_for_all)
        });
        if let Some((_, first)) = fitting.first() {
            let is_equal = |it: &DestinationRuleSpec| {
                plain(&it.host) == plain(&first.host)
                    && it.workload_selector.is_some() == first.workload_selector.is_some()
            };
            if fitting.iter().filter(|(_, it)| is_equal(it)).count() > 1 {
                return Err("two rules for one host in one namespace");
            }
            return Ok(Some(first));
        }
    }
    Ok(None)
}

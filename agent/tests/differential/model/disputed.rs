//! Questions on which the compiler and the words of the rules differ today. Each is left open until
//! one of the two is changed; with `EXEAT_DIFFERENTIAL_STRICT` set they are compared all the same,
//! and the test then shows a small case of each.

use std::sync::OnceLock;

use super::{
    super::{
        manifest::{Body, VirtualServiceSpec},
        world::{Flow, World},
    },
    matching::Hit,
    names::{covers, plain},
    service::{Class, Service},
};

fn is_strict() -> bool {
    static STRICT: OnceLock<bool> = OnceLock::new();
    *STRICT.get_or_init(|| std::env::var_os("EXEAT_DIFFERENTIAL_STRICT").is_some())
}

fn left_open(is_disputed: bool, question: &'static str) -> Result<(), &'static str> {
    if is_disputed && !is_strict() { Err(question) } else { Ok(()) }
}

/// "Most specific host wins; a duplicate's routes are not merged": the compiler lets the rules of
/// another VirtualService count where the one with the most specific host has none that fit.
pub(crate) fn one_route(
    best_has_rules: bool,
    others_have: bool,
    class: Class,
) -> Result<(), &'static str> {
    let is_disputed = others_have && (!best_has_rules || class == Class::Tls);
    left_open(is_disputed, "disputed: rules of a VirtualService beside the most specific one")
}

/// "Sort by creationTimestamp, then host name, then namespace": the compiler goes by the names of
/// the objects.
pub(crate) fn equal_age(hits: &[Hit], eldest: &super::service::Age) -> Result<(), &'static str> {
    let is_tie = hits.iter().any(|it| {
        let (created, _, namespace, name) = &it.age;
        *created == eldest.0 && (namespace, name) != (&eldest.2, &eldest.3)
    });
    left_open(is_tie, "disputed: one address of two entries of one second")
}

/// A UDP port is matched by learned names when there are no addresses, and nothing is said of the
/// address that Istio gave; the compiler matches that as well.
pub(crate) fn udp_by_auto_address(service: &Service, flow: &Flow) -> Result<(), &'static str> {
    let is_it = service.auto_addresses.iter().any(|(it, _)| *it == flow.dest.ip);
    left_open(is_it, "disputed: UDP to an address that Istio gave")
}

/// "Match + pod has a sidecar: redirect-sidecar" stands before what routes do; the compiler refuses
/// a name that no TLS rule covers at once.
pub(crate) fn refused_under_sidecar(is_refused: bool) -> Result<(), &'static str> {
    left_open(is_refused, "disputed: a name that no TLS rule covers, and a sidecar")
}

/// The longest wildcard decides; the compiler lets a route for part of a shorter one come first.
pub(crate) fn route_of_a_shorter_wildcard(
    world: &World,
    view: &[Service],
    hit: &Hit,
    flow: &Flow,
    name: &str,
) -> Result<(), &'static str> {
    let has_http = |it: &&Service| {
        let mut ports = it.ports.iter();
        ports.any(|port| port.number == flow.dest.port && port.class == Class::Http)
    };
    let mut others = view
        .iter()
        .filter(|it| it.host != hit.service.host && covers(&it.host, name))
        .filter(has_http);
    let is_narrow = |spec: &VirtualServiceSpec| {
        let mut hosts = spec.hosts.iter().map(|it| plain(it));
        hosts.any(|host| covers(&host, name) && host.len() > hit.service.host.len())
    };
    let mut objects = world.registry.iter();
    let is_disputed = hit.class != Class::Http
        && others.next().is_some()
        && objects.any(|it| matches!(&it.body, Body::VirtualService(it) if is_narrow(&it.spec)));
    left_open(is_disputed, "disputed: an HTTP route for part of a shorter wildcard")
}

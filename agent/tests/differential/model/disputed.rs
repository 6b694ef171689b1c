//! Questions on which the compiler and the words of the rules differ today. Each is left open until
//! one of the two is changed; with `EXEAT_DIFFERENTIAL_STRICT` set they are compared all the same,
//! and the test then shows a small case of each.

use std::{net::IpAddr, sync::OnceLock};

use super::{
    super::world::Flow,
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

/// A UDP port is matched by learned names when there are no addresses, and nothing is said of the
/// address that Istio gave; the compiler matches that as well.
pub(crate) fn udp_by_auto_address(service: &Service, flow: &Flow) -> Result<(), &'static str> {
    let canonical = |text: &str| text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
    let dialled = canonical(&flow.dest.ip);
    let is_it = service.auto_addresses.iter().any(|(it, _)| canonical(it) == dialled);
    left_open(is_it, "disputed: UDP to an address that Istio gave")
}

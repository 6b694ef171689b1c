//! What a valid `ServiceEntry` does not check, or cannot have here.

use super::{
    Endpoint, Resolution, ServiceEntry,
    check::{Findings, label},
    raw,
};
use crate::registry::{meta::Meta, port::Class, report::Code};

/// What a valid entry still cannot have, or does not check.
pub(super) fn caveats(
    meta: &Meta,
    spec: &raw::Spec,
    entry: &ServiceEntry,
    found: &mut Findings<'_>,
) {
    if entry.ports.is_empty() {
        found.add(Code::NoPorts, "spec.ports", "an entry without ports is valid and opens nothing");
    }
    let may_allocate = entry.resolution != Resolution::None
        && meta.labels.get(label::AUTO_ALLOCATE).map(String::as_str) != Some("false")
        && entry.hosts.iter().all(|host| !host.is_wildcard());
    let has_range = entry.addresses.iter().any(|net| net.prefix_len() < net.max_prefix_len());
    for port in &entry.ports {
        let class = port.protocol.class();
        if class == Class::Tcp && entry.addresses.is_empty() && !may_allocate {
            let message = format!(
                "port {} is matched by the learned addresses of the host; a mesh would open it to every address",
                port.number
            );
            found.add(Code::TcpWithoutAddress, "spec.ports", message);
        }
        if class == Class::Tls && has_range {
            let message = format!(
                "port {}: flows into the range are judged by address; the server name in them is not checked",
                port.number
            );
            found.add(Code::SniNotChecked, "spec.addresses", message);
        }
    }
    if !spec.subject_alt_names.is_empty() {
        found.add(
            Code::SanNotVerified,
            "spec.subjectAltNames",
            "the names in the server's certificate are checked by a proxy only, if the pod has one",
        );
    }
    if entry.waypoint {
        found.add(
            Code::Waypoint,
            format!("metadata.labels.{}", label::USE_WAYPOINT),
            "a waypoint must carry these flows, and this agent cannot hand them to one: they are denied",
        );
    }
    unenforceable(entry, found);
}

/// Destinations other than the one dialled need a redirect.
fn unenforceable(entry: &ServiceEntry, found: &mut Findings<'_>) {
    if entry.endpoints.iter().any(Endpoint::is_unix) {
        found.add(
            Code::Uds,
            "spec.endpoints",
            "a unix socket can only be reached by a proxy in the pod: flows are denied",
        );
        return;
    }
    if !entry.is_direct() {
        if entry.endpoints.is_empty() && entry.selector.is_none() {
            found.add(
                Code::NoUpstream,
                "spec.endpoints",
                "STATIC without endpoints: every flow is denied, because there is nowhere to go",
            );
        } else {
            found.add(
                Code::Redirect,
                "spec.endpoints",
                "flows would have to be sent to the endpoints, which this agent cannot do yet: they are denied",
            );
        }
        return;
    }
    if entry.resolution != Resolution::None && !entry.addresses.is_empty() {
        found.add(
            Code::Redirect,
            "spec.addresses",
            "flows to these virtual addresses would have to be sent to the host, which this agent cannot do yet: they are denied; flows to learned addresses of the host are not concerned",
        );
    }
    for port in entry.ports.iter().filter(|port| port.rewrites()) {
        let message = format!(
            "flows to port {} would have to be sent to port {}, which this agent cannot do yet: they are denied",
            port.number,
            port.target.unwrap_or(port.number)
        );
        found.add(Code::Redirect, "spec.ports", message);
    }
}

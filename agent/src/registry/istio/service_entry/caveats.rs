//! What a valid `ServiceEntry` does not check, or cannot have here.

use super::{Resolution, ServiceEntry, check::allocates, raw};
use crate::registry::{endpoint::Endpoint, findings::Findings, port::Class, report::Code};

/// What a valid entry still cannot have, or does not check.
pub(super) fn caveats(spec: &raw::Spec, entry: &ServiceEntry, found: &mut Findings<'_>) {
    if entry.ports.is_empty() {
        found.add(Code::NoPorts, "spec.ports", "an entry without ports is valid and opens nothing");
    }
    let may_allocate = entry.hosts.iter().all(|host| allocates(entry, host));
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
    let by_dns = matches!(entry.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
    let goes_by_address = entry.ports.iter().any(|port| port.protocol.class() != Class::Http);
    if by_dns && goes_by_address && spec.hosts.len() > 1 && !entry.addresses.is_empty() {
        found.add(
            Code::MultiHostAddress,
            "spec.addresses",
            "the hosts share these addresses, and the address alone says nothing of the host: write one entry a host",
        );
    }
    if !spec.subject_alt_names.is_empty() {
        found.add(
            Code::SanNotVerified,
            "spec.subjectAltNames",
            "the names in the server's certificate are checked by a proxy only, if the pod has one",
        );
    }
    unenforceable(entry, found);
}

/// What no forwarding of packets can do.
fn unenforceable(entry: &ServiceEntry, found: &mut Findings<'_>) {
    if entry.endpoints.iter().any(Endpoint::is_unix) {
        found.add(
            Code::Uds,
            "spec.endpoints",
            "a unix socket can only be reached by a proxy in the pod: flows are denied",
        );
        return;
    }
    if entry.resolution == Resolution::Static
        && entry.endpoints.is_empty()
        && entry.selector.is_none()
    {
        found.add(
            Code::NoUpstream,
            "spec.endpoints",
            "STATIC without endpoints: every flow is denied, because there is nowhere to go",
        );
    }
}

//! What the rules of a `VirtualService` ask of a flow, and who uses them.

use ipnet::IpNet;

use super::{
    GatewayRef, Match,
    hosts::{Hosts, Sni},
    raw,
};
use crate::registry::{
    cidr,
    findings::Findings,
    host::is_dns_label,
    labels::{Labels, is_key, is_value},
    port::in_range,
    report::Code,
};

/// The word that stands for every client, where names of gateways stand.
const MESH: &str = "mesh";

pub(super) fn http(
    raw: &raw::HttpMatch,
    path: &str,
    namespace: &str,
    found: &mut Findings<'_>,
) -> Match {
    let place = Place { path, namespace };
    let fixed = Fixed {
        gateways: &raw.gateways,
        port: raw.port,
        source_labels: &raw.source_labels,
        source_namespace: &raw.source_namespace,
    };
    let looks_inside = [
        ("uri", raw.uri.is_some()),
        ("scheme", raw.scheme.is_some()),
        ("method", raw.method.is_some()),
        ("authority", raw.authority.is_some()),
        ("headers", !raw.headers.is_empty()),
        ("withoutHeaders", !raw.without_headers.is_empty()),
        ("queryParams", !raw.query_params.is_empty()),
    ];
    let looks_inside = looks_inside.into_iter().find(|(_, is_set)| *is_set).map(|(name, _)| name);
    Match { looks_inside, ..fixed.check(place, found) }
}

pub(super) fn tls(
    raw: &raw::TlsMatch,
    path: &str,
    namespace: &str,
    hosts: &Hosts,
    found: &mut Findings<'_>,
) -> Match {
    let place = Place { path, namespace };
    let fixed = Fixed {
        gateways: &raw.gateways,
        port: raw.port,
        source_labels: &raw.source_labels,
        source_namespace: &raw.source_namespace,
    };
    let mut of_tls = fixed.check(place, found);
    of_tls.subnets = subnets(&raw.destination_subnets, path, found);
    if raw.sni_hosts.is_empty() {
        let message = "a tls match needs sniHosts (for any protocol use tcp rules)";
        found.add(Code::VirtualServiceSni, format!("{path}.sniHosts"), message);
    }
    let mut every = false;
    for (index, text) in raw.sni_hosts.iter().enumerate() {
        match hosts.sni(text, namespace, format!("{path}.sniHosts[{index}]"), found) {
            Sni::Every => every = true,
            Sni::Within(name) => of_tls.sni_hosts.push(name),
            Sni::Skipped => {}
        }
    }
    of_tls.sni_hosts.sort();
    of_tls.sni_hosts.dedup();
    if every {
        of_tls.sni_hosts.clear();
    } else if of_tls.sni_hosts.is_empty() {
        // An empty list would be any name.
        of_tls.looks_inside = Some("sniHosts");
    }
    if !raw.source_subnet.is_empty() {
        of_tls.looks_inside = Some("sourceSubnet");
    }
    of_tls
}

pub(super) fn tcp(
    raw: &raw::TcpMatch,
    path: &str,
    namespace: &str,
    found: &mut Findings<'_>,
) -> Match {
    let place = Place { path, namespace };
    let fixed = Fixed {
        gateways: &raw.gateways,
        port: raw.port,
        source_labels: &raw.source_labels,
        source_namespace: &raw.source_namespace,
    };
    Match {
        subnets: subnets(&raw.destination_subnets, path, found),
        looks_inside: (!raw.source_subnet.is_empty()).then_some("sourceSubnet"),
        ..fixed.check(place, found)
    }
}

/// Checks a list of gateways; none is an empty list.
pub(super) fn gateways(
    list: &[String],
    path: &str,
    namespace: &str,
    found: &mut Findings<'_>,
) -> Vec<GatewayRef> {
    let mut gateways = Vec::new();
    for (index, text) in list.iter().enumerate() {
        if let Some(gateway) = gateway(text, namespace) {
            gateways.push(gateway);
        } else {
            let message = format!("`{text}` is neither `mesh` nor `namespace/name`");
            found.add(Code::VirtualServiceGateway, format!("{path}[{index}]"), message);
        }
    }
    gateways.sort();
    gateways.dedup();
    gateways
}

/// Reads `mesh`, `namespace/name`, a bare name, or the old `name.namespace.svc.cluster.local`.
fn gateway(text: &str, own_namespace: &str) -> Option<GatewayRef> {
    if text == MESH {
        return Some(GatewayRef::Mesh);
    }
    let (namespace, name) = match (text.split_once('/'), text.split_once('.')) {
        (Some((namespace, name)), _) => (namespace, name),
        (None, Some((name, rest))) => (rest.split('.').next().unwrap_or_default(), name),
        (None, None) => (own_namespace, text),
    };
    (is_dns_label(namespace) && is_dns_label(name))
        .then(|| GatewayRef::Named { namespace: namespace.to_owned(), name: name.to_owned() })
}

/// Where a match stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a str,
    /// Of the object.
    namespace: &'a str,
}

/// What matches of all protocols have in common: it holds for a client and a port, or not.
struct Fixed<'a> {
    gateways: &'a [String],
    port: i64,
    source_labels: &'a Labels,
    source_namespace: &'a str,
}

impl Fixed<'_> {
    fn check(&self, Place { path, namespace }: Place<'_>, found: &mut Findings<'_>) -> Match {
        let gateways = gateways(self.gateways, &format!("{path}.gateways"), namespace, found);
        // 0 is how protobuf writes an absent number.
        let port = in_range(self.port);
        if port.is_none() && self.port != 0 {
            let message = format!("{} is not a port (1 to 65535)", self.port);
            found.add(Code::PortRange, format!("{path}.port"), message);
        }
        for (key, value) in self.source_labels {
            if !is_key(key) || !is_value(value) {
                let message = format!("`{key}: {value}` is not a Kubernetes label");
                found.add(Code::SelectorSyntax, format!("{path}.sourceLabels"), message);
            }
        }
        let source_namespace =
            Some(self.source_namespace.to_owned()).filter(|namespace| !namespace.is_empty());
        if let Some(name) = source_namespace.as_ref().filter(|name| !is_dns_label(name)) {
            let message = format!("`{name}` is not the name of a namespace");
            found.add(Code::SelectorSyntax, format!("{path}.sourceNamespace"), message);
        }
        Match {
            gateways: Some(gateways).filter(|gateways| !gateways.is_empty()),
            port,
            source_labels: self.source_labels.clone(),
            source_namespace,
            ..Match::default()
        }
    }
}

fn subnets(list: &[String], path: &str, found: &mut Findings<'_>) -> Vec<IpNet> {
    let mut subnets = Vec::new();
    for (index, text) in list.iter().enumerate() {
        if let Some(net) = cidr::parse(text) {
            subnets.push(net);
        } else {
            let message = format!("`{text}` is not an address or CIDR");
            found.add(Code::AddressSyntax, format!("{path}.destinationSubnets[{index}]"), message);
        }
    }
    subnets
}

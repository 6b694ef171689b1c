//! The rules of a `Gateway` that need nothing but the object itself.

use std::{collections::BTreeSet, net::IpAddr};

use super::{Gateway, Server, ServerTls, raw};
use crate::registry::{
    findings::{Checked, Findings, check_selector},
    header::Header,
    host::{HostPattern, is_dns_label},
    meta::Meta,
    port::{Class, Protocol, in_range},
    report::{Code, Report},
};

pub(super) fn check(meta: &Meta, spec: &raw::Spec, warnings: Vec<Report>) -> Checked<Gateway> {
    let mut found = Findings::new(&meta.object, warnings);
    if !is_dns_label(&meta.object.name) {
        let message =
            format!("`{}` is not a DNS label, as names of gateways are", meta.object.name);
        found.add(Code::Gateway, "metadata.name", message);
    }
    check_selector(&spec.selector, "spec.selector", &mut found);
    if spec.selector.is_empty() {
        let message = "without a selector no pod is known to be this gateway";
        found.add(Code::SelectorEmpty, "spec.selector", message);
    }
    if spec.servers.is_empty() {
        found.add(Code::Gateway, "spec.servers", "a gateway needs at least one server");
    }
    let mut names = BTreeSet::new();
    let mut servers = Vec::new();
    for (index, raw) in spec.servers.iter().enumerate() {
        let path = format!("spec.servers[{index}]");
        let name = raw.port.as_ref().map(|port| port.name.as_str()).filter(|name| !name.is_empty());
        if let Some(name) = name.filter(|name| !names.insert(*name)) {
            let message = format!("the name `{name}` stands twice");
            found.add(Code::Gateway, format!("{path}.port.name"), message);
        }
        servers.extend(server(raw, &path, &mut found));
    }
    let selector = spec.selector.clone();
    found.finish(Gateway { header: Header::new(meta), selector, servers })
}

fn server(raw: &raw::Server, path: &str, found: &mut Findings<'_>) -> Option<Server> {
    let is_unix = raw.bind.starts_with("unix://");
    if !raw.bind.is_empty() && !is_unix && raw.bind.parse::<IpAddr>().is_err() {
        let message = format!("`{}` is neither an address nor a unix socket", raw.bind);
        found.add(Code::Gateway, format!("{path}.bind"), message);
    }
    let hosts = hosts(&raw.hosts, path, found);
    let Some(port) = &raw.port else {
        found.add(Code::Gateway, format!("{path}.port"), "a server needs a port");
        return None;
    };
    let number = in_range(port.number);
    if number.is_some() == is_unix || (is_unix && port.number != 0) {
        let message = format!(
            "{} is not a port (1 to 65535, or 0 with a unix socket as `bind`)",
            port.number
        );
        found.add(Code::Gateway, format!("{path}.port.number"), message);
    }
    if port.name.is_empty() {
        found.add(Code::Gateway, format!("{path}.port.name"), "every port needs a name");
    }
    if port.target != 0 {
        let message = "a gateway does not use targetPort; remove it";
        found.add(Code::Gateway, format!("{path}.port.targetPort"), message);
    }
    let protocol =
        Protocol::parse(&port.protocol).filter(|protocol| *protocol != Protocol::Sniffed);
    let Some(protocol) = protocol else {
        let message = format!("`{}` is not a protocol Istio knows", port.protocol);
        found.add(Code::Gateway, format!("{path}.port.protocol"), message);
        return None;
    };
    let tls = tls(raw.tls.as_ref(), protocol, path, found);
    // A unix socket takes nothing from other pods.
    number.map(|port| Server { port, protocol, hosts, tls })
}

fn tls(
    raw: Option<&raw::Tls>,
    protocol: Protocol,
    path: &str,
    found: &mut Findings<'_>,
) -> ServerTls {
    let path = format!("{path}.tls");
    let is_tls = protocol.class() == Class::Tls;
    let Some(raw) = raw else {
        if is_tls {
            found.add(Code::Gateway, path, "an HTTPS or TLS server needs tls settings");
        }
        return ServerTls::None;
    };
    let tls = match raw.mode.as_deref().unwrap_or("PASSTHROUGH") {
        "PASSTHROUGH" => ServerTls::Passthrough,
        "SIMPLE" | "MUTUAL" | "OPTIONAL_MUTUAL" => ServerTls::Terminate,
        "ISTIO_MUTUAL" | "AUTO_PASSTHROUGH" => ServerTls::Mesh,
        other => {
            let message = format!(
                "`{other}` is not one of PASSTHROUGH, SIMPLE, MUTUAL, OPTIONAL_MUTUAL, ISTIO_MUTUAL, AUTO_PASSTHROUGH"
            );
            found.add(Code::Gateway, format!("{path}.mode"), message);
            return ServerTls::Mesh;
        }
    };
    if is_tls {
        return tls;
    }
    // An HTTP server may still send clients to HTTPS.
    if protocol.class() != Class::Http || tls != ServerTls::Passthrough {
        let message = "only HTTPS and TLS servers have tls settings";
        found.add(Code::Gateway, path, message);
    }
    ServerTls::None
}

/// Hosts, each alone or after a namespace whose routes it takes.
fn hosts(list: &[String], path: &str, found: &mut Findings<'_>) -> Vec<Option<HostPattern>> {
    if list.is_empty() {
        found.add(Code::Gateway, format!("{path}.hosts"), "a server needs at least one host");
    }
    let mut hosts = Vec::new();
    for (index, text) in list.iter().enumerate() {
        let path = format!("{path}.hosts[{index}]");
        let (namespace, name) = text.split_once('/').unwrap_or(("*", text));
        if !matches!(namespace, "*" | ".") && !is_dns_label(namespace) {
            let message = format!("`{namespace}` is neither `*`, `.` nor the name of a namespace");
            found.add(Code::Gateway, path.as_str(), message);
        }
        if name == "*" {
            hosts.push(None);
        } else if name.parse::<IpAddr>().is_err() {
            match HostPattern::parse(name) {
                Ok(_) if !name.contains('.') => {
                    let message = format!("`{name}` is a short name; write the whole one");
                    found.add(Code::Gateway, path, message);
                }
                Ok(host) => hosts.push(Some(host)),
                Err(error) => found.add(Code::Gateway, path, format!("`{name}`: {error}")),
            }
        }
    }
    hosts
}

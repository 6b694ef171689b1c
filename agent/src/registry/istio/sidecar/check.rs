//! The rules of a `Sidecar` that need nothing but the object itself.

use std::{collections::BTreeSet, net::IpAddr};

use super::{EgressProxy, Listener, OutboundPolicy, Sidecar, imports, raw};
use crate::registry::{
    findings::{Checked, Findings, check_selector},
    header::Header,
    host::{HostPattern, is_dns_label},
    istio::mesh::{Mode, mode},
    meta::Meta,
    port::{Protocol, in_range},
    report::{Code, Report},
};

pub(super) fn check(meta: &Meta, spec: &raw::Spec, warnings: Vec<Report>) -> Checked<Sidecar> {
    let mut found = Findings::new(&meta.object, warnings);
    let selector = spec.workload_selector.as_ref().map(|selector| {
        const PATH: &str = "spec.workloadSelector";
        check_selector(&selector.labels, "spec.workloadSelector.labels", &mut found);
        if selector.labels.is_empty() {
            let message = "an empty selector selects every workload of the namespace";
            found.add(Code::SelectorEmpty, PATH, message);
        }
        selector.labels.clone()
    });
    // A selector alone says whom, but not what.
    if spec.egress.is_empty()
        && spec.ingress.is_empty()
        && spec.outbound_traffic_policy.is_none()
        && spec.inbound_connection_pool.is_none()
    {
        let message = "nothing is set: there must be egress, ingress, outboundTrafficPolicy or inboundConnectionPool";
        found.add(Code::SidecarEmpty, "spec", message);
    }
    for (index, ingress) in spec.ingress.iter().enumerate() {
        let path = format!("spec.ingress[{index}].port");
        match &ingress.port {
            Some(port) => check_port(port, &path, false, &mut found),
            None => found.add(Code::SidecarListeners, path, "an ingress listener needs a port"),
        }
    }
    let egress = listeners(&spec.egress, &meta.object.namespace, &mut found);
    let policy = spec.outbound_traffic_policy.as_ref().map(|raw| policy(raw, &mut found));
    found.finish(Sidecar { header: Header::new(meta), selector, egress, policy })
}

fn listeners(list: &[raw::Egress], own: &str, found: &mut Findings<'_>) -> Vec<Listener> {
    let mut numbers = BTreeSet::new();
    let mut sockets = BTreeSet::new();
    let mut listeners = Vec::new();
    for (index, raw) in list.iter().enumerate() {
        let path = format!("spec.egress[{index}]");
        let (imports, except) = imports::check(&raw.hosts, &path, own, found);
        let is_local = is_local(raw, &path, found);
        let mut port = None;
        if let Some(written) = &raw.port {
            check_port(written, &format!("{path}.port"), raw.bind.starts_with("unix://"), found);
            port = in_range(written.number);
            let is_new = match port {
                Some(number) => numbers.insert(number),
                None => sockets.insert(raw.bind.as_str()),
            };
            if !is_new {
                let message = "two listeners have this port";
                found.add(Code::SidecarListeners, format!("{path}.port"), message);
            }
        } else if index + 1 < list.len() {
            let message = "the listener without a port takes what the others leave: it must be the last, and the only one";
            found.add(Code::SidecarListeners, path.as_str(), message);
        }
        listeners.push(Listener { port, is_local, imports, except });
    }
    listeners
}

fn check_port(port: &raw::Port, path: &str, is_unix: bool, found: &mut Findings<'_>) {
    let mut refuse = |field: &str, message: String| {
        found.add(Code::SidecarListeners, format!("{path}.{field}"), message);
    };
    if in_range(port.number).is_none() && !(is_unix && port.number == 0) {
        refuse("number", format!("{} is not a port (1 to 65535)", port.number));
    }
    if !port.name.is_empty() && !is_dns_label(&port.name) {
        refuse("name", format!("`{}` is not a DNS label", port.name));
    }
    if Protocol::parse(&port.protocol).is_none() {
        refuse("protocol", format!("`{}` is not a protocol Istio knows", port.protocol));
    }
    if port.target != 0 {
        refuse("targetPort", "a Sidecar does not use targetPort; remove it".to_owned());
    }
}

/// Whether a listener would have to stand in the pod, which says so.
fn is_local(raw: &raw::Egress, path: &str, found: &mut Findings<'_>) -> bool {
    let socket = raw.bind.strip_prefix("unix://");
    let is_valid = match socket {
        Some(socket) => {
            (socket.starts_with('/') && !socket.ends_with('/'))
                || (socket.starts_with('@') && socket.len() > 1)
        }
        None => raw.bind.is_empty() || raw.bind.parse::<IpAddr>().is_ok(),
    };
    if !is_valid {
        let message = format!("`{}` is neither an address nor a unix socket", raw.bind);
        found.add(Code::SidecarListeners, format!("{path}.bind"), message);
    }
    let captures = match raw.capture_mode.as_deref().unwrap_or("DEFAULT") {
        "DEFAULT" | "IPTABLES" => true,
        "NONE" => false,
        other => {
            let message = format!("`{other}` is not one of DEFAULT, IPTABLES, NONE");
            found.add(Code::SidecarListeners, format!("{path}.captureMode"), message);
            false
        }
    };
    if socket.is_some() && raw.capture_mode.as_deref() == Some("IPTABLES") {
        let message = "a unix socket captures nothing";
        found.add(Code::SidecarListeners, format!("{path}.captureMode"), message);
    }
    let protocol = raw.port.as_ref().and_then(|port| Protocol::parse(&port.protocol));
    let is_local = !captures || !raw.bind.is_empty() || protocol == Some(Protocol::HttpProxy);
    if is_local {
        let message = "this needs a listener in the pod (bind, captureMode NONE, HTTP_PROXY), which only a sidecar has; it adds nothing here";
        found.add(Code::SidecarListener, path, message);
    }
    is_local
}

fn policy(raw: &raw::Policy, found: &mut Findings<'_>) -> OutboundPolicy {
    const PATH: &str = "spec.outboundTrafficPolicy";
    // The first value of the enum stands for an absent one.
    let text = raw.mode.as_deref().unwrap_or("REGISTRY_ONLY");
    let mode = match mode(text) {
        Some((mode, false)) => mode,
        Some((_, true)) => {
            let message = format!("`{text}` is a mode of the mesh only; use ALLOW_ANY");
            found.add(Code::SidecarPolicy, format!("{PATH}.mode"), message);
            Mode::RegistryOnly
        }
        None => {
            let message = format!("`{text}` is neither REGISTRY_ONLY nor ALLOW_ANY");
            found.add(Code::SidecarPolicy, format!("{PATH}.mode"), message);
            Mode::RegistryOnly
        }
    };
    let proxy = raw.egress_proxy.as_ref().and_then(|raw| {
        if mode != Mode::AllowAny {
            let message = "an egressProxy takes what ALLOW_ANY lets through; without that mode there is nothing for it";
            found.add(Code::SidecarPolicy, format!("{PATH}.egressProxy"), message);
        }
        egress_proxy(raw, &format!("{PATH}.egressProxy"), found)
    });
    OutboundPolicy { mode, proxy }
}

fn egress_proxy(
    raw: &raw::Destination,
    path: &str,
    found: &mut Findings<'_>,
) -> Option<EgressProxy> {
    let port = raw.port.as_ref().and_then(|port| in_range(port.number));
    if port.is_none() {
        let message = "an egressProxy needs a port number (1 to 65535)";
        found.add(Code::SidecarPolicy, format!("{path}.port.number"), message);
    }
    match HostPattern::parse(&raw.host) {
        Ok(host) if !host.is_wildcard() => Some(EgressProxy { host, port }),
        _ => {
            let message = format!("`{}` is not the name of a service", raw.host);
            found.add(Code::SidecarPolicy, format!("{path}.host"), message);
            None
        }
    }
}

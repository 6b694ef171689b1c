//! The rules of a `DestinationRule` that need nothing but the object itself.

use std::collections::{BTreeMap, BTreeSet};

use super::{DestinationRule, Need, TlsMode, TrafficPolicy, raw};
use crate::registry::{
    export_to::ExportTo,
    findings::{Checked, Findings, check_selector},
    header::Header,
    host::{HostPattern, InvalidHost, is_dns_label},
    istio::names::complete,
    labels::{Labels, is_key, is_value},
    meta::Meta,
    port::in_range,
    report::{Code, Report},
};

/// Each subset holds the ports of the policy as well, so both lists have an end.
const SUBSETS: usize = 256;
/// As in the API server's schema.
const PORTS: usize = 4096;

pub(super) fn check(
    meta: &Meta,
    spec: &raw::Spec,
    warnings: Vec<Report>,
) -> Checked<DestinationRule> {
    let mut found = Findings::new(&meta.object, warnings);
    let namespace = meta.object.namespace.as_str();
    let mut ignored = BTreeSet::new();
    let host = host(&spec.host, namespace, &mut found);
    let policy = Written::check(
        spec.traffic_policy.as_ref(),
        "spec.trafficPolicy",
        &mut ignored,
        &mut found,
    );
    let top = policy.over(&TrafficPolicy::default());
    let subsets = subsets(&spec.subsets, &top, &mut ignored, &mut found);
    let selector = selector(spec, &mut found);
    let export_to = ExportTo::check_visible(&spec.export_to, namespace, &mut found);
    let own = ExportTo::parse(&[".".to_owned()], namespace).ok().flatten();
    if selector.is_some() && export_to.is_some() && export_to != own {
        let message = "a rule with a workloadSelector is for its own namespace only; write `.`";
        found.add(Code::ExportTo, "spec.exportTo", message);
    }
    if !ignored.is_empty() && !found.refuse() {
        let fields: Vec<&str> = ignored.into_iter().collect();
        let message = format!("only a proxy has a use for {}", fields.join(", "));
        found.add(Code::Ignored, "spec.trafficPolicy", message);
    }
    found.finish(DestinationRule {
        header: Header::new(meta),
        host,
        export_to,
        selector,
        policy: top,
        subsets,
    })
}

fn host(text: &str, namespace: &str, found: &mut Findings<'_>) -> Option<HostPattern> {
    const PATH: &str = "spec.host";
    if text == "*" {
        return None;
    }
    match complete(text, namespace) {
        Ok(host) => Some(host),
        Err(error @ InvalidHost::PartialWildcard) => {
            let message = format!("`{text}`: {error}; the rule is held to every name it may mean");
            found.add(Code::HostPartialWildcard, PATH, message);
            let (_, parent) = text.split_once('.')?;
            HostPattern::parse(parent).ok().map(|parent| parent.below())
        }
        Err(error) => {
            found.add(Code::DestinationRule, PATH, format!("`{text}`: {error}"));
            None
        }
    }
}

fn selector(spec: &raw::Spec, found: &mut Findings<'_>) -> Option<Labels> {
    const PATH: &str = "spec.workloadSelector.matchLabels";
    let labels = &spec.workload_selector.as_ref()?.match_labels;
    check_selector(labels, PATH, found);
    if labels.is_empty() {
        let message = "an empty selector selects every workload of the namespace";
        found.add(Code::SelectorEmpty, PATH, message);
    }
    Some(labels.clone())
}

fn subsets(
    list: &[raw::Subset],
    top: &TrafficPolicy,
    ignored: &mut BTreeSet<&'static str>,
    found: &mut Findings<'_>,
) -> BTreeMap<String, TrafficPolicy> {
    found.bound("spec.subsets", list.len(), SUBSETS);
    let mut subsets = BTreeMap::new();
    for (index, subset) in list.iter().enumerate().take(SUBSETS) {
        let path = format!("spec.subsets[{index}]");
        if !is_dns_label(&subset.name) {
            let message = format!("`{}` is not a DNS label; every subset needs one", subset.name);
            found.add(Code::DestinationRule, format!("{path}.name"), message);
        }
        for (key, value) in &subset.labels {
            if !is_key(key) || !is_value(value) {
                let message = format!("`{key}: {value}` is not a Kubernetes label");
                found.add(Code::DestinationRule, format!("{path}.labels"), message);
            }
        }
        let at = format!("{path}.trafficPolicy");
        let policy = Written::check(subset.traffic_policy.as_ref(), &at, ignored, found).over(top);
        if subsets.insert(subset.name.clone(), policy).is_some() {
            let message = format!("the name `{}` stands twice", subset.name);
            found.add(Code::DestinationRule, format!("{path}.name"), message);
        }
    }
    subsets
}

/// A policy as it was written, where what is absent leaves things as they are.
#[derive(Default)]
struct Written {
    tls: Option<TlsMode>,
    tunnel: bool,
    /// What is absent here is off: settings of a port inherit nothing.
    ports: BTreeMap<u16, TlsMode>,
}

impl Written {
    fn check(
        raw: Option<&raw::Policy>,
        path: &str,
        ignored: &mut BTreeSet<&'static str>,
        found: &mut Findings<'_>,
    ) -> Self {
        let Some(raw) = raw else {
            return Self::default();
        };
        let others = [
            ("connectionPool", raw.connection_pool.is_some()),
            ("loadBalancer", raw.load_balancer.is_some()),
            ("outlierDetection", raw.outlier_detection.is_some()),
            ("proxyProtocol", raw.proxy_protocol.is_some()),
            ("retryBudget", raw.retry_budget.is_some()),
        ];
        ignored.extend(others.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| *name));
        let says_nothing = others.iter().all(|(_, is_set)| !is_set)
            && raw.tls.is_none()
            && raw.tunnel.is_none()
            && raw.port_level_settings.is_empty();
        if says_nothing {
            found.add(Code::DestinationRule, path, "a policy must say something");
        }
        if let Some(tunnel) = &raw.tunnel {
            check_tunnel(tunnel, &format!("{path}.tunnel"), found);
            if raw.proxy_protocol.is_some() {
                let message = "tunnel and proxyProtocol exclude each other";
                found.add(Code::DestinationRule, path, message);
            }
        }
        Self {
            tls: raw.tls.as_ref().map(|tls| mode(tls, &format!("{path}.tls"), found)),
            tunnel: raw.tunnel.is_some(),
            ports: ports(&raw.port_level_settings, path, ignored, found),
        }
    }

    /// What holds once this is laid over `base`.
    fn over(&self, base: &TrafficPolicy) -> TrafficPolicy {
        let need = |need: Need| Need {
            tls: self.tls.unwrap_or(need.tls),
            tunnel: self.tunnel || need.tunnel,
        };
        let mut policy = TrafficPolicy {
            need: need(base.need),
            ports: base.ports.iter().map(|(port, of_port)| (*port, need(*of_port))).collect(),
        };
        for (port, tls) in &self.ports {
            // A tunnel is for all ports.
            policy.ports.insert(*port, Need { tls: *tls, tunnel: policy.need.tunnel });
        }
        policy
    }
}

fn ports(
    list: &[raw::PortPolicy],
    path: &str,
    ignored: &mut BTreeSet<&'static str>,
    found: &mut Findings<'_>,
) -> BTreeMap<u16, TlsMode> {
    found.bound(&format!("{path}.portLevelSettings"), list.len(), PORTS);
    let mut ports = BTreeMap::new();
    for (index, raw) in list.iter().enumerate().take(PORTS) {
        let path = format!("{path}.portLevelSettings[{index}]");
        let others = [
            ("connectionPool", raw.connection_pool.is_some()),
            ("loadBalancer", raw.load_balancer.is_some()),
            ("outlierDetection", raw.outlier_detection.is_some()),
        ];
        ignored.extend(others.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| *name));
        if raw.tls.is_none() && others.iter().all(|(_, is_set)| !is_set) {
            found.add(
                Code::DestinationRule,
                path.as_str(),
                "settings of a port must say something",
            );
        }
        let tls = raw.tls.as_ref().map(|tls| mode(tls, &format!("{path}.tls"), found));
        let Some(port) = raw.port.as_ref().and_then(|port| in_range(port.number)) else {
            let message = "settings of a port need its number (1 to 65535)";
            found.add(Code::DestinationRule, format!("{path}.port.number"), message);
            continue;
        };
        // The first counts, as in Istio.
        ports.entry(port).or_insert(tls.unwrap_or_default());
    }
    ports
}

fn mode(tls: &raw::Tls, path: &str, found: &mut Findings<'_>) -> TlsMode {
    match tls.mode.as_deref().unwrap_or("DISABLE") {
        "DISABLE" => TlsMode::Disable,
        "SIMPLE" => TlsMode::Simple,
        "MUTUAL" => TlsMode::Mutual,
        "ISTIO_MUTUAL" => TlsMode::IstioMutual,
        other => {
            let message = format!("`{other}` is not one of DISABLE, SIMPLE, MUTUAL, ISTIO_MUTUAL");
            found.add(Code::DestinationRule, format!("{path}.mode"), message);
            TlsMode::Disable
        }
    }
}

fn check_tunnel(tunnel: &raw::Tunnel, path: &str, found: &mut Findings<'_>) {
    let mut refuse = |field: &str, message: String| {
        found.add(Code::DestinationRule, format!("{path}.{field}"), message);
    };
    if !matches!(tunnel.protocol.as_str(), "" | "CONNECT" | "POST") {
        refuse("protocol", format!("`{}` is neither CONNECT nor POST", tunnel.protocol));
    }
    let host = tunnel.target_host.as_str();
    let is_name = HostPattern::parse(host).is_ok_and(|host| !host.is_wildcard());
    if !is_name && host.parse::<std::net::IpAddr>().is_err() {
        refuse("targetHost", format!("`{host}` is neither a name nor an address"));
    }
    if in_range(tunnel.target_port).is_none() {
        refuse("targetPort", format!("{} is not a port (1 to 65535)", tunnel.target_port));
    }
}

//! The rules of an `ASMEgressTrafficPolicy`.

use serde_yaml::Value;

use super::{EgressPolicy, EgressRule, EgressTo, Source, gateway_ports::GatewayPorts, raw};
use crate::registry::{
    findings::{Checked, Findings, check_selector},
    header::Header,
    host::is_dns_label,
    hosts,
    meta::Meta,
    port::{Protocol, ServicePort, check_number},
    report::{Code, Report},
};

/// Most hosts of one destination.
const HOSTS: usize = 50;

pub(super) fn check(
    meta: &Meta,
    document: &Value,
    spec: &raw::Spec,
    warnings: Vec<Report>,
) -> Checked<EgressPolicy> {
    let mut found = Findings::new(&meta.object, warnings);
    let gateway = gateway(spec, &mut found);
    let ports = GatewayPorts::of(meta, document, spec);
    if spec.egress_rules.is_empty() {
        found.add(Code::AsmSpec, "spec.egressRules", "there must be at least one rule");
    }
    let mut rules = Vec::new();
    for (index, rule) in spec.egress_rules.iter().enumerate() {
        let path = format!("spec.egressRules[{index}]");
        let from = sources(rule, &path, &mut found);
        if rule.to.is_empty() {
            let message = "a rule leads to at least one destination";
            found.add(Code::AsmSpec, format!("{path}.to"), message);
        }
        let mut destinations = Vec::new();
        for (index, to) in rule.to.iter().enumerate() {
            let path = format!("{path}.to[{index}]");
            destinations.extend(destination(to, &ports, &path, &mut found));
        }
        rules.push(EgressRule { from, to: destinations });
    }
    found.finish(EgressPolicy { header: Header::new(meta), gateway, rules })
}

fn gateway(spec: &raw::Spec, found: &mut Findings<'_>) -> String {
    const PATH: &str = "spec.byEgressGateway";
    let Some(gateway) = &spec.by_egress_gateway else {
        found.add(Code::AsmSpec, PATH, "the egress gateway is missing");
        return String::new();
    };
    if !is_object_label(&gateway.name) {
        let message = format!("`{}` is not the name of a gateway", gateway.name);
        found.add(Code::AsmSpec, format!("{PATH}.name"), message);
    }
    if gateway.port != 0 {
        check_number(gateway.port, format!("{PATH}.port"), Code::PortRange, found);
    }
    gateway.name.clone()
}

fn sources(rule: &raw::Rule, path: &str, found: &mut Findings<'_>) -> Vec<Source> {
    let path = format!("{path}.from");
    if rule.from.is_empty() {
        found.add(Code::AsmSpec, path.as_str(), "a rule is for at least one source");
    }
    let mut sources = Vec::new();
    for (index, source) in rule.from.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if !is_object_label(&source.namespace) {
            let message =
                format!("`{}` is not a namespace; each source needs one", source.namespace);
            found.add(Code::AsmSpec, format!("{path}.namespace"), message);
        }
        check_selector(&source.workload_selector, &format!("{path}.workloadSelector"), found);
        sources.push(Source {
            namespace: source.namespace.clone(),
            selector: source.workload_selector.clone(),
        });
    }
    sources
}

fn destination(
    to: &raw::To,
    ports: &GatewayPorts<'_>,
    path: &str,
    found: &mut Findings<'_>,
) -> Option<EgressTo> {
    if to.hosts.is_empty() || to.hosts.len() > HOSTS {
        let message = format!("{} hosts; there must be 1 to {HOSTS}", to.hosts.len());
        found.add(Code::AsmSpec, format!("{path}.hosts"), message);
    }
    let hosts = hosts::check(&to.hosts, &format!("{path}.hosts"), found);
    let port = port(to, path, found);
    let gateway_port = ports.get(to, port.as_ref(), path, found);
    if let Some(upgrade) = to.https_upgrade.as_ref().filter(|upgrade| upgrade.port != 0) {
        check_number(upgrade.port, format!("{path}.httpsUpgrade.port"), Code::PortRange, found);
    }
    Some(EgressTo { hosts, port: port?, gateway_port })
}

fn port(to: &raw::To, path: &str, found: &mut Findings<'_>) -> Option<ServicePort> {
    let path = format!("{path}.port");
    let Some(raw) = &to.port else {
        found.add(Code::AsmSpec, path, "the port of the hosts is missing");
        return None;
    };
    let number = check_number(raw.number, format!("{path}.number"), Code::PortRange, found);
    if !is_dns_label(&raw.name) {
        let message = format!("`{}` is not a DNS label; every port needs one", raw.name);
        found.add(Code::PortName, format!("{path}.name"), message);
    }
    let protocol = Protocol::parse(&raw.protocol).filter(|it| *it != Protocol::Udp);
    if protocol.is_none() {
        let message = format!("`{}` is not a protocol that Istio carries over TCP", raw.protocol);
        found.add(Code::PortProtocol, format!("{path}.protocol"), message);
    }
    let target = match raw.target {
        0 => None,
        target => check_number(target, format!("{path}.targetPort"), Code::TargetPortRange, found),
    };
    Some(ServicePort { number: number?, name: raw.name.clone(), protocol: protocol?, target })
}

/// A label in lower case, as the names of namespaces and Services are.
fn is_object_label(text: &str) -> bool {
    is_dns_label(text) && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}

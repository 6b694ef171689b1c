//! The rules of a `VirtualService` that need nothing but the object itself.

use super::{GatewayRef, Rule, VirtualService, destinations, hosts::Hosts, matches, raw};
use crate::registry::{
    export_to::ExportTo,
    findings::{Checked, Findings},
    header::Header,
    meta::Meta,
    report::{Code, Report},
};

/// Items of one list.
const ITEMS: usize = 4096;

pub(super) fn check(
    meta: &Meta,
    spec: &raw::Spec,
    warnings: Vec<Report>,
) -> Checked<VirtualService> {
    let mut found = Findings::new(&meta.object, warnings);
    let namespace = meta.object.namespace.as_str();
    if spec.http.is_empty() && spec.tls.is_empty() && spec.tcp.is_empty() {
        let message = "there must be an http, tls or tcp rule";
        found.add(Code::VirtualServiceEmpty, "spec", message);
    }
    bounds(spec, &mut found);
    let is_delegate = spec.hosts.is_empty();
    if is_delegate {
        delegate(spec, &mut found);
    }
    let mut gateways = matches::gateways(&spec.gateways, "spec.gateways", namespace, &mut found);
    if spec.gateways.is_empty() {
        gateways.push(GatewayRef::Mesh);
    }
    let export_to = ExportTo::check_visible(&spec.export_to, namespace, &mut found);
    let on_mesh = gateways.contains(&GatewayRef::Mesh) || names_mesh(spec);
    let hosts = Hosts::check(&spec.hosts, namespace, on_mesh, &mut found);
    let http = http_rules(&spec.http, namespace, is_delegate, &mut found);
    let tls = tls_rules(&spec.tls, namespace, &hosts, &mut found);
    let tcp = tcp_rules(&spec.tcp, namespace, &mut found);
    found.finish(VirtualService {
        header: Header::new(meta),
        hosts: hosts.completed.into_iter().collect(),
        all_hosts: hosts.all,
        gateways,
        export_to,
        http,
        tls,
        tcp,
    })
}

/// Istio has no bounds here. Without any, names times rules may be more than there is time for.
fn bounds(spec: &raw::Spec, found: &mut Findings<'_>) {
    for (path, length) in [
        ("spec.hosts", spec.hosts.len()),
        ("spec.http", spec.http.len()),
        ("spec.tls", spec.tls.len()),
        ("spec.tcp", spec.tcp.len()),
        ("spec.tls.match", spec.tls.iter().map(|rule| rule.matches.len()).sum()),
    ] {
        found.bound(path, length, ITEMS);
    }
}

/// Whether a match names the mesh.
fn names_mesh(spec: &raw::Spec) -> bool {
    let http = spec.http.iter().flat_map(|rule| &rule.matches).flat_map(|it| &it.gateways);
    let tls = spec.tls.iter().flat_map(|rule| &rule.matches).flat_map(|it| &it.gateways);
    let tcp = spec.tcp.iter().flat_map(|rule| &rule.matches).flat_map(|it| &it.gateways);
    http.chain(tls).chain(tcp).any(|gateway| gateway == "mesh")
}

/// An object without hosts holds rules that others delegate to.
fn delegate(spec: &raw::Spec, found: &mut Findings<'_>) {
    for (path, is_set) in [
        ("spec.gateways", !spec.gateways.is_empty()),
        ("spec.tls", !spec.tls.is_empty()),
        ("spec.tcp", !spec.tcp.is_empty()),
    ] {
        if is_set {
            let message =
                "without hosts this holds http rules to delegate to, and nothing else; add hosts";
            found.add(Code::VirtualServiceHost, path, message);
        }
    }
}

fn http_rules(
    rules: &[raw::Http],
    namespace: &str,
    is_delegate: bool,
    found: &mut Findings<'_>,
) -> Vec<Rule> {
    let mut checked = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let path = format!("spec.http[{index}]");
        actions(rule, &path, is_delegate, found);
        let matches = rule.matches.iter().enumerate();
        checked.push(Rule {
            matches: matches
                .map(|(index, it)| {
                    matches::http(it, &format!("{path}.match[{index}]"), namespace, found)
                })
                .collect(),
            destinations: destinations::check(
                rule.route.iter().map(|it| (it.destination.as_ref(), it.weight)),
                &format!("{path}.route"),
                namespace,
                found,
            ),
            proxy_only: proxy_only(rule),
        });
    }
    checked
}

/// A rule has a route, or something that makes one needless.
fn actions(rule: &raw::Http, path: &str, is_delegate: bool, found: &mut Findings<'_>) {
    let actions: Vec<&str> = [
        ("route", !rule.route.is_empty()),
        ("redirect", rule.redirect.is_some()),
        ("directResponse", rule.direct_response.is_some()),
        ("delegate", rule.delegate.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, is_set)| is_set.then_some(name))
    .collect();
    let mut refuse = |message: String| found.add(Code::VirtualServiceRoute, path, message);
    match actions.as_slice() {
        [] => refuse("a rule needs a route, redirect, directResponse or delegate".to_owned()),
        [_] => {}
        [first, second, ..] => {
            refuse(format!("`{first}` and `{second}` exclude each other; a rule does one thing"));
        }
    }
    if rule.delegate.is_some() && is_delegate {
        refuse("rules that are delegated to cannot delegate again".to_owned());
    }
    if rule.redirect.is_some() && (rule.fault.is_some() || rule.rewrite.is_some()) {
        refuse("a redirect excludes fault and rewrite".to_owned());
    }
}

/// The first field of a rule that plain forwarding cannot honour.
fn proxy_only(rule: &raw::Http) -> Option<&'static str> {
    let fields = [
        ("fault", rule.fault.is_some()),
        ("mirror", rule.mirror.is_some()),
        ("mirrors", rule.mirrors.is_some()),
        ("mirrorPercentage", rule.mirror_percentage.is_some() || rule.mirror_percent.is_some()),
        ("rewrite", rule.rewrite.is_some()),
        ("redirect", rule.redirect.is_some()),
        ("directResponse", rule.direct_response.is_some()),
        ("timeout", rule.timeout.is_some()),
        ("retries", rule.retries.is_some()),
        ("headers", rule.headers.is_some() || rule.route.iter().any(|it| it.headers.is_some())),
        ("corsPolicy", rule.cors_policy.is_some()),
        ("delegate", rule.delegate.is_some()),
    ];
    fields.into_iter().find(|(_, is_set)| *is_set).map(|(name, _)| name)
}

fn tls_rules(
    rules: &[raw::Tls],
    namespace: &str,
    hosts: &Hosts,
    found: &mut Findings<'_>,
) -> Vec<Rule> {
    let mut checked = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let path = format!("spec.tls[{index}]");
        if rule.matches.is_empty() {
            let message = "a tls rule needs a match with sniHosts";
            found.add(Code::VirtualServiceSni, format!("{path}.match"), message);
        }
        let matches = rule.matches.iter().enumerate();
        checked.push(Rule {
            matches: matches
                .map(|(index, it)| {
                    matches::tls(it, &format!("{path}.match[{index}]"), namespace, hosts, found)
                })
                .collect(),
            destinations: route(&rule.route, &path, namespace, found),
            proxy_only: None,
        });
    }
    checked
}

fn tcp_rules(rules: &[raw::Tcp], namespace: &str, found: &mut Findings<'_>) -> Vec<Rule> {
    let mut checked = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let path = format!("spec.tcp[{index}]");
        let matches = rule.matches.iter().enumerate();
        checked.push(Rule {
            matches: matches
                .map(|(index, it)| {
                    matches::tcp(it, &format!("{path}.match[{index}]"), namespace, found)
                })
                .collect(),
            destinations: route(&rule.route, &path, namespace, found),
            proxy_only: None,
        });
    }
    checked
}

fn route(
    route: &[raw::RouteDestination],
    path: &str,
    namespace: &str,
    found: &mut Findings<'_>,
) -> Vec<super::Destination> {
    let path = format!("{path}.route");
    if route.is_empty() {
        found.add(Code::VirtualServiceRoute, path.as_str(), "a rule needs a route");
    }
    let route = route.iter().map(|it| (it.destination.as_ref(), it.weight));
    destinations::check(route, &path, namespace, found)
}

//! Every rule of a `VirtualService`, by the code it gives, and what is read.

use super::{GatewayRef, Rule, VirtualService};
use crate::registry::{findings::Checked, testing};

const ROUTE: &str = "route: [{destination: {host: gw.ns1.svc.cluster.local}}]";

fn read(spec: &str) -> Checked<VirtualService> {
    let (meta, document) =
        testing::object("networking.istio.io/v1 VirtualService", "", &format!(", spec: {spec}"));
    VirtualService::check(&meta, &document)
}

#[track_caller]
fn check(spec: &str, valid: bool, codes: &[&str]) {
    testing::check_codes(&read(spec), spec, valid, codes);
}

#[track_caller]
fn refused(spec: &str, code: &str) {
    check(spec, false, &[code]);
}

#[track_caller]
fn value(spec: &str) -> VirtualService {
    testing::value(read(spec), spec)
}

fn hosts(list: &str, more: &str) -> String {
    format!("{{hosts: {list}, http: [{{{ROUTE}}}]{more}}}")
}

fn http(rule: &str) -> String {
    format!("{{hosts: [a.example.com], http: [{{{rule}}}]}}")
}

fn tls(hosts: &str, fields: &str) -> String {
    format!("{{hosts: {hosts}, tls: [{{match: [{{{fields}}}], {ROUTE}}}]}}")
}

fn tcp(fields: &str) -> String {
    format!("{{hosts: [a.example.com], tcp: [{{match: [{{{fields}}}], {ROUTE}}}]}}")
}

#[test]
fn rules_are_needed() {
    refused("{hosts: [a.example.com]}", "E-VS-EMPTY");
    refused("{hosts: [a.example.com], http: [], tls: null}", "E-VS-EMPTY");
    refused("{}", "E-VS-EMPTY");
    refused("{hosts: [a.example.com], http: [null]}", "E-VS-ROUTE");
    refused(
        "{hosts: [a.example.com], tls: [{match: [{sniHosts: [a.example.com]}]}]}",
        "E-VS-ROUTE",
    );
    refused(&format!("{{hosts: [a.example.com], tls: [{{{ROUTE}}}]}}"), "E-VS-SNI");
    refused("{hosts: [a.example.com], tcp: [{}]}", "E-VS-ROUTE");
}

#[test]
fn host_lists() {
    let off_mesh = ", gateways: [ns1/gw]";
    check(&hosts("[a.example.com, '*.b.example.com', short]", ""), true, &[]);
    refused(&hosts("['*']", ""), "E-VS-HOST");
    refused(&hosts("['*']", ", gateways: [mesh, ns1/gw]"), "E-VS-HOST");
    refused(
        &format!(
            "{{hosts: ['*'], gateways: [ns1/gw], http: [{{match: [{{gateways: [mesh]}}], {ROUTE}}}]}}"
        ),
        "E-VS-HOST",
    );
    check(&hosts("['*']", off_mesh), true, &[]);
    refused(&hosts("['*', a.example.com]", off_mesh), "E-VS-HOST");
    refused(&hosts("['*.']", off_mesh), "E-VS-HOST");
    refused(&hosts("[203.0.113.4]", ""), "E-VS-HOST");
    check(&hosts("[203.0.113.4, '2001:db8::1']", off_mesh), true, &[]);
    refused(&hosts("['2001:db8::1', '2001:db8:0::1']", off_mesh), "E-VS-HOST");
    refused(&hosts("['*.example.com', api.example.com]", ""), "E-VS-HOST");
    refused(&hosts("['*.example.com', '*.api.example.com']", ""), "E-VS-HOST");
    refused(&hosts("[a.example.com, A.example.com.]", ""), "E-VS-HOST");
    check(&hosts("['*.example.com', example.com]", ""), true, &[]);
    // Two spellings of one Service do not overlap for Istio.
    check(&hosts("[short, short.v.svc.cluster.local]", ""), true, &[]);
    refused(&hosts("[a_b.example.com]", ""), "E-VS-HOST");
    refused(&hosts("['']", ""), "E-VS-HOST");
    check(&hosts("['*foo.com', a.example.com]", ""), true, &["U-HOST-PARTIAL-WILDCARD"]);
}

#[test]
fn hosts_are_completed() {
    let names = |list: &str| -> Vec<String> {
        value(&hosts(list, "")).hosts.iter().map(ToString::to_string).collect()
    };
    assert_eq!(names("[short]"), ["short.v.svc.cluster.local"]);
    assert_eq!(names("[short, short.v.svc.cluster.local]"), ["short.v.svc.cluster.local"]);
    assert_eq!(names("['*.Example.com', '*foo.com']"), ["*.example.com"]);
    let all = value(&hosts("['*']", ", gateways: [gw]"));
    assert!(all.all_hosts && all.hosts.is_empty());
}

#[test]
fn delegates() {
    let delegate = |more: &str| format!("{{http: [{{{ROUTE}}}]{more}}}");
    check(&delegate(""), true, &[]);
    let checked = value(&delegate(""));
    assert!(checked.hosts.is_empty() && !checked.all_hosts);
    refused(&delegate(", gateways: [mesh]"), "E-VS-HOST");
    refused(&delegate(", tcp: [{route: [{destination: {host: a.example.com}}]}]"), "E-VS-HOST");
    refused("{http: [{delegate: {name: x}}]}", "E-VS-ROUTE");
    check("{hosts: [a.example.com], http: [{delegate: {name: x}}]}", true, &[]);
}

#[test]
fn gateway_names() {
    let gateways =
        |list: &str| value(&hosts("[a.example.com]", &format!(", gateways: {list}"))).gateways;
    let named = |namespace: &str, name: &str| GatewayRef::Named {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    assert_eq!(gateways("null"), [GatewayRef::Mesh]);
    assert_eq!(gateways("[]"), [GatewayRef::Mesh]);
    assert_eq!(
        gateways("[gw, ns1/gw, mesh, gw]"),
        [GatewayRef::Mesh, named("ns1", "gw"), named("v", "gw")]
    );
    assert_eq!(gateways("[gw.ns2.svc.cluster.local]"), [named("ns2", "gw")]);
    for bad in ["''", "./gw", "ns1/", "/gw", "ns1/a/b", "a_b", "'*/gw'"] {
        refused(&hosts("[a.example.com]", &format!(", gateways: [{bad}]")), "E-VS-GATEWAY");
        refused(&http(&format!("match: [{{gateways: [{bad}]}}], {ROUTE}")), "E-VS-GATEWAY");
    }
    let rule = &value(&http(&format!("match: [{{gateways: [gw]}}], {ROUTE}"))).http[0];
    assert_eq!(rule.matches[0].gateways, Some(vec![named("v", "gw")]));
}

#[test]
fn export() {
    refused(&hosts("[a.example.com]", ", exportTo: ['~']"), "E-EXPORTTO");
    refused(&hosts("[a.example.com]", ", exportTo: ['.', v]"), "E-EXPORTTO");
    check(&hosts("[a.example.com]", ", exportTo: ['.']"), true, &[]);
}

#[test]
fn server_names() {
    let one = "[a.example.com]";
    check(&tls(one, "port: 443, sniHosts: [a.example.com]"), true, &[]);
    check(&tls("['*.example.com']", "sniHosts: [a.example.com, '*.b.example.com']"), true, &[]);
    refused(&tls(one, "port: 443"), "E-VS-SNI");
    refused(&tls(one, "sniHosts: []"), "E-VS-SNI");
    refused(&tls(one, "sniHosts: [www.example.com]"), "E-VS-SNI");
    refused(&tls(one, "sniHosts: ['*.example.com']"), "E-VS-SNI");
    refused(&tls(one, "sniHosts: ['*']"), "E-VS-SNI");
    refused(&tls(one, "sniHosts: [a_b.example.com]"), "E-VS-SNI");
    refused(&tls("['*.example.com']", "sniHosts: ['*.com']"), "E-VS-SNI");
    refused(&tls("['*.example.com']", "sniHosts: ['*other.com']"), "E-VS-SNI");
    check(&tls(one, "sniHosts: [203.0.113.4]"), true, &["I-IGNORED"]);
}

/// A match that lost every name it was for must not become one for any name.
#[test]
fn skipped_server_names_are_not_any_name() {
    let first = |spec: &str| value(spec).tls[0].matches[0].clone();
    let skipped = [
        tls("['*.example.com']", "sniHosts: ['*a.example.com']"),
        tls("['*foo.com', a.example.com]", "sniHosts: [a.foo.com]"),
        tls("['*foo.com', a.example.com]", "sniHosts: ['*.foo.com', '*xfoo.com']"),
        tls("[a.example.com]", "sniHosts: [203.0.113.4]"),
    ];
    for spec in skipped {
        let got = first(&spec);
        assert_eq!((got.sni_hosts.len(), got.looks_inside), (0, Some("sniHosts")), "{spec}");
    }
    let got = first(&tls("['*.example.com']", "sniHosts: ['*a.example.com', b.example.com]"));
    assert_eq!((got.sni_hosts.len(), got.looks_inside), (1, None));
    let any = first(&format!(
        "{{hosts: ['*'], gateways: [gw], tls: [{{match: [{{sniHosts: ['*']}}], {ROUTE}}}]}}"
    ));
    assert_eq!((any.sni_hosts.len(), any.looks_inside), (0, None));
}

#[test]
fn static_conditions() {
    for (spec, code) in [
        (http(&format!("match: [{{port: 65536}}], {ROUTE}")), "E-PORT-RANGE"),
        (tls("[a.example.com]", "port: -1, sniHosts: [a.example.com]"), "E-PORT-RANGE"),
        (tcp("port: 70000"), "E-PORT-RANGE"),
        (tcp("sourceLabels: {app: 'not valid!'}"), "E-SELECTOR-SYNTAX"),
        (tcp("sourceNamespace: a/b"), "E-SELECTOR-SYNTAX"),
        (tcp("destinationSubnets: [1.2.3.4/99]"), "E-ADDR-SYNTAX"),
        (tcp("sniHosts: [a.example.com]"), "W-FIELD-UNKNOWN"),
    ] {
        check(&spec, code.starts_with('W'), &[code]);
    }
    let fields = "port: 443, sourceLabels: {app: x}, sourceNamespace: team, destinationSubnets: [192.0.2.7/24]";
    let got = value(&tcp(fields)).tcp[0].matches[0].clone();
    assert_eq!((got.port, got.source_namespace.as_deref()), (Some(443), Some("team")));
    assert_eq!((got.source_labels.len(), got.subnets[0].to_string()), (1, "192.0.2.0/24".into()));
    assert_eq!(value(&tcp("port: 0")).tcp[0].matches[0].port, None);
}

#[test]
fn conditions_on_the_request() {
    let looks_inside = |fields: &str| {
        value(&http(&format!("match: [{{{fields}}}], {ROUTE}"))).http[0].matches[0].looks_inside
    };
    for (fields, expected) in [
        ("", None),
        ("port: 80, name: x, statPrefix: y, ignoreUriCase: true, headers: {}", None),
        ("uri: {prefix: /a}", Some("uri")),
        ("scheme: {exact: http}", Some("scheme")),
        ("method: {exact: GET}", Some("method")),
        ("authority: {exact: a}", Some("authority")),
        ("headers: {x: {exact: y}}", Some("headers")),
        ("withoutHeaders: {x: {}}", Some("withoutHeaders")),
        ("queryParams: {x: {exact: y}}", Some("queryParams")),
    ] {
        assert_eq!(looks_inside(fields), expected, "{fields}");
    }
    let of_tcp = value(&tcp("sourceSubnet: 10.0.0.0/8")).tcp[0].matches[0].looks_inside;
    assert_eq!(of_tcp, Some("sourceSubnet"));
}

#[test]
fn what_only_a_proxy_can_do() {
    let proxy_only = |fields: &str| value(&http(fields)).http[0].proxy_only;
    assert_eq!(proxy_only(&format!("name: x, {ROUTE}")), None);
    for (field, content) in [
        ("fault", "{abort: {httpStatus: 500}}"),
        ("mirror", "{host: a.example.com}"),
        ("mirrors", "[]"),
        ("mirrorPercentage", "{value: 1}"),
        ("rewrite", "{uri: /}"),
        ("timeout", "5s"),
        ("retries", "{attempts: 3}"),
        ("headers", "{request: {set: {a: b}}}"),
        ("corsPolicy", "{}"),
    ] {
        assert_eq!(proxy_only(&format!("{field}: {content}, {ROUTE}")), Some(field));
    }
    for old in ["mirrorPercent", "mirror_percent"] {
        assert_eq!(proxy_only(&format!("{old}: 5, {ROUTE}")), Some("mirrorPercentage"));
    }
    for (field, content) in
        [("redirect", "{uri: /x}"), ("directResponse", "{status: 503}"), ("delegate", "{name: x}")]
    {
        assert_eq!(proxy_only(&format!("{field}: {content}")), Some(field));
        refused(&http(&format!("{field}: {content}, {ROUTE}")), "E-VS-ROUTE");
    }
    let of_destination =
        "route: [{destination: {host: a.example.com}, headers: {response: {remove: [x]}}}]";
    assert_eq!(proxy_only(of_destination), Some("headers"));
    refused(&http("match: [{port: 80}]"), "E-VS-ROUTE");
    refused(&http("redirect: {uri: /x}, rewrite: {uri: /y}"), "E-VS-ROUTE");
}

#[test]
fn destinations() {
    let route = |list: &str| http(&format!("route: [{list}]"));
    refused(&route("{weight: 1}"), "E-VS-ROUTE");
    refused(&route("{destination: {}}"), "E-VS-ROUTE");
    refused(&route("{destination: {host: '*'}}"), "E-VS-ROUTE");
    refused(&route("{destination: {host: 203.0.113.4}}"), "E-VS-ROUTE");
    refused(&route("{destination: {host: a.example, subset: a.b}}"), "E-VS-ROUTE");
    refused(&route("{destination: {host: a.example, port: {number: 0}}}"), "E-PORT-RANGE");
    refused(&route("{destination: {host: a.example}, weight: -1}"), "E-VS-ROUTE");
    refused(&route("{destination: {host: a.example}, weight: 4294967296}"), "E-VS-ROUTE");
    refused(
        &route("{destination: {host: a.example}}, {destination: {host: b.example}, weight: 0}"),
        "E-VS-ROUTE",
    );
    let got = |list: &str| -> Vec<(String, u32)> {
        let Rule { destinations, .. } = value(&route(list)).http.remove(0);
        destinations.iter().map(|it| (it.host.to_string(), it.weight)).collect()
    };
    assert_eq!(got("{destination: {host: gw}}"), [("gw.v.svc.cluster.local".into(), 1)]);
    assert_eq!(
        got(
            "{destination: {host: a.example}, weight: 0}, {destination: {host: b.example}, weight: 9}"
        ),
        [("b.example".into(), 9)]
    );
    let rule =
        &value(&route("{destination: {host: a.example, subset: s, port: {number: 443}}}")).http[0];
    let only = &rule.destinations[0];
    assert_eq!((only.subset.as_deref(), only.port), (Some("s"), Some(443)));
}

#[test]
fn faults_are_all_reported_where_they_are() {
    let checked = read(
        "{hosts: [a.example.com], gateways: ['a b'], http: [{match: [{}, {port: 99999}]}], tls: [{match: [{sniHosts: [b.example.com]}], route: [{destination: {host: 'x y'}}]}]}",
    );
    let mut paths: Vec<&str> = checked.reports.iter().map(|it| it.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(
        paths,
        [
            "spec.gateways[0]",
            "spec.http[0]",
            "spec.http[0].match[1].port",
            "spec.tls[0].match[0].sniHosts[0]",
            "spec.tls[0].route[0].destination.host",
        ]
    );
    let checked = read("{hosts: [a.example.com], http: [{match: [{port: x}]}]}");
    assert_eq!(checked.reports[0].path, "spec.http[0].match[0].port");
}

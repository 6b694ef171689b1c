//! Every rule of an `ASMEgressTrafficPolicy`, by the code it gives.

use super::EgressPolicy;
use crate::registry::{findings::Checked, port::Protocol, testing};

fn read(version: &str, rest: &str) -> Checked<EgressPolicy> {
    let kind = format!("istio.alibabacloud.com/{version} ASMEgressTrafficPolicy");
    let (meta, document) = testing::object(&kind, "", rest);
    EgressPolicy::check(&meta, &document)
}

#[track_caller]
fn check(spec: &str, expected: &[&str]) {
    testing::check(&read("v1beta1", &format!(", spec: {spec}")), spec, expected);
}

/// A policy of these rules.
fn rules(rules: &str) -> String {
    format!("{{byEgressGateway: {{name: g}}, egressRules: [{rules}]}}")
}

const FROM: &str = "from: [{namespace: mytest}]";

/// A policy of one rule with these destinations.
fn to(destinations: &str) -> String {
    rules(&format!("{{{FROM}, to: [{destinations}]}}"))
}

/// A policy of one destination with this port.
fn port(port: &str) -> String {
    to(&format!("{{name: t, hosts: [h.example.com], {port}, byEgressGateway: {{port: 80}}}}"))
}

const PORT: &str = "port: {name: http, number: 80, protocol: HTTP}";
const TO: &str = "{name: t, hosts: [h.example.com], port: {name: http, number: 80, protocol: HTTP}, byEgressGateway: {port: 8080}}";

#[test]
fn policies() {
    let spec = format!(
        "{{byEgressGateway: {{name: egressgateway-a, port: 80}}, egressRules: [{{name: r, from: [{{namespace: mytest, workloadSelector: {{app: sleep-a}}}}, {{namespace: jobs}}], to: [{TO}, {{hosts: ['*.b.example'], port: {{name: https, number: 443, protocol: HTTPS, targetPort: 8443}}, byEgressGateway: {{port: 444}}, httpsUpgrade: {{enabled: true, port: 443}}}}]}}]}}"
    );
    check(&spec, &[]);
    let policy = read("v1beta1", &format!(", spec: {spec}")).value.expect("valid");
    assert_eq!(policy.gateway, "egressgateway-a");
    let rule = &policy.rules[0];
    assert_eq!(rule.from[0].namespace, "mytest");
    assert_eq!(rule.from[0].selector.len(), 1);
    assert!(rule.from[1].selector.is_empty());
    let [first, second] = rule.to.as_slice() else { panic!("two destinations") };
    assert_eq!((first.gateway_port, first.port.protocol), (Some(8080), Protocol::Http));
    assert_eq!(second.hosts[0].to_string(), "*.b.example");
    assert_eq!((second.gateway_port, second.port.target), (Some(444), Some(8443)));
}

#[test]
fn what_is_missing() {
    check("{}", &["E-ASM-SPEC spec.byEgressGateway", "E-ASM-SPEC spec.egressRules"]);
    check("null", &["E-ASM-SPEC spec.byEgressGateway", "E-ASM-SPEC spec.egressRules"]);
    check(&rules(""), &["E-ASM-SPEC spec.egressRules"]);
    for name in ["", "Gate", "a.b"] {
        check(
            &format!(
                "{{byEgressGateway: {{name: '{name}'}}, egressRules: [{{{FROM}, to: [{TO}]}}]}}"
            ),
            &["E-ASM-SPEC spec.byEgressGateway.name"],
        );
    }
    check(
        &format!(
            "{{byEgressGateway: {{name: g, port: 65536}}, egressRules: [{{{FROM}, to: [{TO}]}}]}}"
        ),
        &["E-PORT-RANGE spec.byEgressGateway.port"],
    );
    check(&rules(&format!("{{to: [{TO}]}}")), &["E-ASM-SPEC spec.egressRules[0].from"]);
    check(&rules(&format!("{{{FROM}}}")), &["E-ASM-SPEC spec.egressRules[0].to"]);
    for source in ["{workloadSelector: {app: a}}", "{namespace: ''}", "{namespace: '*'}"] {
        check(
            &rules(&format!("{{from: [{source}], to: [{TO}]}}")),
            &["E-ASM-SPEC spec.egressRules[0].from[0].namespace"],
        );
    }
    check(
        &rules(&format!("{{from: [{{namespace: a, workloadSelector: {{a: '*'}}}}], to: [{TO}]}}")),
        &["E-SELECTOR-SYNTAX spec.egressRules[0].from[0].workloadSelector"],
    );
    check(
        "{byEgressGateway: {name: g}, egressRules: [{from: [{}], to: [{}]}]}",
        &[
            "E-ASM-SPEC spec.egressRules[0].from[0].namespace",
            "E-ASM-SPEC spec.egressRules[0].to[0].hosts",
            "E-ASM-SPEC spec.egressRules[0].to[0].port",
            "E-ASM-SPEC spec.egressRules[0].to[0].byEgressGateway.port",
        ],
    );
    check(
        &rules(TO),
        &[
            "E-ASM-SPEC spec.egressRules[0].from",
            "E-ASM-SPEC spec.egressRules[0].to",
            "W-FIELD-UNKNOWN spec.egressRules[0].byEgressGateway",
            "W-FIELD-UNKNOWN spec.egressRules[0].hosts",
            "W-FIELD-UNKNOWN spec.egressRules[0].port",
        ],
    );
    check("{egressRules: 1}", &["E-FIELD-TYPE spec.egressRules"]);
}

#[test]
fn hosts() {
    let hosts =
        |list: &str| to(&format!("{{hosts: [{list}], {PORT}, byEgressGateway: {{port: 80}}}}"));
    let at = "spec.egressRules[0].to[0].hosts";
    check(&hosts(""), &[&format!("E-ASM-SPEC {at}")]);
    let many = |count: usize| {
        let hosts: Vec<String> = (0..count).map(|it| format!("h{it}.example")).collect();
        hosts.join(", ")
    };
    check(&hosts(&many(50)), &[]);
    check(&hosts(&many(51)), &[&format!("E-ASM-SPEC {at}")]);
    check(&hosts("a.example, '*'"), &[&format!("E-HOST-FULL-WILDCARD {at}[1]")]);
    check(&hosts("192.0.2.1"), &[&format!("E-HOST-SYNTAX {at}[0]")]);
    check(&hosts("'*a.example'"), &[&format!("U-HOST-PARTIAL-WILDCARD {at}[0]")]);
    check(&hosts("'*.test'"), &[&format!("W-HOST-TLD-WILDCARD {at}[0]")]);
}

#[test]
fn ports() {
    let at = "spec.egressRules[0].to[0]";
    check(
        &port("port: {name: a, number: 0, protocol: HTTP}"),
        &[&format!("E-PORT-RANGE {at}.port.number")],
    );
    check(&port("port: {number: 80, protocol: HTTP}"), &[&format!("E-PORT-NAME {at}.port.name")]);
    for protocol in ["QUIC", "UDP"] {
        check(
            &port(&format!("port: {{name: a, number: 80, protocol: {protocol}}}")),
            &[&format!("E-PORT-PROTOCOL {at}.port.protocol")],
        );
    }
    check(
        &port("port: {name: a, number: 80, targetPort: 65536}"),
        &[&format!("E-TARGETPORT-RANGE {at}.port.targetPort")],
    );
    check(
        &port(&format!("{PORT}, httpsUpgrade: {{enabled: true, port: -1}}")),
        &[&format!("E-PORT-RANGE {at}.httpsUpgrade.port")],
    );
    check(
        &to(&format!("{{hosts: [a.example], {PORT}, byEgressGateway: {{port: 65536}}}}")),
        &[&format!("E-PORT-RANGE {at}.byEgressGateway.port")],
    );
    check(
        &to(&format!("{{hosts: [a.example], {PORT}}}")),
        &[&format!("E-ASM-SPEC {at}.byEgressGateway.port")],
    );
}

#[test]
fn ports_that_asm_assigns() {
    let destination = |host: &str, protocol: &str| {
        format!("{{hosts: [{host}], port: {{name: x, number: 443, protocol: {protocol}}}}}")
    };
    let assigned = |protocol: &str, status: &str| {
        let spec = to(&destination("a.example, b.example", protocol));
        let checked = read("v1", &format!(", spec: {spec}, status: {status}"));
        testing::check(&checked, &spec, &[]);
        checked.value.expect("valid").rules[0].to[0].gateway_port
    };
    assert_eq!(assigned("HTTP", "null"), Some(10_000));
    assert_eq!(assigned("HTTP2", "{}"), Some(10_000));
    assert_eq!(assigned("GRPC", "{}"), Some(50_051));
    for protocol in ["HTTPS", "TLS", "TCP", "MONGO", "''"] {
        assert_eq!(assigned(protocol, "{}"), None, "{protocol}");
    }
    let status =
        |key: &str, port: &str| format!("{{autoAllocatedGatewayPorts: {{'{key}': {port}}}}}");
    assert_eq!(assigned("TLS", &status("a.example-443", "10001")), Some(10_001));
    assert_eq!(assigned("HTTP", &status("a.example-443", "10007")), Some(10_007));
    assert_eq!(assigned("TLS", &status("b.example-443", "10001")), None);
    assert_eq!(assigned("TLS", &status("a.example-80", "10001")), None);
    assert_eq!(assigned("TLS", &status("a.example-443", "65536")), None);
    assert_eq!(assigned("TLS", &status("a.example-443", "[]")), None);
    assert_eq!(assigned("TLS", "{autoAllocatedGatewayPorts: 1}"), None);
    // All or none.
    let some = to(&format!("{TO}, {}", destination("c.example", "TLS")));
    testing::check(
        &read("v1", &format!(", spec: {some}")),
        &some,
        &["E-ASM-SPEC spec.egressRules[0].to[1].byEgressGateway.port"],
    );
    let all = to(TO);
    let policy = read("v1", &format!(", spec: {all}")).value.expect("valid");
    assert_eq!(policy.rules[0].to[0].gateway_port, Some(8080));
}

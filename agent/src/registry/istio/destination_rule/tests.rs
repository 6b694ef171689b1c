//! Every rule of a `DestinationRule`, by the code it gives, and what is read.

use super::{DestinationRule, Need, TlsMode};
use crate::registry::{findings::Checked, testing};

fn read(spec: &str) -> Checked<DestinationRule> {
    let (meta, document) =
        testing::object("networking.istio.io/v1 DestinationRule", "", &format!(", spec: {spec}"));
    DestinationRule::check(&meta, &document)
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
fn value(spec: &str) -> DestinationRule {
    testing::value(read(spec), spec)
}

fn policy(policy: &str) -> String {
    format!("{{host: a.example.com, trafficPolicy: {policy}}}")
}

#[test]
fn hosts() {
    let host = |text: &str| value(&format!("{{host: '{text}'}}")).host.map(|it| it.to_string());
    assert_eq!(host("A.example.com").as_deref(), Some("a.example.com"));
    assert_eq!(host("*.example.com").as_deref(), Some("*.example.com"));
    assert_eq!(host("short").as_deref(), Some("short.v.svc.cluster.local"));
    assert_eq!(host("*"), None);
    for bad in ["''", "null", "'a b'", "203.0.113.4", "'*.'", "a.*.com"] {
        refused(&format!("{{host: {bad}}}"), "E-DR");
    }
    refused("{}", "E-DR");
    refused("{host: 5}", "E-FIELD-TYPE");
}

/// What asks for TLS must not be forgotten because its host cannot be held exactly.
#[test]
fn partial_wildcards_are_widened() {
    for (text, expected) in
        [("*foo.com", Some("*.com")), ("*-a.foo.com", Some("*.foo.com")), ("*foo", None)]
    {
        let spec = format!("{{host: '{text}', trafficPolicy: {{tls: {{mode: SIMPLE}}}}}}");
        check(&spec, true, &["U-HOST-PARTIAL-WILDCARD"]);
        assert_eq!(value(&spec).host.map(|it| it.to_string()).as_deref(), expected, "{text}");
    }
}

#[test]
fn tls_modes() {
    for (text, expected) in [
        ("{mode: DISABLE}", TlsMode::Disable),
        ("{}", TlsMode::Disable),
        ("{mode: SIMPLE, sni: a.example.com, caCertificates: /ca.pem}", TlsMode::Simple),
        ("{mode: MUTUAL, clientCertificate: /c, privateKey: /k, caCrl: /r}", TlsMode::Mutual),
        ("{mode: ISTIO_MUTUAL, credentialName: c, insecureSkipVerify: true}", TlsMode::IstioMutual),
    ] {
        let spec = policy(&format!("{{tls: {text}}}"));
        check(&spec, true, &[]);
        assert_eq!(value(&spec).policy.need(443), Need { tls: expected, tunnel: false }, "{text}");
    }
    refused(&policy("{tls: {mode: STRICT}}"), "E-DR");
    refused(&policy("{portLevelSettings: [{port: {number: 80}, tls: {mode: simple}}]}"), "E-DR");
    refused(&policy("{}"), "E-DR");
    check(&policy("{tls: {mod: SIMPLE}}"), true, &["W-FIELD-UNKNOWN"]);
}

#[test]
fn settings_of_ports() {
    let rule = value(&policy(
        "{tls: {mode: SIMPLE}, portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}, {port: {number: 81}, tls: {mode: MUTUAL}}]}",
    ));
    for (port, expected) in [(443, TlsMode::Simple), (80, TlsMode::Disable), (81, TlsMode::Mutual)]
    {
        assert_eq!(rule.policy.need(port).tls, expected, "{port}");
    }
    for bad in [
        "{tls: {}}",
        "{port: {number: 0}, tls: {}}",
        "{port: {number: 70000}, tls: {}}",
        "{port: {number: 80}}",
    ] {
        refused(&policy(&format!("{{portLevelSettings: [{bad}]}}")), "E-DR");
    }
}

#[test]
fn tunnels() {
    let tunnel = |fields: &str| policy(&format!("{{tunnel: {{{fields}}}}}"));
    let valid = "protocol: CONNECT, targetHost: far.example.com, targetPort: 443";
    check(&tunnel(valid), true, &[]);
    check(&tunnel("targetHost: 203.0.113.4, targetPort: 443"), true, &[]);
    assert!(value(&tunnel(valid)).policy.need(443).tunnel);
    let with_port = policy(&format!(
        "{{tunnel: {{{valid}}}, portLevelSettings: [{{port: {{number: 80}}, tls: {{}}}}]}}"
    ));
    assert!(value(&with_port).policy.need(80).tunnel);
    refused(&tunnel("protocol: UDP, targetHost: a.example.com, targetPort: 443"), "E-DR");
    refused(&tunnel("targetHost: '*.example.com', targetPort: 443"), "E-DR");
    refused(&tunnel("targetHost: a.example.com"), "E-DR");
    refused(&policy(&format!("{{tunnel: {{{valid}}}, proxyProtocol: {{version: V1}}}}")), "E-DR");
}

#[test]
fn what_only_a_proxy_uses_is_named_once() {
    let spec = "{host: a.example.com, trafficPolicy: {loadBalancer: {simple: RANDOM, warmup: {duration: 1s}}, connectionPool: {tcp: {maxConnections: 1}}, proxyProtocol: {version: V2}, retryBudget: {percent: 5}}, subsets: [{name: s, trafficPolicy: {outlierDetection: {}}}]}";
    check(spec, true, &["I-IGNORED"]);
    let message = &read(spec).reports[0].message;
    for field in
        ["loadBalancer", "connectionPool", "proxyProtocol", "retryBudget", "outlierDetection"]
    {
        assert!(message.contains(field), "{message}");
    }
}

#[test]
fn subsets_lie_over_the_policy() {
    let rule = value(
        "{host: gw, trafficPolicy: {tls: {mode: SIMPLE}, portLevelSettings: [{port: {number: 80}, tls: {}}]}, subsets: [{name: plain, labels: {v: a}}, {name: mesh, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}, {name: port, trafficPolicy: {portLevelSettings: [{port: {number: 443}, tls: {mode: MUTUAL}}]}}]}",
    );
    for (subset, port, expected) in [
        ("plain", 443, TlsMode::Simple),
        ("plain", 80, TlsMode::Disable),
        ("mesh", 443, TlsMode::IstioMutual),
        ("mesh", 80, TlsMode::IstioMutual),
        ("port", 443, TlsMode::Mutual),
        ("port", 444, TlsMode::Simple),
        ("port", 80, TlsMode::Disable),
    ] {
        assert_eq!(rule.subsets[subset].need(port).tls, expected, "{subset} {port}");
    }
    let subsets = |list: &str| format!("{{host: a.example.com, subsets: [{list}]}}");
    refused(&subsets("{labels: {a: b}}"), "E-DR");
    refused(&subsets("{name: a}, {name: a}"), "E-DR");
    refused(&subsets("{name: a, labels: {'a b': c}}"), "E-DR");
    refused(&subsets("{name: a, trafficPolicy: {}}"), "E-DR");
}

#[test]
fn lists_have_an_end() {
    let subsets = |count: u32| {
        let list: Vec<String> = (0..count).map(|it| format!("{{name: s{it}}}")).collect();
        format!("{{host: a.example.com, subsets: [{}]}}", list.join(", "))
    };
    check(&subsets(256), true, &[]);
    refused(&subsets(257), "E-TOO-MANY");
    let ports = |count: u32| {
        let list: Vec<String> =
            (1..=count).map(|it| format!("{{port: {{number: {it}}}, tls: {{}}}}")).collect();
        policy(&format!("{{portLevelSettings: [{}]}}", list.join(", ")))
    };
    check(&ports(4096), true, &[]);
    refused(&ports(4097), "E-TOO-MANY");
}

#[test]
fn selectors_and_export() {
    let spec = |more: &str| format!("{{host: a.example.com{more}}}");
    refused(&spec(", exportTo: ['~']"), "E-EXPORTTO");
    refused(&spec(", exportTo: ['*', '.']"), "E-EXPORTTO");
    check(&spec(", exportTo: [other]"), true, &[]);
    let select = ", workloadSelector: {matchLabels: {app: x}}";
    check(&spec(select), true, &[]);
    check(&spec(&format!("{select}, exportTo: ['.']")), true, &[]);
    check(&spec(&format!("{select}, exportTo: [v]")), true, &[]);
    refused(&spec(&format!("{select}, exportTo: ['*']")), "E-EXPORTTO");
    refused(&spec(&format!("{select}, exportTo: [v, other]")), "E-EXPORTTO");
    refused(&spec(", workloadSelector: {matchLabels: {app: '*'}}"), "E-SELECTOR-SYNTAX");
    check(&spec(", workloadSelector: {}"), true, &["W-SELECTOR-EMPTY"]);
    // Sidecar and ServiceEntry call it `labels`.
    check(
        &spec(", workloadSelector: {labels: {app: x}}"),
        true,
        &["W-FIELD-UNKNOWN", "W-SELECTOR-EMPTY"],
    );
    let rule = value(&spec(select));
    assert_eq!(rule.selector.expect("a selector")["app"], "x");
}

//! Addresses, readiness, ports and annotations of pods.

use super::Pod;
use crate::registry::{findings::Checked, testing};

fn read(metadata: &str, rest: &str) -> Checked<Pod> {
    let (meta, document) = testing::object("v1 Pod", metadata, rest);
    Pod::check(&meta, &document)
}

#[track_caller]
fn check(metadata: &str, rest: &str, expected: &[&str]) {
    testing::check(&read(metadata, rest), rest, expected);
}

fn valid(metadata: &str, rest: &str) -> Pod {
    read(metadata, rest).value.expect("valid")
}

#[test]
fn addresses() {
    let addresses = |status: &str| {
        let pod = valid("", &format!(", status: {status}"));
        pod.addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(addresses("{}").is_empty());
    assert!(addresses("{podIP: '', podIPs: null}").is_empty());
    assert_eq!(addresses("{podIP: 10.244.1.20}"), ["10.244.1.20"]);
    assert_eq!(
        addresses("{podIP: 10.244.1.20, podIPs: [{ip: 10.244.1.20}, {ip: 'fd00::1'}]}"),
        ["10.244.1.20", "fd00::1"]
    );
    check("", ", status: {podIP: here}", &["E-ENDPOINT-ADDRESS status.podIP"]);
    check("", ", status: {podIPs: [{ip: x}]}", &["E-ENDPOINT-ADDRESS status.podIPs[0].ip"]);
}

#[test]
fn modes() {
    check(", labels: {exeat.dev/mode: registry-only}", "", &[]);
    check(", labels: {exeat.dev/mode: allow-any}", "", &[]);
    check(
        ", labels: {exeat.dev/mode: open}",
        "",
        &["W-MODE-LABEL metadata.labels[exeat.dev/mode]"],
    );
}

#[test]
fn readiness() {
    #[track_caller]
    fn ready(metadata: &str, status: &str, expected: bool) {
        let got = valid(metadata, &format!(", status: {status}")).is_ready;
        assert_eq!(got, expected, "{metadata} {status}");
    }
    ready("", "null", true);
    ready("", "{phase: Running}", true);
    ready("", "{phase: Running, conditions: []}", true);
    ready("", "{phase: Running, conditions: [{type: Ready, status: 'True'}]}", true);
    ready("", "{conditions: [{type: Ready, status: 'True'}]}", true);
    ready("", "{phase: Running, conditions: [{type: Ready, status: 'False'}]}", false);
    ready("", "{phase: Running, conditions: [{type: Initialized, status: 'True'}]}", false);
    for phase in ["Pending", "Succeeded", "Failed", "Unknown"] {
        ready("", &format!("{{phase: {phase}}}"), false);
        let status = format!("{{phase: {phase}, conditions: [{{type: Ready, status: 'True'}}]}}");
        ready("", &status, false);
    }
    ready(", deletionTimestamp: '2026-01-01T00:00:00Z'", "{phase: Running}", false);
    ready(", deletionTimestamp: null", "{phase: Running}", true);
}

#[test]
fn ports() {
    let spec = ", spec: {hostNetwork: true, containers: [{name: a, ports: [{name: web, containerPort: 8080}, {containerPort: 9090}, {name: dns, containerPort: 53, protocol: UDP}]}, {ports: [{name: web, containerPort: 8081, protocol: TCP}, {name: assoc, containerPort: 1, protocol: SCTP}]}]}";
    let ports = valid("", spec).ports;
    assert_eq!(ports.into_iter().collect::<Vec<_>>(), [("web".to_owned(), 8080)]);
    check("", spec, &[]);
    let port = |port: &str| format!(", spec: {{containers: [{{ports: [{port}]}}]}}");
    check(
        "",
        &port("{name: a, containerPort: 65536}"),
        &["E-PORT-RANGE spec.containers[0].ports[0].containerPort"],
    );
    check(
        "",
        &port("{name: a, containerPort: 1, protocol: QUIC}"),
        &["E-PORT-PROTOCOL spec.containers[0].ports[0].protocol"],
    );
    check(
        "",
        &port("{name: a, containerPort: web}"),
        &["E-FIELD-TYPE spec.containers[0].ports[0].containerPort"],
    );
}

#[test]
fn exclusions() {
    #[track_caller]
    fn reported(name: &str, value: &str, expected: bool) {
        let annotation = format!("traffic.sidecar.istio.io/{name}");
        let report = format!("W-POD-EXCLUSION metadata.annotations[{annotation}]");
        let metadata = format!(", annotations: {{{annotation}: '{value}'}}");
        let expected = if expected { vec![report.as_str()] } else { Vec::new() };
        check(&metadata, "", &expected);
    }
    reported("excludeOutboundIPRanges", "203.0.113.0/24", true);
    reported("excludeOutboundIPRanges", "", false);
    reported("excludeOutboundPorts", "22", true);
    reported("excludeOutboundPorts", "", false);
    reported("includeOutboundIPRanges", "10.0.0.0/8", true);
    reported("includeOutboundIPRanges", "", true);
    reported("includeOutboundIPRanges", "*", false);
    reported("includeOutboundPorts", "443", true);
    reported("includeOutboundPorts", "*", false);
    reported("includeOutboundPorts", "", false);
    reported("includeInboundPorts", "80", false);
    check(
        ", annotations: {traffic.sidecar.istio.io/excludeOutboundPorts: 22}",
        "",
        &["E-FIELD-TYPE metadata.annotations.traffic.sidecar.istio.io/excludeOutboundPorts"],
    );
}

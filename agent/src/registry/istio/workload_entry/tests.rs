//! Every rule of a `WorkloadEntry`, by the code it gives, and what is read.

use super::WorkloadEntry;
use crate::registry::{endpoint::EndpointAddress, findings::Checked, testing};

fn read(spec: &str) -> Checked<WorkloadEntry> {
    let (meta, document) = testing::object(
        "networking.istio.io/v1 WorkloadEntry",
        ", labels: {app: object, of: object}",
        &format!(", spec: {spec}"),
    );
    WorkloadEntry::check(&meta, &document)
}

#[track_caller]
fn check(spec: &str, valid: bool, codes: &[&str]) {
    testing::check_codes(&read(spec), spec, valid, codes);
}

#[track_caller]
fn value(spec: &str) -> WorkloadEntry {
    testing::value(read(spec), spec)
}

#[test]
fn addresses() {
    for (text, expected) in [
        ("203.0.113.1", EndpointAddress::Ip("203.0.113.1".parse().expect("an address"))),
        ("::ffff:203.0.113.1", EndpointAddress::Ip("203.0.113.1".parse().expect("an address"))),
        ("unix:///run/x", EndpointAddress::Unix("/run/x".to_owned())),
        ("unix://@x", EndpointAddress::Unix("@x".to_owned())),
    ] {
        let spec = format!("{{address: '{text}'}}");
        check(&spec, true, &[]);
        assert_eq!(value(&spec).endpoint.address, expected, "{text}");
    }
    let EndpointAddress::Name(name) = value("{address: VM.example.com}").endpoint.address else {
        panic!("not a name");
    };
    assert_eq!(name.to_string(), "vm.example.com");
    check("{network: other}", true, &["W-ENDPOINT-NETWORK"]);
    check("{}", false, &["E-ENDPOINT-ADDRESS"]);
    check("{address: '*.example.com'}", false, &["E-ENDPOINT-ADDRESS"]);
    check("{address: 'a b'}", false, &["E-ENDPOINT-ADDRESS"]);
    check("{address: 203.0.113.0/24}", false, &["E-ENDPOINT-ADDRESS"]);
    check("{address: 'unix://x'}", false, &["E-UDS-PATH"]);
    check("{address: 'unix:///run/'}", false, &["E-UDS-PATH"]);
    check("{address: 'unix:///run/x', ports: {http: 80}}", false, &["E-UDS-PORTS"]);
}

#[test]
fn ports_and_weight() {
    let spec = |more: &str| format!("{{address: 203.0.113.1{more}}}");
    let entry = value(&spec(", ports: {http: 8080}, weight: 5, locality: a/b, serviceAccount: s"));
    assert_eq!((entry.endpoint.ports["http"], entry.endpoint.weight), (8080, 5));
    assert_eq!(value(&spec("")).endpoint.weight, 1);
    check(&spec(", ports: {http: 65536}"), false, &["E-ENDPOINT-PORT"]);
    check(&spec(", ports: {http: 0}"), false, &["E-ENDPOINT-PORT"]);
    check(&spec(", ports: {http_1: 80}"), false, &["E-ENDPOINT-PORT"]);
    check(&spec(", weight: -1"), false, &["E-FIELD-TYPE"]);
    check(&spec(", wieght: 1"), true, &["W-FIELD-UNKNOWN"]);
}

#[test]
fn labels() {
    check("{address: 203.0.113.1, labels: {app: 'not valid!'}}", false, &["E-ENDPOINT-LABEL"]);
    let labels = value("{address: 203.0.113.1, labels: {app: spec, vm: spec}}").labels;
    let got: Vec<(&str, &str)> =
        labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(got, [("app", "object"), ("of", "object"), ("vm", "spec")]);
}

#[test]
fn faults_are_all_reported() {
    check(
        "{labels: {'a b': c}, ports: {x: 0}}",
        false,
        &["E-ENDPOINT-LABEL", "E-ENDPOINT-ADDRESS", "E-ENDPOINT-PORT"],
    );
}

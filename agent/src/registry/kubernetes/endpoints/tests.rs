//! Every rule of `Endpoints` and `EndpointSlice`.

use super::{EndpointPort, Endpoints};
use crate::registry::{findings::Checked, testing};

fn read(rest: &str) -> Checked<Endpoints> {
    let (meta, document) = testing::object("v1 Endpoints", "", rest);
    Endpoints::check(&meta, &document)
}

fn read_slice(metadata: &str, rest: &str) -> Checked<Endpoints> {
    let (meta, document) =
        testing::object("discovery.k8s.io/v1 EndpointSlice", metadata, &format!(", {rest}"));
    Endpoints::check_slice(&meta, &document)
}

#[track_caller]
fn check(subset: &str, expected: &[&str]) {
    let text = format!(", subsets: [{subset}]");
    testing::check(&read(&text), &text, expected);
}

#[track_caller]
fn check_slice(rest: &str, expected: &[&str]) {
    testing::check(&read_slice("", rest), rest, expected);
}

/// Its addresses, `!` before those that are not ready.
fn addresses(endpoints: &Endpoints) -> Vec<String> {
    let all = endpoints.subsets.iter().flat_map(|it| &it.addresses);
    all.map(|(ip, is_ready)| format!("{}{ip}", if *is_ready { "" } else { "!" })).collect()
}

#[test]
fn endpoints() {
    let made = read(
        ", subsets: [{addresses: [{ip: 198.35.26.96, nodeName: x}, {ip: '2001:db8::1'}], notReadyAddresses: [{ip: 208.80.153.224}], ports: [{port: 443, name: tls}, {port: 53, name: dns, protocol: UDP}]}]",
    )
    .value
    .expect("valid");
    assert_eq!(made.service, "n");
    assert_eq!(addresses(&made), ["198.35.26.96", "2001:db8::1", "!208.80.153.224"]);
    let port =
        |name: &str, number, transport| EndpointPort { name: name.into(), number, transport };
    assert_eq!(made.subsets[0].ports, [port("tls", 443, 6), port("dns", 53, 17)]);
    testing::check(&read(""), "", &[]);
    testing::check(&read(", subsets: null"), "", &[]);
    check("{addresses: [{ip: 192.0.2.1}], ports: [{port: 80}]}", &[]);
}

#[test]
fn faults_of_endpoints() {
    check(
        "{addresses: [{ip: a.example}], notReadyAddresses: [{ip: 169.254.169.254}]}",
        &[
            "E-ENDPOINT-ADDRESS subsets[0].addresses[0].ip",
            "E-ENDPOINT-ADDRESS subsets[0].notReadyAddresses[0].ip",
        ],
    );
    check("{ports: [{port: 65536}]}", &["E-ENDPOINT-PORT subsets[0].ports[0].port"]);
    check("{ports: [{name: a}]}", &["E-ENDPOINT-PORT subsets[0].ports[0].port"]);
    check("{ports: [{name: a_b, port: 1}]}", &["E-ENDPOINT-PORT-NAME subsets[0].ports[0].name"]);
    check(
        "{ports: [{name: a, port: 1}, {port: 2}]}",
        &["E-ENDPOINT-PORT-NAME subsets[0].ports[1].name"],
    );
    check(
        "{ports: [{name: a, port: 1}, {name: a, port: 2}]}",
        &["E-ENDPOINT-PORT-NAME subsets[0].ports[1].name"],
    );
    check("{ports: [{port: 1, protocol: tcp}]}", &["E-PORT-PROTOCOL subsets[0].ports[0].protocol"]);
    check(
        "{ports: [{port: 1, protocol: SCTP}]}",
        &["W-PORT-TRANSPORT subsets[0].ports[0].protocol"],
    );
    check("{addresses: 192.0.2.1}", &["E-FIELD-TYPE subsets[0].addresses"]);
}

#[test]
fn slices() {
    let slice = read_slice(
        ", labels: {kubernetes.io/service-name: web}",
        "addressType: IPv4, endpoints: [{addresses: [192.0.2.1, 192.0.2.2]}, {addresses: [192.0.2.3], conditions: {ready: false, serving: true}}, {addresses: [192.0.2.4], conditions: {ready: null}}, {addresses: [192.0.2.5], conditions: {ready: true}}], ports: [{name: '', port: 80}]",
    )
    .value
    .expect("valid");
    assert_eq!(slice.service, "web");
    assert_eq!(
        addresses(&slice),
        ["192.0.2.1", "192.0.2.2", "!192.0.2.3", "192.0.2.4", "192.0.2.5"]
    );
    assert_eq!(slice.subsets[0].ports[0].number, 80);
    let nobody = read_slice("", "addressType: IPv6, endpoints: [{addresses: ['2001:db8::1']}]");
    assert_eq!(nobody.value.expect("valid").service, "");
    // A port without number stands for all of them: it opens none.
    let open = read_slice("", "addressType: IPv4, ports: [{name: a}]").value.expect("valid");
    assert!(open.subsets[0].ports.is_empty());
    let names = read_slice("", "addressType: FQDN, endpoints: [{addresses: [a.example]}]");
    testing::check(&names, "", &["U-SLICE-FQDN addressType"]);
    assert!(addresses(&names.value.expect("valid")).is_empty());
}

#[test]
fn faults_of_slices() {
    check_slice("endpoints: []", &["E-SERVICE addressType"]);
    check_slice("addressType: ipv4", &["E-SERVICE addressType"]);
    check_slice(
        "addressType: IPv4, endpoints: [{addresses: ['2001:db8::1']}]",
        &["E-ENDPOINT-ADDRESS endpoints[0].addresses[0]"],
    );
    check_slice(
        "addressType: IPv6, endpoints: [{addresses: [192.0.2.1, '::1']}]",
        &[
            "E-ENDPOINT-ADDRESS endpoints[0].addresses[0]",
            "E-ENDPOINT-ADDRESS endpoints[0].addresses[1]",
        ],
    );
    check_slice("addressType: IPv4, ports: [{port: 0}]", &["E-ENDPOINT-PORT ports[0].port"]);
    check_slice(
        "addressType: IPv4, ports: [{port: 1}, {port: 2}]",
        &["E-ENDPOINT-PORT-NAME ports[0].name", "E-ENDPOINT-PORT-NAME ports[1].name"],
    );
    check_slice(
        "addressType: IPv4, endpoints: [{conditions: {ready: maybe}}]",
        &["E-FIELD-TYPE endpoints[0].conditions.ready"],
    );
}

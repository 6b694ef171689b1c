//! Every rule of an `ExternalService`, by the code it gives.

use super::{ExternalService, GatewayRoute, TargetPort};
use crate::registry::{findings::Checked, port::Protocol, testing};

fn read(spec: &str) -> Checked<ExternalService> {
    let kind = "networking.gloo.solo.io/v2 ExternalService";
    let (meta, document) = testing::object(kind, "", &format!(", spec: {spec}"));
    ExternalService::check(&meta, &document)
}

#[track_caller]
fn check(spec: &str, expected: &[&str]) {
    testing::check(&read(spec), spec, expected);
}

fn with_ports(ports: &str) -> String {
    format!("{{hosts: [a.example.com], ports: [{ports}]}}")
}

/// A service with one HTTP port of these further fields.
fn with_port(fields: &str) -> String {
    with_ports(&format!("{{number: 80, name: http, protocol: HTTP{fields}}}"))
}

const PORT: &str = "ports: [{number: 80, name: http, protocol: HTTP}]";

#[test]
fn hosts_and_addresses() {
    check(&format!("{{hosts: [a.example.com, '*.b.example'], {PORT}, selector: {{}}}}"), &[]);
    let both = format!("{{hosts: [a.example.com], addresses: [203.0.113.30], {PORT}}}");
    check(&both, &["E-GLOO-HOSTS-XOR-ADDRESSES spec"]);
    check(&format!("{{{PORT}}}"), &["E-GLOO-HOSTS-XOR-ADDRESSES spec"]);
    check(&format!("{{hosts: [], addresses: null, {PORT}}}"), &["E-GLOO-HOSTS-XOR-ADDRESSES spec"]);
    let hosts = |list: &str| format!("{{hosts: [{list}], {PORT}}}");
    check(
        &hosts("a..example, '*'"),
        &["E-HOST-SYNTAX spec.hosts[0]", "E-HOST-FULL-WILDCARD spec.hosts[1]"],
    );
    check(&hosts("203.0.113.30"), &["E-HOST-SYNTAX spec.hosts[0]"]);
    check(&hosts("'*.test'"), &["W-HOST-TLD-WILDCARD spec.hosts[0]"]);
    let partial = hosts("'*a.example.com', b.example.com, B.example.com.");
    check(&partial, &["U-HOST-PARTIAL-WILDCARD spec.hosts[0]"]);
    let names = read(&partial).value.expect("valid").hosts;
    assert_eq!(names.iter().map(ToString::to_string).collect::<Vec<_>>(), ["b.example.com"]);
    let addresses = |list: &str| format!("{{addresses: [{list}], {PORT}}}");
    check(&addresses("a.example"), &["E-ADDR-SYNTAX spec.addresses[0]"]);
    let nets = addresses("203.0.113.7, 198.51.100.9/24, 198.51.100.0/24, '2001:db8:5::/64'");
    check(&nets, &[]);
    let nets = read(&nets).value.expect("valid").addresses;
    let nets: Vec<String> = nets.iter().map(ToString::to_string).collect();
    assert_eq!(nets, ["203.0.113.7/32", "198.51.100.0/24", "2001:db8:5::/64"]);
}

#[test]
fn ports() {
    for protocol in ["HTTP", "https", "GRPC", "Http2", "MONGO", "TCP", "TLS"] {
        check(&with_ports(&format!("{{number: 1, name: x, protocol: {protocol}}}")), &[]);
    }
    for protocol in ["QUIC", "UDP", "GRPC-Web", "REDIS", "''"] {
        let port = format!("{{number: 1, name: x, protocol: {protocol}}}");
        check(&with_ports(&port), &["E-PORT-PROTOCOL spec.ports[0].protocol"]);
    }
    check(&with_ports("{number: 1}"), &["E-PORT-PROTOCOL spec.ports[0].protocol"]);
    check(&with_ports("{number: 1, protocol: TCP}"), &[]);
    for number in ["0", "65536", "-1"] {
        let port = format!("{{number: {number}, name: x, protocol: TCP}}");
        check(&with_ports(&port), &["E-PORT-RANGE spec.ports[0].number"]);
    }
    let two =
        |a: &str, b: &str| with_ports(&format!("{{protocol: TCP, {a}}}, {{protocol: TCP, {b}}}"));
    check(
        &two("number: 1, name: a", "number: 1, name: b"),
        &["E-PORT-NUMBER-DUP spec.ports[1].number"],
    );
    check(
        &two("number: 1, name: a", "number: 2, name: a"),
        &["E-PORT-NAME-DUP spec.ports[1].name"],
    );
    check(&two("number: 1, name: a", "number: 2"), &["E-PORT-NAME spec.ports[1].name"]);
    check(&two("number: 1, name: a_b", "number: 2, name: b"), &["E-PORT-NAME spec.ports[0].name"]);
    check("{hosts: [a.example]}", &["W-NO-PORTS spec.ports"]);
    check(&with_ports("{number: eighty}"), &["E-FIELD-TYPE spec.ports[0].number"]);
    check(&with_port(", portocol: x"), &["W-FIELD-UNKNOWN spec.ports[0].portocol"]);
    let port = read(&with_port("")).value.expect("valid").ports.remove(0);
    assert_eq!((port.port.number, port.port.protocol), (80, Protocol::Http));
    assert_eq!((port.target, port.originates_tls, port.gateway), (None, false, None));
}

#[test]
fn target_ports() {
    let target = |target: &str| with_port(&format!(", targetPort: {target}"));
    for bad in ["{}", "{number: 443, name: https}", "{name: ''}", "{number: null}"] {
        check(&target(bad), &["E-GLOO-TARGETPORT spec.ports[0].targetPort"]);
    }
    check(&target("{name: https}"), &["E-GLOO-TARGETPORT spec.ports[0].targetPort.name"]);
    for bad in ["0", "65536"] {
        let spec = target(&format!("{{number: {bad}}}"));
        check(&spec, &["E-TARGETPORT-RANGE spec.ports[0].targetPort.number"]);
    }
    check(&target("443"), &["E-FIELD-TYPE spec.ports[0].targetPort"]);
    let got = |spec: &str| read(spec).value.expect("valid").ports.remove(0).target;
    assert_eq!(got(&target("null")), None);
    assert_eq!(got(&target("{number: 443}")), Some(TargetPort::Number(443)));
    let named = "{hosts: [a.example], selector: {a: b}, ports: [{number: 80, name: http, protocol: HTTP, targetPort: {name: web}}]}";
    check(named, &[]);
    assert_eq!(got(named), Some(TargetPort::Name("web".into())));
    check(
        &format!("{{hosts: [a.example], selector: {{a: '*'}}, {PORT}}}"),
        &["E-SELECTOR-SYNTAX spec.selector"],
    );
}

#[test]
fn tls() {
    #[track_caller]
    fn originates(tls: &str, expected: bool) {
        let spec = with_port(&format!(", clientsideTls: {tls}"));
        check(&spec, &[]);
        assert_eq!(read(&spec).value.expect("valid").ports[0].originates_tls, expected, "{tls}");
    }
    originates("null", false);
    originates("{}", true);
    originates("{mode: ''}", true);
    originates("{mode: DISABLE}", false);
    originates("{mode: disable}", false);
    for mode in ["SIMPLE", "MUTUAL", "ISTIO_MUTUAL"] {
        originates(&format!("{{mode: {mode}}}"), true);
    }
    originates(
        "{sni: a, caCertificates: b, clientCertificate: c, privateKey: d, credentialName: e, insecureSkipVerify: true}",
        true,
    );
    let spec = with_port(", clientsideTls: {mode: STRICT}");
    check(&spec, &["E-GLOO-TLS spec.ports[0].clientsideTls.mode"]);
    let spec = format!("{{hosts: [a.example], {PORT}, subjectAltNames: [x]}}");
    check(&spec, &["W-SAN-NOT-VERIFIED spec.subjectAltNames"]);
}

#[test]
fn gateways() {
    let routed = |routes: &str| with_port(&format!(", egressGatewayRoutes: {routes}"));
    let got = |routes: &str| read(&routed(routes)).value.expect("valid").ports.remove(0).gateway;
    assert_eq!(got("null"), None);
    let route = |gateways: &[(&str, &str)], is_remote, port| {
        let gateways = gateways.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        Some(GatewayRoute { gateways, is_remote, port })
    };
    assert_eq!(got("{}"), route(&[], false, 80));
    assert_eq!(
        got("{virtualGatewayRefs: [{name: g}, {name: h, namespace: x}], portMatch: 8080}"),
        route(&[("v", "g"), ("x", "h")], false, 8080)
    );
    assert_eq!(
        got("{virtualGatewayRefs: [{name: g}, {name: h, cluster: west}]}"),
        route(&[("v", "g"), ("v", "h")], true, 80)
    );
    check(
        &routed("{virtualGatewayRefs: [{namespace: x}]}"),
        &["E-GLOO-GATEWAY-ROUTE spec.ports[0].egressGatewayRoutes.virtualGatewayRefs[0].name"],
    );
    check(
        &routed("{portMatch: 65536}"),
        &["E-GLOO-GATEWAY-ROUTE spec.ports[0].egressGatewayRoutes.portMatch"],
    );
    let port = |protocol: &str| {
        with_ports(&format!(
            "{{number: 80, name: x, protocol: {protocol}, egressGatewayRoutes: {{}}}}"
        ))
    };
    for protocol in ["HTTP", "HTTP2", "HTTPS"] {
        check(&port(protocol), &[]);
    }
    for protocol in ["TCP", "TLS", "GRPC", "MONGO"] {
        let path = "E-GLOO-GATEWAY-ROUTE spec.ports[0].egressGatewayRoutes";
        check(&port(protocol), &[path]);
    }
    check(
        "{addresses: [192.0.2.1], ports: [{number: 80, protocol: HTTP, egressGatewayRoutes: {}}]}",
        &["E-GLOO-GATEWAY-ROUTE spec.ports[0].egressGatewayRoutes"],
    );
    let two = "{number: 80, name: a, protocol: HTTP, egressGatewayRoutes: {}}, {number: 443, name: b, protocol: HTTPS, egressGatewayRoutes: {portMatch: 80}}";
    check(&with_ports(two), &["E-GLOO-GATEWAY-ROUTE spec.ports[1].egressGatewayRoutes.portMatch"]);
}

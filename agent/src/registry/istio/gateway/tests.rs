//! Every rule of a `Gateway`, by the code it gives, and what is read.

use super::{Gateway, ServerTls};
use crate::registry::{findings::Checked, meta::Meta, port::Protocol, testing};

fn read_named(name: &str, spec: &str) -> Checked<Gateway> {
    let text = format!(
        "{{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {{name: {name}, namespace: v}}, spec: {spec}}}"
    );
    let document = serde_yaml::from_str(&text).expect("YAML");
    let meta = Meta::read(&document).expect("metadata");
    Gateway::check(&meta, &document)
}

#[track_caller]
fn check(spec: &str, valid: bool, codes: &[&str]) {
    testing::check_codes(&read_named("gw", spec), spec, valid, codes);
}

#[track_caller]
fn value(spec: &str) -> Gateway {
    testing::value(read_named("gw", spec), spec)
}

fn server(server: &str) -> String {
    format!("{{selector: {{app: gw}}, servers: [{{{server}}}]}}")
}

const HTTP: &str = "port: {number: 80, name: http, protocol: HTTP}";

#[track_caller]
fn refused(fields: &str) {
    check(&server(fields), false, &["E-GATEWAY"]);
}

#[test]
fn servers() {
    check(&server(&format!("{HTTP}, hosts: ['*'], name: x, defaultEndpoint: y")), true, &[]);
    check("{selector: {app: gw}}", false, &["E-GATEWAY"]);
    check("{selector: {app: gw}, servers: []}", false, &["E-GATEWAY"]);
    refused(HTTP);
    refused("hosts: ['*']");
    for port in [
        "{number: 0, name: http, protocol: HTTP}",
        "{number: 65536, name: http, protocol: HTTP}",
        "{name: http, protocol: HTTP}",
        "{number: 80, protocol: HTTP}",
        "{number: 80, name: http}",
        "{number: 80, name: http, protocol: WEBSOCKET}",
        "{number: 80, name: http, protocol: HTTP, targetPort: 8080}",
    ] {
        refused(&format!("port: {port}, hosts: ['*']"));
    }
    check(
        &format!(
            "{{selector: {{app: gw}}, servers: [{{{HTTP}, hosts: ['*']}}, {{{HTTP}, hosts: ['*']}}]}}"
        ),
        false,
        &["E-GATEWAY"],
    );
    let dotted = read_named("g.w", &server(&format!("{HTTP}, hosts: ['*']")));
    assert_eq!(dotted.reports[0].path, "metadata.name");
}

#[test]
fn binds() {
    check(&server(&format!("{HTTP}, hosts: ['*'], bind: 127.0.0.1")), true, &[]);
    refused(&format!("{HTTP}, hosts: ['*'], bind: localhost"));
    refused(&format!("{HTTP}, hosts: ['*'], bind: 'unix:///run/x'"));
    let unix = "port: {number: 0, name: http, protocol: HTTP}, hosts: ['*'], bind: 'unix:///run/x'";
    assert!(value(&server(unix)).servers.is_empty());
}

#[test]
fn hosts() {
    let hosts = |list: &str| server(&format!("{HTTP}, hosts: [{list}]"));
    let got =
        value(&hosts("a.example.com, './*.b.example.com', '*/c.example.com', ns1/*, 203.0.113.4"));
    let names: Vec<Option<String>> =
        got.servers[0].hosts.iter().map(|it| it.as_ref().map(ToString::to_string)).collect();
    assert_eq!(
        names,
        [
            Some("a.example.com".into()),
            Some("*.b.example.com".into()),
            Some("c.example.com".into()),
            None
        ]
    );
    for bad in [
        "short",
        "'*foo.com'",
        "a_b.example.com",
        "'~/a.example.com'",
        "a/b/c",
        "''",
        "'ns_1/*'",
        "ns1/",
    ] {
        check(&hosts(bad), false, &["E-GATEWAY"]);
    }
}

#[test]
fn tls_modes() {
    let tls = |protocol: &str, tls: &str| {
        server(&format!("port: {{number: 443, name: x, protocol: {protocol}}}, hosts: ['*']{tls}"))
    };
    for (protocol, settings, expected) in [
        ("HTTP", "", ServerTls::None),
        ("TCP", "", ServerTls::None),
        ("HTTP", ", tls: {httpsRedirect: true}", ServerTls::None),
        ("TLS", ", tls: {}", ServerTls::Passthrough),
        ("TLS", ", tls: {mode: PASSTHROUGH}", ServerTls::Passthrough),
        ("HTTPS", ", tls: {mode: SIMPLE, credentialName: c}", ServerTls::Terminate),
        ("HTTPS", ", tls: {mode: MUTUAL, cipherSuites: [], caCrl: x}", ServerTls::Terminate),
        ("HTTPS", ", tls: {mode: OPTIONAL_MUTUAL}", ServerTls::Terminate),
        ("TLS", ", tls: {mode: ISTIO_MUTUAL}", ServerTls::Mesh),
        ("TLS", ", tls: {mode: AUTO_PASSTHROUGH}", ServerTls::Mesh),
    ] {
        let spec = tls(protocol, settings);
        check(&spec, true, &[]);
        let server = &value(&spec).servers[0];
        assert_eq!(server.tls, expected, "{spec}");
        assert_eq!(server.port, 443);
        assert_eq!(Some(server.protocol), Protocol::parse(protocol));
    }
    for (protocol, settings) in [
        ("TLS", ""),
        ("HTTPS", ""),
        ("TLS", ", tls: {mode: STRICT}"),
        ("HTTP", ", tls: {mode: SIMPLE}"),
        ("TCP", ", tls: {}"),
    ] {
        check(&tls(protocol, settings), false, &["E-GATEWAY"]);
    }
}

#[test]
fn selectors() {
    let of = |selector: &str| format!("{{servers: [{{{HTTP}, hosts: ['*']}}]{selector}}}");
    check(&of(""), true, &["W-SELECTOR-EMPTY"]);
    check(&of(", selector: {}"), true, &["W-SELECTOR-EMPTY"]);
    check(&of(", selector: {app: '*'}"), false, &["E-SELECTOR-SYNTAX"]);
    assert_eq!(value(&of(", selector: {app: gw}")).selector["app"], "gw");
}

//! What the section `gateway` accepts, what each key defaults to, and what every refusal says.

use std::{path::Path, time::Duration};

use super::{AccessLog, Hosts, ListenerProtocol, ProxyProtocol};
use crate::config::{Config, InvalidConfig};

const SHORT: &str = "dns: {resolvers: [10.0.0.53]}\n\
    gateway: {namespace: istio-egress, listeners: [{address: '0.0.0.0:8080'}]}\n";

/// Every key.
const FULL: &str = r#"
dns: {resolvers: [10.0.0.53]}
gateway:
  namespace: istio-egress
  name: egress
  labels: {istio: egressgateway}
  listeners:
  - {address: "0.0.0.0:8080", protocol: http, port: 8000}
  - {address: "[::]:8443", protocol: tls}
  - {address: "[::]:15443", protocol: auto}
  upstreams:
  - {hosts: ["*.example.com", example.org, "*"], addresses: ["10.0.0.9:8443", "[2001:db8::9]:8443"], proxyProtocol: v2}
  - {hosts: [a.example.net], addresses: ["10.0.0.8:8443"]}
  accessLog: /var/log/exeat/access.log
  limits: {connections: 10, connectionsPerClient: 5, headerBytes: 8192}
  timeouts: {handshake: 1s, connect: 2s, idle: 3s, drain: 0s}
"#;

#[test]
fn every_key() {
    let (config, gateway) = Config::parse_gateway(FULL).expect("valid");
    assert!(config.is_plain_gateway && config.workloads.is_empty());
    assert_eq!(gateway.key.to_string(), "istio-egress/egress");
    assert_eq!(gateway.labels["istio"], "egressgateway");
    let protocols: Vec<ListenerProtocol> = gateway.listeners.iter().map(|it| it.protocol).collect();
    assert_eq!(protocols, [ListenerProtocol::Http, ListenerProtocol::Tls, ListenerProtocol::Auto]);
    let [http, tls, _] = gateway.listeners[..] else { panic!("three listeners") };
    assert_eq!((http.http_port(), tls.http_port(), tls.tls_port()), (8000, 80, 443));
    let [first, second] = &gateway.upstreams[..] else { panic!("two upstreams") };
    assert_eq!((first.hosts.len(), first.addresses.len()), (3, 2));
    assert_eq!(first.hosts[2], Hosts::All);
    assert_eq!(
        (first.proxy_protocol, second.proxy_protocol),
        (ProxyProtocol::V2, ProxyProtocol::Off)
    );
    assert_eq!(gateway.access_log, AccessLog::File("/var/log/exeat/access.log".into()));
    assert_eq!((gateway.limits.connections, gateway.limits.header_bytes), (10, 8192));
    assert_eq!(gateway.limits.connections_per_client, 5);
    assert_eq!(gateway.timeouts.drain, Duration::ZERO);
    assert_eq!(gateway.timeouts.idle, Duration::from_secs(3));
}

#[test]
fn defaults() {
    let (_, gateway) = Config::parse_gateway(SHORT).expect("valid");
    assert_eq!(gateway.key.name, "gateway");
    assert_eq!(gateway.listeners[0].protocol, ListenerProtocol::Auto);
    assert_eq!(gateway.access_log, AccessLog::Stdout);
    assert_eq!((gateway.limits.connections, gateway.limits.connections_per_client), (4_096, 512));
    assert_eq!(gateway.limits.header_bytes, 16_384);
    let seconds = |span: Duration| span.as_secs();
    let timeouts = gateway.timeouts;
    assert_eq!((seconds(timeouts.handshake), seconds(timeouts.connect)), (10, 10));
    assert_eq!((seconds(timeouts.idle), seconds(timeouts.drain)), (600, 30));
}

#[test]
fn the_example_is_valid() {
    let text = include_str!("../../../../deploy/gateway.yaml");
    let (config, gateway) = Config::parse_gateway(text).expect("valid");
    assert_eq!(config.registry.files, [Path::new("/etc/exeat/registry.d")]);
    assert_eq!(gateway.listeners.len(), 2);
}

#[test]
fn one_file_can_serve_agent_and_gateway() {
    let text =
        format!("{SHORT}workloads: [{{namespace: n, name: web, cgroup: /sys/fs/cgroup/n}}]\n");
    assert_eq!(Config::parse_gateway(&text).expect("valid").1.key.name, "gateway");
    assert!(!Config::parse(&text).expect("valid").is_plain_gateway);
}

/// What the refusal must say, in every part.
#[track_caller]
fn refused(text: &str, parts: &[&str]) {
    let error: InvalidConfig = Config::parse_gateway(text).expect_err(text);
    let error = error.to_string();
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
    assert_eq!(error.lines().count(), 1, "{error}");
}

/// A valid section and one more line, the fourth.
#[track_caller]
fn refused_line(line: &str, parts: &[&str]) {
    let section = "dns: {resolvers: [10.0.0.53]}\n\
        gateway:\n  \
        namespace: istio-egress\n  ";
    refused(&format!("{section}{line}\n  listeners: [{{address: '0.0.0.0:80'}}]\n"), parts);
}

#[test]
fn refusals() {
    refused("dns: {resolvers: [10.0.0.53]}", &["no section `gateway`", "listeners"]);
    refused(
        "gateway: {namespace: n, listeners: [{address: '0.0.0.0:80'}]}",
        &["dns.resolvers", "empty"],
    );
    refused(&format!("{SHORT}\nkubernetes: {{enabled: true}}"), &["`kubernetes`", "files only"]);
    refused(&SHORT.replace("'0.0.0.0:8080'", "here"), &["gateway.listeners[0].address", "line 2"]);
    refused(&SHORT.replace("8080", "0"), &["`gateway`", "listeners", "port"]);
    refused(&SHORT.replace("[{address: '0.0.0.0:8080'}]", "[]"), &["`gateway`", "1 to 64"]);
    refused_line("listener: []", &["unknown field `listener`", "line 4"]);
    refused_line("accessLog: access.log", &["accessLog", "absolute path", "line"]);
    refused_line("limits: {headerBytes: 100}", &["headerBytes", "8192 to 65536"]);
    refused_line("limits: {connections: 0}", &["lets nobody in"]);
    refused_line("timeouts: {connect: 0s}", &["timeout of 0"]);
    refused_line("upstreams: [{hosts: ['*'], addresses: []}]", &["upstreams", "addresses"]);
    refused_line("upstreams: [{hosts: ['a.*'], addresses: ['1.2.3.4:5']}]", &["a.*", "line"]);
    refused_line(
        "upstreams: [{hosts: ['*'], addresses: ['1.2.3.4:5'], proxyProtocol: v1}]",
        &["proxyProtocol", "v1", "line"],
    );
}

//! A real Envoy as the proxy of a pod, set up as Istio sets one up: it knows where a connection was going by the
//! original destination alone.

#![cfg(test)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use exeat_tests::envoy;
use exeat_tests::node::Pod;
use exeat_tests::pod_client::{Background, probe_binary};
use exeat_tests::probe::Originals;
use exeat_tests::registry::Entry;
use exeat_tests::scene::Scene;
use exeat_tests::servers::PAGE;
use exeat_tests::sidecar::PORT;
use exeat_tests::wait;

/// A port of which the proxy knows nothing but the number.
const PLAIN: u16 = 9000;
const UP_WITHIN: Duration = Duration::from_secs(30);
const TYPES: &str = "type.googleapis.com/envoy.extensions";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// One listener that takes what was redirected and hands it to the one of the port that was dialled. There
/// HTTP goes by its host, TLS by its server name; `www.example.com` alone is let through.
fn bootstrap() -> String {
    let taker = |name: &str, address: IpAddr| {
        format!(
            "  - name: {name}\n    address: {{socket_address: {{address: \"{address}\", port_value: {PORT}}}}}\n    use_original_dst: true\n    default_filter_chain: {{filters: [{}]}}\n",
            tcp_proxy("blackhole")
        )
    };
    let by_host = |name: &str, any: IpAddr| {
        format!(
            "  - name: {name}\n    bind_to_port: false\n    address: {{socket_address: {{address: \"{any}\", port_value: 80}}}}\n    filter_chains:\n    - filters:\n      - name: hcm\n        typed_config:\n          \"@type\": {TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager\n          stat_prefix: out\n          route_config:\n            virtual_hosts:\n            - {{name: www, domains: [www.example.com], routes: [{{match: {{prefix: /}}, route: {{cluster: passthrough}}}}]}}\n            - {{name: rest, domains: [\"*\"], routes: [{{match: {{prefix: /}}, direct_response: {{status: 502}}}}]}}\n          http_filters: [{{name: router, typed_config: {{\"@type\": {TYPES}.filters.http.router.v3.Router}}}}]\n"
        )
    };
    let by_name = |name: &str, any: IpAddr| {
        format!(
            "  - name: {name}\n    bind_to_port: false\n    address: {{socket_address: {{address: \"{any}\", port_value: 443}}}}\n    listener_filters: [{{name: tls, typed_config: {{\"@type\": {TYPES}.filters.listener.tls_inspector.v3.TlsInspector}}}}]\n    filter_chains: [{{filter_chain_match: {{server_names: [www.example.com]}}, filters: [{}]}}]\n",
            tcp_proxy("passthrough")
        )
    };
    let by_port = |name: &str, any: IpAddr| {
        format!(
            "  - name: {name}\n    bind_to_port: false\n    address: {{socket_address: {{address: \"{any}\", port_value: {PLAIN}}}}}\n    filter_chains: [{{filters: [{}]}}]\n",
            tcp_proxy("passthrough")
        )
    };
    let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    let (any4, any6) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into());
    let listeners = [
        taker("taker-v4", v4),
        taker("taker-v6", v6),
        by_host("http-v4", any4),
        by_host("http-v6", any6),
        by_name("tls-v4", any4),
        by_name("tls-v6", any6),
        by_port("tcp-v4", any4),
        by_port("tcp-v6", any6),
    ]
    .concat();
    format!(
        "static_resources:\n  listeners:\n{listeners}  clusters:\n  - {{name: passthrough, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 5s}}\n  - {{name: blackhole, type: STATIC, connect_timeout: 1s}}\n"
    )
}

fn tcp_proxy(cluster: &str) -> String {
    format!(
        "{{name: tcp, typed_config: {{\"@type\": {TYPES}.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: out, cluster: {cluster}}}}}"
    )
}

fn start(scene: &Scene, pod: &Pod) -> Background {
    let config = scene.world.node.run().dir().join("envoy.yaml");
    std::fs::write(&config, bootstrap()).expect("a configuration");
    let command = pod.sidecar_command(envoy::binary().expect("Envoy")).expect("a command");
    let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
    let listens_at = loopback.map(|ip| SocketAddr::new(ip, PORT));
    envoy::start(command, &config, 2, &pod.netns, &listens_at).expect("Envoy listens")
}

#[test]
fn an_unmodified_envoy_carries_on_what_was_dialled() {
    let entry = |name: &str| {
        Entry::new("shop", name, &format!("{name}.example.com")).port(80, "HTTP").port(443, "TLS")
    };
    let mut scene = Scene::prepare("envoy", &[entry("www"), entry("other")]).expect("a world");
    let web = scene.world.web.clone();
    let config = scene.files.config_with_sidecars(&scene.world.node, &[&web]);
    scene.files.write_config(&config).expect("a configuration");
    for name in ["www.example.com", "other.example.com", "unknown.example.com"] {
        scene.world.dns.set(name, &[ip("203.0.113.10"), ip("2001:db8::10")], 3600);
    }
    let envoy = start(&scene, &web);
    scene.start_agent().expect("an agent");
    let curl = |version: &str, url: &str| {
        web.tool("curl", &["-sSk", version, "--max-time", "10", "-w", "%{http_code}", url])
            .expect("curl")
    };
    for (version, address) in [("-4", "203.0.113.10"), ("-6", "2001:db8::10")] {
        for (scheme, port) in [("http", 80), ("https", 443)] {
            let server = SocketAddr::new(ip(address), port);
            let before = scene.world.http.arrivals().at(server);
            let output = curl(version, &format!("{scheme}://www.example.com/"));
            let page = format!("{PAGE}200");
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                page,
                "{scheme} {version}: {output:?}"
            );
            assert_eq!(scene.world.http.arrivals().at(server) - before, 1, "{server}");
        }
        // Granted by the registry, refused by the proxy: so it goes through it.
        let before = scene.world.http.arrivals().total();
        let output = curl(version, "http://other.example.com/");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "502", "{version}: {output:?}");
        let output = curl(version, "https://other.example.com/");
        assert!(!output.status.success(), "{version}: {output:?}");
        // Not granted: it does not exist.
        let output = curl(version, "https://unknown.example.com/");
        assert_eq!(output.status.code(), Some(6), "{version}: {output:?}");
        assert_eq!(scene.world.http.arrivals().total(), before);
    }
    drop(envoy);
}

/// Each server says where it was reached. A quarter of the connections is reset at once.
#[test]
fn thousands_of_connections_through_envoy_arrive_where_they_were_dialled() {
    const CLIENTS: u32 = 100;
    const CONNECTIONS: u32 = 4_000;
    let entry = |number: u8| {
        Entry::new("shop", &format!("e{number}"), &format!("e{number}.example.com"))
            .address(&format!("203.0.113.{number}"))
            .address(&format!("2001:db8::{number}"))
            .port(PLAIN, "TCP")
    };
    let mut scene = Scene::prepare("envoys", &[1, 2, 3, 4, 5].map(entry)).expect("a world");
    let web = scene.world.web.clone();
    let config = scene.files.config_with_sidecars(&scene.world.node, &[&web]);
    scene.files.write_config(&config).expect("a configuration");
    let node = &scene.world.node;
    let mut server = node.internet_command(&probe_binary().expect("a probe")).expect("a command");
    server.args(["here", &PLAIN.to_string()]).stdin(Stdio::piped()).stdout(Stdio::null());
    let _server = Background::new(server.spawn().expect("a server"));
    let _envoy = start(&scene, &web);
    scene.start_agent().expect("an agent");
    let (clients, connections) = (CLIENTS.to_string(), CONNECTIONS.to_string());
    let mut args = vec!["originals", "--clients", &clients, "--connections", &connections];
    let to: Vec<String> = (1..=5)
        .flat_map(|it| [format!("203.0.113.{it}:{PLAIN}"), format!("[2001:db8::{it}]:{PLAIN}")])
        .collect();
    for it in &to {
        args.extend(["--to", it]);
    }
    let told: Originals = web.probe(&args).expect("a probe");
    println!("{told:?}");
    assert_eq!((told.wrong, told.missing, told.failed), (0, 0, 0), "{told:?}");
    assert_eq!(told.right, u64::from(CONNECTIONS - CONNECTIONS / 4));
    let left = || {
        let metrics = scene.agent().metrics().expect("metrics");
        metrics.sum("exeat_map_entries", &[("map", "HANDOVERS")])
    };
    assert!(wait::holds(UP_WITHIN, || left() == 0.0), "{} left", left());
}

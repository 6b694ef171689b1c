//! A real Envoy as a gateway in a pod of its own: HTTP goes by its host, TLS by its server name, and
//! each flow is written down.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use exeat_tests::envoy;
use exeat_tests::node::Pod;
use exeat_tests::pod_client::Background;
use exeat_tests::scene::Scene;
use exeat_tests::wait;
use serde_json::{Value, json};

const UP_WITHIN: Duration = Duration::from_secs(30);
const LOGGED_WITHIN: Duration = Duration::from_secs(10);
const TYPES: &str = "type.googleapis.com/envoy.extensions";

/// A gateway at work. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Envoy {
    log: PathBuf,
    _process: Background,
}

impl Envoy {
    /// Starts it as a process of the pod. It takes ports 80 and 443 for these hosts and no others;
    /// one that begins with `*.` is taken on port 443.
    pub(crate) fn start(scene: &Scene, pod: &Pod, hosts: &[&str]) -> Self {
        let dir = scene.world.node.run().dir();
        let (config, log) = (dir.join("envoy.json"), dir.join("gateway.log"));
        let bootstrap = bootstrap(hosts, &log.display().to_string());
        std::fs::write(&config, bootstrap.to_string()).expect("a configuration");
        let words = std::fs::File::create(dir.join("gateway.words")).expect("a file");
        let child = pod
            .command(envoy::binary().expect("Envoy"))
            .expect("a command")
            .arg("-c")
            .arg(&config)
            .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"])
            .args(["--file-flush-interval-msec", "20"])
            .stdout(Stdio::null())
            .stderr(words)
            .spawn()
            .expect("start Envoy");
        let started = Self { log, _process: Background::new(child) };
        wait_until_listens(pod, &[80, 443]);
        started
    }

    /// The lines about flows so far: protocol, host, server name, client, and where it went.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits for a line that has all of these words, after the first `skip` lines.
    #[track_caller]
    pub(crate) fn assert_line(&self, skip: usize, words: &[&str]) {
        let has = |line: &String| words.iter().all(|word| line.split(' ').any(|it| it == *word));
        let is_there = || self.lines().iter().skip(skip).any(has);
        assert!(wait::holds(LOGGED_WITHIN, is_there), "no line {words:?} in {:#?}", self.lines());
    }
}

/// Waits until both families take connections in the pod.
pub(crate) fn wait_until_listens(pod: &Pod, ports: &[u16]) {
    for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        for port in ports {
            let listens = || {
                let connected = pod.netns.run(|| TcpStream::connect(SocketAddr::new(ip, *port)));
                connected.is_ok_and(|stream| stream.is_ok())
            };
            assert!(wait::holds(UP_WITHIN, listens), "the gateway listens on {ip} port {port}");
        }
    }
}

/// One listener for each port; JSON is as good as YAML to Envoy.
fn bootstrap(hosts: &[&str], log: &str) -> Value {
    let exact: Vec<&str> = hosts.iter().copied().filter(|host| !host.starts_with('*')).collect();
    let clusters = exact.iter().flat_map(|host| [80, 443].map(|port| by_dns(host, port)));
    let clusters: Vec<Value> = clusters.chain([by_server_name()]).collect();
    let listener = |name: &str, port: u16, chains: Value| {
        let address = json!({ "address": "::", "port_value": port, "ipv4_compat": true });
        json!({ "name": name, "address": { "socket_address": address }, "filter_chains": chains })
    };
    let chains = hosts.iter().map(|host| tls_chain(host, log));
    let mut tls = listener("tls", 443, chains.collect());
    tls["listener_filters"] = json!([filter("tls", "listener.tls_inspector.v3.TlsInspector")]);
    let http = listener("http", 80, json!([{ "filters": [http_filter(&exact, log)] }]));
    json!({ "static_resources": { "listeners": [http, tls], "clusters": clusters } })
}

/// A filter without settings.
fn filter(name: &str, kind: &str) -> Value {
    json!({ "name": name, "typed_config": { "@type": format!("{TYPES}.filters.{kind}") } })
}

/// What is written down of each flow.
fn access_log(log: &str) -> Value {
    let line = "%PROTOCOL% %REQ(:AUTHORITY)% %REQUESTED_SERVER_NAME% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_HOST% %RESPONSE_CODE%\n";
    let settings = json!({
        "@type": format!("{TYPES}.access_loggers.file.v3.FileAccessLog"),
        "path": log,
        "log_format": { "text_format_source": { "inline_string": line } },
    });
    json!([{ "name": "file", "typed_config": settings }])
}

fn http_filter(hosts: &[&str], log: &str) -> Value {
    let to = |host: &&str| {
        let route = json!({ "cluster": format!("80 {host}") });
        json!({ "name": host, "domains": [host], "routes": [{ "match": { "prefix": "/" }, "route": route }] })
    };
    let refused = json!({ "match": { "prefix": "/" }, "direct_response": { "status": 502 } });
    let rest = json!({ "name": "rest", "domains": ["*"], "routes": [refused] });
    let hosts: Vec<Value> = hosts.iter().map(to).chain([rest]).collect();
    let kind = "network.http_connection_manager.v3.HttpConnectionManager";
    let mut manager = filter("http", kind);
    let settings = &mut manager["typed_config"];
    settings["stat_prefix"] = json!("http");
    settings["access_log"] = access_log(log);
    settings["route_config"] = json!({ "virtual_hosts": hosts });
    settings["http_filters"] = json!([filter("router", "http.router.v3.Router")]);
    manager
}

/// TLS for one server name, or for all below one, to wherever that leads.
fn tls_chain(host: &str, log: &str) -> Value {
    let is_wild = host.starts_with('*');
    let cluster = if is_wild { "by name".to_owned() } else { format!("443 {host}") };
    let mut proxy = filter("proxy", "network.tcp_proxy.v3.TcpProxy");
    proxy["typed_config"]["stat_prefix"] = json!("tls");
    proxy["typed_config"]["cluster"] = json!(cluster);
    proxy["typed_config"]["access_log"] = access_log(log);
    let mut filters = vec![proxy];
    if is_wild {
        let mut resolve = filter("resolve", "network.sni_dynamic_forward_proxy.v3.FilterConfig");
        resolve["typed_config"]["port_value"] = json!(443);
        resolve["typed_config"]["dns_cache_config"] = dns_cache();
        filters.insert(0, resolve);
    }
    json!({ "filter_chain_match": { "server_names": [host] }, "filters": filters })
}

fn by_dns(host: &str, port: u16) -> Value {
    let name = format!("{port} {host}");
    let address = json!({ "socket_address": { "address": host, "port_value": port } });
    let endpoints = json!([{ "lb_endpoints": [{ "endpoint": { "address": address } }] }]);
    json!({
        "name": name,
        "type": "STRICT_DNS",
        "dns_lookup_family": "ALL",
        "connect_timeout": "5s",
        "load_assignment": { "cluster_name": name, "endpoints": endpoints },
    })
}

fn by_server_name() -> Value {
    let kind = format!("{TYPES}.clusters.dynamic_forward_proxy.v3.ClusterConfig");
    let settings = json!({ "@type": kind, "dns_cache_config": dns_cache() });
    json!({
        "name": "by name",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "5s",
        "cluster_type": { "name": "by-name", "typed_config": settings },
    })
}

fn dns_cache() -> Value {
    json!({ "name": "names", "dns_lookup_family": "V4_PREFERRED" })
}

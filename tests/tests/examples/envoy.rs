//! A real Envoy as a gateway in a pod of its own: HTTP goes by its host, TLS by its server name, and
//! each flow is written down.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use exeat_tests::node::Pod;
use exeat_tests::pod_client::Background;
use exeat_tests::scene::Scene;
use exeat_tests::wait;

const UP_WITHIN: Duration = Duration::from_secs(30);
const LOGGED_WITHIN: Duration = Duration::from_secs(10);
const TYPES: &str = "type.googleapis.com/envoy.extensions";

/// A gateway at work. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Envoy {
    log: PathBuf,
    _process: Background,
}

/// Where `cargo xtask setup` puts it.
fn binary() -> PathBuf {
    let current = std::env::current_exe().expect("this program");
    let found = current
        .ancestors()
        .map(|folder| folder.join("tools/envoy/envoy/_bin/envoy"))
        .find(|path| path.exists());
    found.expect("Envoy is not there (cargo xtask setup)")
}

impl Envoy {
    /// Starts it as a process of the pod. It takes ports 80 and 443 for these hosts and no others;
    /// one that begins with `*.` is taken on port 443.
    pub(crate) fn start(scene: &Scene, pod: &Pod, hosts: &[&str]) -> Self {
        let dir = scene.world.node.run().dir();
        let (config, log) = (dir.join("gateway.yaml"), dir.join("gateway.log"));
        let bootstrap = bootstrap(hosts, &log.display().to_string());
        std::fs::write(&config, bootstrap).expect("a configuration");
        let words = std::fs::File::create(dir.join("gateway.words")).expect("a file");
        let child = pod
            .command(binary())
            .expect("a command")
            .arg("-c")
            .arg(&config)
            .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"])
            .args(["--file-flush-interval-msec", "20"])
            .stdout(Stdio::null())
            .stderr(words)
            .spawn()
            .expect("start Envoy");
        let envoy = Self { log, _process: Background::new(child) };
        wait_until_listens(pod, &[80, 443]);
        envoy
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

fn bootstrap(hosts: &[&str], log: &str) -> String {
    let access_log = format!(
        "[{{name: file, typed_config: {{\"@type\": {TYPES}.access_loggers.file.v3.FileAccessLog, path: {log}, log_format: {{text_format_source: {{inline_string: \"%PROTOCOL% %REQ(:AUTHORITY)% %REQUESTED_SERVER_NAME% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_HOST% %RESPONSE_CODE%\\n\"}}}}}}}}]"
    );
    let exact = || hosts.iter().filter(|host| !host.starts_with('*'));
    let routes: String = exact()
        .map(|host| {
            format!("            - {{name: {host}, domains: [{host}], routes: [{{match: {{prefix: /}}, route: {{cluster: \"80 {host}\"}}}}]}}\n")
        })
        .collect();
    let tcp_proxy = |cluster: &str| {
        format!(
            "{{name: tcp, typed_config: {{\"@type\": {TYPES}.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: out, cluster: \"{cluster}\", access_log: {access_log}}}}}"
        )
    };
    let chains: String = hosts
        .iter()
        .map(|host| {
            let filters = if host.starts_with('*') {
                let resolve = format!(
                    "{{name: resolve, typed_config: {{\"@type\": {TYPES}.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig, port_value: 443, dns_cache_config: {DNS_CACHE}}}}}"
                );
                format!("{resolve}, {}", tcp_proxy("by name"))
            } else {
                tcp_proxy(&format!("443 {host}"))
            };
            format!("    - {{filter_chain_match: {{server_names: [\"{host}\"]}}, filters: [{filters}]}}\n")
        })
        .collect();
    let clusters: String = exact()
        .flat_map(|host| [80, 443].map(|port| {
            format!("  - {{name: \"{port} {host}\", type: STRICT_DNS, dns_lookup_family: ALL, connect_timeout: 5s, load_assignment: {{cluster_name: \"{port} {host}\", endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {host}, port_value: {port}}}}}}}}}]}}]}}}}\n")
        }))
        .collect();
    format!(
        "static_resources:\n  listeners:\n  \
         - name: http\n    address: {{socket_address: {{address: \"::\", port_value: 80, ipv4_compat: true}}}}\n    filter_chains:\n    - filters:\n      \
         - name: hcm\n        typed_config:\n          \"@type\": {TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager\n          stat_prefix: out\n          access_log: {access_log}\n          route_config:\n            virtual_hosts:\n{routes}            - {{name: rest, domains: [\"*\"], routes: [{{match: {{prefix: /}}, direct_response: {{status: 502}}}}]}}\n          http_filters: [{{name: router, typed_config: {{\"@type\": {TYPES}.filters.http.router.v3.Router}}}}]\n  \
         - name: tls\n    address: {{socket_address: {{address: \"::\", port_value: 443, ipv4_compat: true}}}}\n    listener_filters: [{{name: tls, typed_config: {{\"@type\": {TYPES}.filters.listener.tls_inspector.v3.TlsInspector}}}}]\n    filter_chains:\n{chains}  \
         clusters:\n{clusters}  \
         - {{name: by name, lb_policy: CLUSTER_PROVIDED, connect_timeout: 5s, cluster_type: {{name: by-name, typed_config: {{\"@type\": {TYPES}.clusters.dynamic_forward_proxy.v3.ClusterConfig, dns_cache_config: {DNS_CACHE}}}}}}}\n"
    )
}

const DNS_CACHE: &str = "{name: names, dns_lookup_family: V4_PREFERRED}";

//! The gateways, each set up to do no more than carry two names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result};
use exeat_tests::agent;
use exeat_tests::envoy;
use exeat_tests::node::{Node, Pod, RESOLVER_V4};
use exeat_tests::pod_client::Background;
use exeat_tests::registry::Entry;
use serde_json::json;

use super::stage::{End, SHORT, STREAM};

/// Names in exeat's registry.
const ENTRIES: u16 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    None,
    Exeat,
    HaProxy,
    Envoy,
}

impl Contender {
    /// Where it listens.
    pub(crate) const fn port(self) -> Option<u16> {
        match self {
            Self::None => None,
            Self::Exeat => Some(8443),
            Self::HaProxy => Some(8444),
            Self::Envoy => Some(8445),
        }
    }
}

/// Starts one in a pod. Whether it carries is seen by trying.
pub(crate) fn start(contender: Contender, node: &Node, pod: &Pod) -> Result<Background> {
    let dir = node.run().dir();
    let port = contender.port().context("no gateway")?;
    let mut command = match contender {
        Contender::None => pod.command("true")?,
        Contender::Exeat => {
            let mut command = pod.command(agent::binary()?)?;
            command.args(["gateway", "--config"]).arg(exeat(&dir.join("gateway"), port)?);
            command
        }
        Contender::HaProxy => {
            let config = dir.join("haproxy.cfg");
            fs::write(&config, haproxy(port))?;
            let mut command = pod.command("haproxy")?;
            command.arg("-db").arg("-f").arg(config);
            command
        }
        Contender::Envoy => {
            let config = dir.join("envoy.json");
            fs::write(&config, envoy_config(port))?;
            let command = pod.command(envoy::binary()?)?;
            return envoy::start(command, &config, 1, &pod.netns, &[]);
        }
    };
    let log = fs::File::create(dir.join(format!("{contender:?}.log")))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let started = command.spawn();
    Ok(Background::new(started.with_context(|| format!("start {command:?} (cargo xtask setup)"))?))
}

fn exeat(dir: &Path, port: u16) -> Result<PathBuf> {
    let registry = dir.join("registry.d");
    fs::create_dir_all(&registry)?;
    let entry = |name: &str, host: &str| Entry::new("istio-egress", name, host).port(443, "TLS");
    let mut entries: Vec<_> = (2..ENTRIES)
        .map(|number| entry(&format!("n{number}"), &format!("n{number}.example.org")))
        .collect();
    entries.extend([entry("short", SHORT.0), entry("stream", STREAM.0)]);
    let manifests: Vec<_> = entries.iter().map(Entry::manifest).collect();
    fs::write(registry.join("entries.yaml"), manifests.join("---\n"))?;
    let config = dir.join("gateway.yaml");
    let text = format!(
        "registry: {{files: [{registry}], watch: true}}\n\
         clusterCidrs: [10.96.0.0/12]\n\
         dns: {{resolvers: [\"{RESOLVER_V4}\"]}}\n\
         metrics: {{listen: \"127.0.0.1:9469\"}}\n\
         gateway:\n  namespace: istio-egress\n  accessLog: off\n  \
         listeners:\n  - {{address: \"0.0.0.0:{port}\", protocol: tls}}\n",
        registry = registry.display(),
    );
    fs::write(&config, text)?;
    Ok(config)
}

fn haproxy(port: u16) -> String {
    let names = [SHORT.0, STREAM.0].join(" ");
    let backend =
        |label: &str, (_, address): End| format!("backend {label}\n  server it {address}\n");
    format!(
        "global\n  nbthread 1\n  maxconn 4096\n\
         defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n\
         frontend tls\n  bind :{port}\n  tcp-request inspect-delay 5s\n  \
         tcp-request content reject if {{ req.ssl_hello_type 1 }} !{{ req.ssl_sni -i {names} }}\n  \
         tcp-request content accept if {{ req.ssl_hello_type 1 }}\n  \
         use_backend short if {{ req.ssl_sni -i {} }}\n  \
         use_backend stream if {{ req.ssl_sni -i {} }}\n\
         {}{}",
        SHORT.0,
        STREAM.0,
        backend("short", SHORT),
        backend("stream", STREAM),
    )
}

fn envoy_config(port: u16) -> String {
    let extensions = "type.googleapis.com/envoy.extensions";
    let chain = |(name, _): End| {
        json!({
            "filter_chain_match": { "server_names": [name] },
            "filters": [{
                "name": "tcp",
                "typed_config": {
                    "@type": format!("{extensions}.filters.network.tcp_proxy.v3.TcpProxy"),
                    "stat_prefix": "out",
                    "cluster": name,
                },
            }],
        })
    };
    let cluster = |(name, address): End| {
        let at = json!({ "address": address.ip(), "port_value": address.port() });
        let endpoint = json!({ "endpoint": { "address": { "socket_address": at } } });
        json!({
            "name": name,
            "type": "STATIC",
            "connect_timeout": "5s",
            "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [endpoint] }] },
        })
    };
    let inspector = format!("{extensions}.filters.listener.tls_inspector.v3.TlsInspector");
    let listener = json!({
        "name": "tls",
        "address": { "socket_address": { "address": "0.0.0.0", "port_value": port } },
        "listener_filters": [{ "name": "tls", "typed_config": { "@type": inspector } }],
        "filter_chains": [chain(SHORT), chain(STREAM)],
    });
    let clusters = [cluster(SHORT), cluster(STREAM)];
    json!({ "static_resources": { "listeners": [listener], "clusters": clusters } }).to_string()
}

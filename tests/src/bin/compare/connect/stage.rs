//! Where `connect` plays: two pods, of which one has an Envoy of its own, and a server behind a route.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use exeat_tests::agent::{Agent, AgentFiles};
use exeat_tests::envoy;
use exeat_tests::node::{Node, Pod, RESOLVER_V4};
use exeat_tests::pod_client::Background;
use exeat_tests::registry::Entry;
use exeat_tests::servers::{DnsServer, Unknown};
use exeat_tests::sidecar;
use serde_json::json;

use super::ENTRIES;
use super::client::Order;
use super::ways::PROXY_MARK;
use crate::half::Half;

pub(crate) const GRANTED: SocketAddr = address(10);
pub(crate) const OTHER: SocketAddr = address(99);
pub(crate) const NAME: &str = "www.example.com";
/// Of all entries.
pub(crate) const PORT: u16 = 443;

const fn address(last: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, last)), PORT)
}

/// What is begun last ends first: fields are dropped in this order.
pub(crate) struct Stage {
    pub(crate) agent: Option<Agent>,
    direct: Half,
    proxied: Half,
    server: Half,
    _envoy: Background,
    pub(crate) files: AgentFiles,
    _dns: DnsServer,
    /// The pod without a proxy, and the one with it.
    pub(crate) pods: [Pod; 2],
    pub(crate) node: Node,
}

impl Stage {
    pub(crate) fn new() -> Result<Self> {
        let mut node = Node::new("compare")?;
        let direct = node.pod("shop", "direct")?;
        let proxied = node.pod("shop", "proxied")?;
        fs::create_dir(proxied.sidecar_cgroup()).context("make the proxy's cgroup")?;
        let resolver = [SocketAddr::new(RESOLVER_V4, 53)];
        let dns = DnsServer::start(node.internet(), &resolver, Unknown::NxDomain)?;
        dns.set(NAME, &[GRANTED.ip()], 3600);
        let this = std::env::current_exe().context("path of this program")?;
        let mut server = node.internet_command(&this)?;
        server.args(["connect-server", &GRANTED.to_string(), &OTHER.to_string()]);
        let server = Half::start(server)?;
        let client = |pod: &Pod| {
            let mut command = pod.command(&this)?;
            command.arg("connect-client");
            Half::start(command)
        };
        Ok(Self {
            agent: None,
            direct: client(&direct)?,
            proxied: client(&proxied)?,
            server,
            _envoy: start_envoy(&node, &proxied)?,
            files: agent_files(&node, &proxied)?,
            _dns: dns,
            pods: [direct, proxied],
            node,
        })
    }

    /// The half in the pod with the proxy, or in the other.
    pub(crate) fn client(&mut self, is_proxied: bool) -> &mut Half {
        if is_proxied { &mut self.proxied } else { &mut self.direct }
    }

    /// What is granted is reached; the rest is not, if it `is_held`, and nothing of it arrives.
    pub(crate) fn check(&mut self, is_proxied: bool, is_held: bool) -> Result<()> {
        let granted: String = self.client(is_proxied).ask(&Order::Try { to: GRANTED })?;
        ensure!(granted == "answered", "{GRANTED}, which is granted: {granted}");
        let before: u64 = self.server.ask(&())?;
        let other: String = self.client(is_proxied).ask(&Order::Try { to: OTHER })?;
        let arrived = self.server.ask::<u64>(&())? - before;
        if is_held {
            ensure!(other != "answered", "{OTHER}, which is not granted, was reached");
            ensure!(arrived == 0, "{arrived} connections to {OTHER} arrived, which is not granted");
        } else {
            ensure!(other == "answered", "{OTHER}, with nothing in the way: {other}");
            ensure!(
                arrived == 1,
                "{arrived} connections to {OTHER} arrived, with nothing in the way"
            );
        }
        Ok(())
    }
}

fn agent_files(node: &Node, proxied: &Pod) -> Result<AgentFiles> {
    let files = AgentFiles::new(node)?;
    files.write_config(&files.config_with_sidecars(node, &[proxied]))?;
    let entry = |number: u16| {
        let name = format!("n{number}");
        Entry::new("shop", &name, &format!("{name}.example.org")).port(PORT, "TLS")
    };
    let mut entries: Vec<_> = (1..ENTRIES).map(entry).collect();
    entries.push(Entry::new("shop", "www", NAME).port(PORT, "TLS"));
    let manifests: Vec<_> = entries.iter().map(Entry::manifest).collect();
    files.put("entries.yaml", &manifests.join("---\n"))?;
    Ok(files)
}

/// An Envoy that is told the original destination, as Istio's is, and carries on what is granted.
fn start_envoy(node: &Node, pod: &Pod) -> Result<Background> {
    let extensions = "type.googleapis.com/envoy.extensions";
    let carry = |cluster: &str| {
        json!([{
            "name": "tcp",
            "typed_config": {
                "@type": format!("{extensions}.filters.network.tcp_proxy.v3.TcpProxy"),
                "stat_prefix": "out",
                "cluster": cluster,
            },
        }])
    };
    let original = format!("{extensions}.filters.listener.original_dst.v3.OriginalDst");
    let at = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), sidecar::PORT);
    let granted = json!({
        "prefix_ranges": [{ "address_prefix": GRANTED.ip(), "prefix_len": 32 }],
        "destination_port": GRANTED.port(),
    });
    let config = json!({ "static_resources": {
        "listeners": [{
            "name": "taker",
            "address": { "socket_address": { "address": at.ip(), "port_value": at.port() } },
            "listener_filters": [{ "name": "original", "typed_config": { "@type": original } }],
            "filter_chains": [{ "filter_chain_match": granted, "filters": carry("passthrough") }],
            "default_filter_chain": { "filters": carry("blackhole") },
        }],
        "clusters": [
            {
                "name": "passthrough",
                "type": "ORIGINAL_DST",
                "lb_policy": "CLUSTER_PROVIDED",
                "connect_timeout": "5s",
                // By which iptables knows what comes from the proxy.
                "upstream_bind_config": { "socket_options": [
                    { "level": 1, "name": 36, "int_value": PROXY_MARK, "state": "STATE_PREBIND" },
                ] },
            },
            { "name": "blackhole", "type": "STATIC", "connect_timeout": "1s" },
        ],
    } });
    let path = node.run().dir().join("envoy.json");
    fs::write(&path, config.to_string()).context("write Envoy's configuration")?;
    envoy::start(pod.sidecar_command(envoy::binary()?)?, &path, 1, &pod.netns, &[at])
}

//! The scene most tests play in: two pods of different namespaces, a trusted resolver, a
//! resolver nobody trusts, and servers on every address of the internet.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};

use crate::node::{Node, Pod, RESOLVER_V4, RESOLVER_V6, STRANGER_RESOLVER};
use crate::servers::{DnsServer, EchoServer, HttpServer, Unknown};
use crate::tap::Tap;

/// TCP ports with plain HTTP. 8080 and 5432 are there so that a leak would be noticed.
pub const PLAIN_PORTS: [u16; 3] = [80, 8080, 5432];
pub const TLS_PORTS: [u16; 2] = [443, 8443];
/// The UDP port of the echo servers.
pub const ECHO_PORT: u16 = 4000;
/// What the resolver nobody trusts says to every question.
pub const STRANGERS_ANSWER: &str = "203.0.113.66";
/// Addresses with a UDP echo server.
pub const ECHO_ADDRESSES: [&str; 4] =
    ["203.0.113.10", "2001:db8::10", "203.0.113.30", "2001:db8::30"];

/// Servers end before the node does: fields are dropped in this order.
#[derive(Debug)]
pub struct World {
    pub dns: DnsServer,
    pub stranger: DnsServer,
    pub http: HttpServer,
    pub echo: EchoServer,
    pub tap: Tap,
    /// Namespace `shop`, unless the test says otherwise.
    pub web: Pod,
    /// Namespace `bank`, unless the test says otherwise.
    pub ledger: Pod,
    pub node: Node,
}

impl World {
    pub fn new(test: &str) -> Result<Self> {
        Self::with_pods(test, [("shop", "web"), ("bank", "ledger")])
    }

    /// The same with pods of other namespaces and names, in the places of `web` and `ledger`.
    pub fn with_pods(test: &str, pods: [(&str, &str); 2]) -> Result<Self> {
        let mut node = Node::new(test)?;
        let [web, ledger] = pods.map(|(namespace, name)| node.pod(namespace, name));
        Self::around(node, web?, ledger?)
    }

    /// The same with workloads that have no place on the wire: `web` is on the node's own network,
    /// `ledger` in a namespace of its own.
    pub fn without_interfaces(test: &str) -> Result<Self> {
        let mut node = Node::new(test)?;
        let web = node.host_workload("shop", "web")?;
        let ledger = node.pod_without_interface("bank", "ledger")?;
        Self::around(node, web, ledger)
    }

    fn around(node: Node, web: Pod, ledger: Pod) -> Result<Self> {
        let internet = node.internet();
        let resolvers = [RESOLVER_V4, RESOLVER_V6].map(|ip| SocketAddr::new(ip, 53));
        let dns = DnsServer::start(internet, &resolvers, Unknown::NxDomain)?;
        let answer = Unknown::Address(ip(STRANGERS_ANSWER)?);
        let stranger = [SocketAddr::new(STRANGER_RESOLVER, 53)];
        let stranger = DnsServer::start(internet, &stranger, answer)?;
        let http = HttpServer::start(internet, &PLAIN_PORTS, &TLS_PORTS)?;
        let echo_at = ECHO_ADDRESSES
            .iter()
            .map(|text| Ok(SocketAddr::new(ip(text)?, ECHO_PORT)))
            .collect::<Result<Vec<_>>>()?;
        let echo = EchoServer::start(internet, &echo_at)?;
        let tap = Tap::start(&node)?;
        Ok(Self { dns, stranger, http, echo, tap, web, ledger, node })
    }
}

fn ip(text: &str) -> Result<IpAddr> {
    text.parse().with_context(|| format!("address {text}"))
}

//! Where `gateway` plays: a client in one pod, the gateways in another, a server on the internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use exeat_tests::node::{Node, RESOLVER_V4};
use exeat_tests::pod_client::Background;
use exeat_tests::servers::{DnsServer, Unknown};
use exeat_tests::wait;

use super::client::{Order, Way};
use super::contenders::{Contender, start};
use crate::half::Half;
use crate::machine;

/// A name and its address.
pub(crate) type End = (&'static str, SocketAddr);
pub(crate) const SHORT: End = ("www.example.com", address(10));
pub(crate) const STREAM: End = ("stream.example.com", address(20));
pub(crate) const OTHER: End = ("other.example.com", address(99));
const NEVER_DIALLED: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x99));
const UP_WITHIN: Duration = Duration::from_secs(30);

const fn address(last: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, last)), 443)
}

/// What is begun last ends first: fields are dropped in this order.
pub(crate) struct Stage {
    pub(crate) client: Half,
    server: Half,
    gateways: Vec<(Contender, Background)>,
    _dns: DnsServer,
    /// Of the pod in which the gateways are.
    gateway: IpAddr,
    _node: Node,
}

impl Stage {
    /// The gateways are kept to one core; what this process starts is where it is itself.
    pub(crate) fn new(core: usize) -> Result<Self> {
        let mut node = Node::new("compare")?;
        let web = node.pod("shop", "web")?;
        let egress = node.pod("istio-egress", "egress")?;
        let resolver = [SocketAddr::new(RESOLVER_V4, 53)];
        let dns = DnsServer::start(node.internet(), &resolver, Unknown::NxDomain)?;
        for (name, address) in [SHORT, STREAM, OTHER] {
            // Both families, for an answer without addresses would not be remembered: this resolver does
            // not say for how long it holds. The first is the one that is dialled.
            dns.set(name, &[address.ip(), NEVER_DIALLED], 3600);
        }
        let this = std::env::current_exe().context("path of this program")?;
        let mut server = node.internet_command(&this)?;
        server.arg("gateway-server").args([SHORT, STREAM, OTHER].map(|it| it.1.to_string()));
        let mut client = web.command(&this)?;
        client.arg("gateway-client");
        let (server, client) = (Half::start(server)?, Half::start(client)?);
        let here = machine::cores()?;
        // What is started from here on inherits it.
        machine::keep_to(core, 0)?;
        let gateways = [Contender::HaProxy, Contender::Exeat, Contender::Envoy]
            .map(|it| Ok((it, start(it, &node, &egress)?)));
        let gateways = gateways.into_iter().collect::<Result<Vec<_>>>()?;
        machine::keep_to(*here.first().context("this process may use no core")?, 0)?;
        let gateway = egress.v4.into();
        let mut stage = Self { client, server, gateways, _dns: dns, gateway, _node: node };
        for contender in [Contender::HaProxy, Contender::Exeat, Contender::Envoy] {
            let way = stage.way(contender, SHORT);
            let is_up = wait::holds(UP_WITHIN, || {
                let tried = stage.client.ask::<String>(&Order::Try { to: way.clone() });
                tried.is_ok_and(|it| it == "answered")
            });
            ensure!(is_up, "{contender:?} does not carry");
        }
        Ok(stage)
    }

    /// How the client gets to one of the ends.
    pub(crate) fn way(&self, contender: Contender, (name, address): End) -> Way {
        let to = contender.port().map_or(address, |port| SocketAddr::new(self.gateway, port));
        Way { to, name: name.to_owned() }
    }

    /// What is granted is reached; the rest is not, if there is a gateway, and nothing of it arrives.
    pub(crate) fn check(&mut self, contender: Contender) -> Result<()> {
        let is_held = contender != Contender::None;
        let granted = Order::Try { to: self.way(contender, SHORT) };
        let granted: String = self.client.ask(&granted)?;
        ensure!(granted == "answered", "{}, which is granted: {granted}", SHORT.0);
        let before: u64 = self.server.ask(&())?;
        let other = Order::Try { to: self.way(contender, OTHER) };
        let other: String = self.client.ask(&other)?;
        let arrived = self.server.ask::<u64>(&())? - before;
        let (expected, count) = if is_held { ("refused", 0) } else { ("answered", 1) };
        ensure!(other == expected, "{}, which should be {expected}: {other}", OTHER.0);
        ensure!(arrived == count, "{arrived} connections for {} arrived", OTHER.0);
        Ok(())
    }

    /// What the threads of a gateway have run for so far.
    pub(crate) fn cpu_time(&self, contender: Contender) -> Result<Option<Duration>> {
        let process = self.gateways.iter().find(|(it, _)| *it == contender);
        process.map(|(_, process)| machine::cpu_time(process.id())).transpose()
    }
}

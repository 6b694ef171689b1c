//! Where the matrix plays: a world with two more pods on a bridge, receivers that keep every frame,
//! and a registry that declares a few addresses.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;

use super::row::{Aim, Port, Row, Start, Toward, Version};
use super::rows::link_local;
use crate::agent::{Agent, AgentFiles};
use crate::capture::{Capture, Mark, Seen};
use crate::frame::Link;
use crate::node::Pod;
use crate::registry::Entry;
use crate::servers::{EchoServer, HttpServer};
use crate::wait;
use crate::world::{ECHO_PORT, World};

pub(super) const ALLOWED_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 40);
const ALLOWED_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x40);
/// Declared as well, so that a twin's destination is not that of the allowed part of its way.
const TWIN: Pair = (
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 44)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x44)),
);
const OF_LEDGER: Pair = (
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 41)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x41)),
);
const OF_WEB: Pair = (
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 42)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x42)),
);
const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
/// Declared; the resolver that nodes have of their own is usually here.
const LINK_LOCAL_TWIN: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 20, 10));
/// Declared, as a group may be.
const GROUP_TWIN: Pair = (
    IpAddr::V4(Ipv4Addr::new(239, 1, 2, 3)),
    IpAddr::V6(Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 0x1234)),
);
/// Where the captures' barriers go. Nothing else does.
const BARRIER: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)), BARRIER_PORT);
const BARRIER_PORT: u16 = 9;
const HTTP_PORT: u16 = 80;
const MPTCP_PORT: u16 = 8081;
/// Servers of the neighbour listen at the ports of the internet, which nobody declared there, and
/// this much above them, which is declared.
const NEIGHBOURS_OFFSET: u16 = 1000;
/// The first packets of an interface wait for its addresses and neighbours.
const WARM_WITHIN: Duration = Duration::from_secs(20);

/// An address of each IP version.
type Pair = (IpAddr, IpAddr);

/// The agent ends first, the world last.
pub(super) struct Stage {
    pub(super) agent: Option<Agent>,
    pub(super) files: AgentFiles,
    internet: Capture,
    neighbour: Capture,
    _echo: [EchoServer; 2],
    _http: [HttpServer; 2],
    /// On the bridge; `right` is the neighbour of `left`.
    left: Pod,
    right: Pod,
    /// How many addresses nobody declared were taken so far.
    strangers: u16,
    pub(super) world: World,
}

impl Stage {
    pub(super) fn new() -> Result<Self> {
        let mut world = World::new("leaks")?;
        let left = world.node.bridged_pod("shop", "left")?;
        let right = world.node.bridged_pod("bank", "right")?;
        let internet = world.node.internet().clone();
        let echo_at: Vec<SocketAddr> = [ALLOWED_V4.into(), ALLOWED_V6.into()]
            .into_iter()
            .chain([TWIN, OF_LEDGER, OF_WEB].into_iter().flat_map(|(v4, v6)| [v4, v6]))
            .map(|ip| SocketAddr::new(ip, ECHO_PORT))
            .collect();
        let local = [METADATA, LINK_LOCAL_TWIN].map(|ip| format!("route add local {ip} dev lo\n"));
        internet.ip(&local.concat())?;
        let neighbours: Vec<SocketAddr> = [IpAddr::from(right.v4), right.v6.into()]
            .into_iter()
            .flat_map(|ip| {
                [0, NEIGHBOURS_OFFSET].map(|offset| SocketAddr::new(ip, ECHO_PORT + offset))
            })
            .collect();
        let echo = [
            EchoServer::start(&internet, &echo_at)?,
            EchoServer::start(&right.netns, &neighbours)?,
        ];
        let http = [
            HttpServer::start_mptcp(&internet, MPTCP_PORT)?,
            HttpServer::start(&right.netns, &[HTTP_PORT, HTTP_PORT + NEIGHBOURS_OFFSET], &[])?,
        ];
        let files = AgentFiles::new(&world.node)?;
        let stage = Self {
            agent: None,
            internet: Capture::start(&internet, "uplink")?,
            neighbour: Capture::start(&right.netns, "eth0")?,
            files,
            _echo: echo,
            _http: http,
            left,
            right,
            strangers: 0,
            world,
        };
        stage.loosen()?;
        stage.declare()?;
        stage.make_cgroups()?;
        stage.warm_up()?;
        Ok(stage)
    }

    /// Turns off what the machine itself might hold an attempt with: that would be no doing of
    /// exeat, and on another machine it may be off.
    fn loosen(&self) -> Result<()> {
        let node = self.world.node.netns();
        for pod in [&self.world.web, &self.world.ledger, &self.left, &self.right] {
            // Who may use ping sockets; and fast open without asking for a cookie first.
            pod.netns.sysctl("net/ipv4/ping_group_range", "0 2147483647")?;
            pod.netns.sysctl("net/ipv4/tcp_fastopen", "5")?;
            pod.netns.ip("mptcp limits set subflows 4 add_addr_accepted 4\n")?;
            let interface = format!("net/ipv4/conf/{}", pod.interface);
            node.sysctl(&format!("{interface}/accept_source_route"), "1")?;
            node.sysctl(&format!("{interface}/rp_filter"), "0")?;
        }
        for (key, value) in [("accept_source_route", "1"), ("rp_filter", "0")] {
            node.sysctl(&format!("net/ipv4/conf/all/{key}"), value)?;
        }
        // Where the bridge hands frames to the packet filter, that drops what it cannot parse.
        for family in ["arp", "ip", "ip6"] {
            let key = format!("net/bridge/bridge-nf-call-{family}tables");
            if node.run(|| Path::new("/proc/sys").join(&key).exists())? {
                node.sysctl(&key, "0")?;
            }
        }
        Ok(())
    }

    fn declare(&self) -> Result<()> {
        let open = |namespace: &str, name: &str, addresses: &[IpAddr]| {
            let host = format!("{name}.example.com");
            let entry = Entry::new(namespace, name, &host)
                .port(HTTP_PORT, "TCP")
                .port(MPTCP_PORT, "TCP")
                .port(ECHO_PORT, "UDP");
            addresses.iter().fold(entry, |entry, ip| entry.address(&ip.to_string()))
        };
        let mut everybodys = vec![ALLOWED_V4.into(), ALLOWED_V6.into(), LINK_LOCAL_TWIN];
        everybodys.extend([TWIN.0, TWIN.1, GROUP_TWIN.0, GROUP_TWIN.1]);
        let barriers = Entry::new("shop", "barriers", "barriers.example.com")
            .address(&BARRIER.ip().to_string())
            .port(BARRIER_PORT, "UDP");
        let rights = Entry::new("shop", "rights", "rights.example.com")
            .address(&self.right.v4.to_string())
            .address(&self.right.v6.to_string())
            .port(BARRIER_PORT, "UDP")
            .port(HTTP_PORT + NEIGHBOURS_OFFSET, "TCP")
            .port(ECHO_PORT + NEIGHBOURS_OFFSET, "UDP");
        for entry in [
            open("shop", "everybodys", &everybodys),
            open("bank", "ledgers", &[OF_LEDGER.0, OF_LEDGER.1]).private(),
            open("shop", "webs", &[OF_WEB.0, OF_WEB.1]).private(),
            barriers,
            rights,
        ] {
            self.files.put(&entry.file(), &entry.manifest())?;
        }
        Ok(())
    }

    fn make_cgroups(&self) -> Result<()> {
        let web = &self.world.web;
        for folder in [nested(web), threads(web)] {
            fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        }
        let kind = threads(web).join("cgroup.type");
        fs::write(&kind, "threaded").with_context(|| format!("write {}", kind.display()))
    }

    /// Waits until each pod reaches its receiver in both IP versions.
    fn warm_up(&self) -> Result<()> {
        let targets = [
            (&self.world.web, ALLOWED_V4.into()),
            (&self.world.web, ALLOWED_V6.into()),
            (&self.left, self.right.v4.into()),
            (&self.left, self.right.v6.into()),
        ];
        for (pod, ip) in targets {
            let warm = wait::holds(WARM_WITHIN, || {
                pod.udp(ip, ECHO_PORT).is_ok_and(|reached| reached.is_ok())
            });
            ensure!(warm, "{} does not reach {ip}, and nothing holds it yet", pod.name);
        }
        Ok(())
    }

    pub(super) fn start_agent(&mut self) -> Result<()> {
        self.agent = Some(self.files.start(&self.world.node)?);
        Ok(())
    }

    /// The pod that tries a row.
    pub(super) fn pod(&self, row: &Row) -> &Pod {
        if row.toward.stays_on_link() { &self.left } else { &self.world.web }
    }

    /// What the row's attempt aims at, where it must not arrive.
    pub(super) fn forbidden(&mut self, row: &Row, version: Version) -> Result<Aim> {
        let ip = match row.toward {
            Toward::Stranger => self.stranger(version),
            Toward::OfLedger => pick(OF_LEDGER, version),
            Toward::OfWeb => pick(OF_WEB, version),
            Toward::Allowed | Toward::NeighbourHardware => pick(TWIN, version),
            Toward::Neighbour => pick((self.right.v4.into(), self.right.v6.into()), version),
            Toward::NeighbourLinkLocal => link_local(self.right.mac).into(),
            Toward::Group(text) => text.parse().with_context(|| format!("address {text}"))?,
            Toward::Metadata => METADATA,
        };
        self.aim(row, version, ip)
    }

    /// The same where it is allowed.
    pub(super) fn allowed(&self, row: &Row, version: Version) -> Result<Aim> {
        let ip = match row.toward {
            Toward::Group(_) => pick(GROUP_TWIN, version),
            Toward::Metadata => LINK_LOCAL_TWIN,
            Toward::Neighbour => pick((self.right.v4.into(), self.right.v6.into()), version),
            Toward::Stranger
            | Toward::OfLedger
            | Toward::OfWeb
            | Toward::Allowed
            | Toward::NeighbourHardware
            | Toward::NeighbourLinkLocal => pick(TWIN, version),
        };
        let mut aim = self.aim(row, version, ip)?;
        if row.toward == Toward::Neighbour {
            aim.to.set_port(aim.to.port() + NEIGHBOURS_OFFSET);
        }
        Ok(aim)
    }

    fn aim(&self, row: &Row, version: Version, ip: IpAddr) -> Result<Aim> {
        let pod = self.pod(row);
        let someone = if row.toward.stays_on_link() { &self.right } else { &self.world.ledger };
        let port = match row.port {
            Port::Http => HTTP_PORT,
            Port::Echo => ECHO_PORT,
            Port::Mptcp => MPTCP_PORT,
        };
        let gateway =
            (Ipv4Addr::new(10, 9, 1, 1).into(), Ipv6Addr::new(0xfd00, 9, 1, 0, 0, 0, 0, 1).into());
        let mut to = SocketAddr::new(dressed(ip, version), port);
        if let SocketAddr::V6(to) = &mut to
            && to.ip().is_unicast_link_local()
        {
            to.set_scope_id(pod.netns.run(|| if_nametoindex("eth0"))??);
        }
        let via = dressed(pick((ALLOWED_V4.into(), ALLOWED_V6.into()), version), version);
        Ok(Aim {
            own: pick((pod.v4.into(), pod.v6.into()), version),
            link: Link { source: pod.mac, destination: pod.gateway_mac },
            to,
            via: SocketAddr::new(via, port),
            someone: pick((someone.v4.into(), someone.v6.into()), version),
            someone_mac: someone.mac,
            gateway: pick(gateway, version),
            protocol: if ip.is_ipv4() { row.protocols[0] } else { row.protocols[1] },
        })
    }

    /// An address that was never tried before.
    fn stranger(&mut self, version: Version) -> IpAddr {
        self.strangers += 1;
        let [high, low] = self.strangers.to_be_bytes();
        let v4 = Ipv4Addr::new(198, 18, high, low);
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, self.strangers);
        pick((v4.into(), v6.into()), version)
    }

    /// The server of MPTCP then tells its clients that it is to be found there as well.
    pub(super) fn announce(&self, ip: IpAddr) -> Result<()> {
        let internet = self.world.node.internet();
        internet.ip(&format!("mptcp endpoint flush\nmptcp endpoint add {ip} signal\n"))
    }

    /// The cgroup in which the attempt's process begins.
    pub(super) fn home(&self, row: &Row, start: Start) -> PathBuf {
        let pod = self.pod(row);
        match start {
            Start::Pod | Start::Moving => pod.cgroup.join("app"),
            Start::Outside | Start::Joining => self.world.node.run().cgroup().join("outside"),
            Start::Nested => nested(pod),
            Start::Threaded => pod.cgroup.join("pool"),
        }
    }

    /// The cgroup it goes to.
    pub(super) fn next(&self, row: &Row, start: Start) -> Option<PathBuf> {
        match start {
            Start::Pod | Start::Outside | Start::Nested => None,
            Start::Joining => Some(self.pod(row).cgroup.join("app")),
            Start::Moving => Some(self.world.ledger.cgroup.join("app")),
            Start::Threaded => Some(threads(self.pod(row))),
        }
    }

    fn receiver(&self, row: &Row) -> &Capture {
        if row.toward.stays_on_link() { &self.neighbour } else { &self.internet }
    }

    pub(super) fn mark(&self, row: &Row) -> Mark {
        self.receiver(row).mark()
    }

    /// Frames of which `wanted` says that they are the attempt's, after all of them have arrived.
    pub(super) fn count(
        &self,
        row: &Row,
        since: Mark,
        wanted: impl Fn(&Seen) -> bool,
    ) -> Result<u64> {
        let receiver = self.receiver(row);
        let to = if row.toward.stays_on_link() {
            SocketAddr::new(self.right.v4.into(), BARRIER_PORT)
        } else {
            BARRIER
        };
        receiver.barrier(&self.pod(row).netns, to)?;
        Ok(receiver.count(since, |seen| !seen.is_datagram_to(to) && wanted(seen)))
    }
}

fn nested(pod: &Pod) -> PathBuf {
    pod.cgroup.join("app/a/b/c")
}

fn threads(pod: &Pod) -> PathBuf {
    Path::new(&pod.cgroup).join("pool/threads")
}

fn pick((v4, v6): Pair, version: Version) -> IpAddr {
    match version {
        Version::V4 | Version::Mapped => v4,
        Version::V6 => v6,
    }
}

/// An address as the call names it.
fn dressed(ip: IpAddr, version: Version) -> IpAddr {
    match (ip, version) {
        (IpAddr::V4(ip), Version::Mapped) => ip.to_ipv6_mapped().into(),
        _ => ip,
    }
}

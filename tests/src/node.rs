//! A node with its pods and the internet beyond, out of network namespaces.
//!
//! ```text
//!  pod netns          node netns                          internet netns
//!  eth0 ───────────── veth-NAME   forwarding   uplink ─── uplink   every documentation address
//!  10.9.0.N/32        169.254.1.1              100.64.0.1 100.64.0.2
//!  fd00:9::N/128      fe80::1                  fd00:64::1 fd00:64::2
//! ```
//!
//! A pod has a point-to-point veth, as a routing CNI makes them, or shares a link with others, as
//! on the bridge of other CNIs (10.9.1.N/24, `fd00:9:1::N/64`). Its processes run in a container
//! cgroup below the pod's cgroup, as the kubelet lays them out.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::frame::Mac;
use crate::netns::NetNs;
use crate::run::RunGuard;

/// The resolver the pods are told to use, and the one the agent trusts.
pub const RESOLVER_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 53));
pub const RESOLVER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53));
/// A resolver that answers everything and that nobody declared.
pub const STRANGER_RESOLVER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 53));

/// What the internet answers for: documentation prefixes, and the benchmark prefix where a
/// test needs thousands of addresses (RFC 5737, RFC 3849, RFC 2544).
const INTERNET: [&str; 5] =
    ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15", "2001:db8::/32"];

/// The node's way to the internet, and its addresses there.
const UPLINK: &str = "uplink";
const UPLINK_V4: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);
const UPLINK_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x64, 0, 0, 0, 0, 0, 1);

/// The bridge that some pods share, its addresses and its hardware address.
const BRIDGE: &str = "cni0";
const BRIDGE_V4: Ipv4Addr = Ipv4Addr::new(10, 9, 1, 1);
const BRIDGE_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 9, 1, 0, 0, 0, 0, 1);
const BRIDGE_MAC: Mac = [2, 0, 0, 0, 1, 0];

/// Everything is removed when this is dropped.
#[derive(Debug)]
pub struct Node {
    netns: NetNs,
    internet: NetNs,
    pods: Vec<Pod>,
    /// Whether the bridge is there.
    bridged: bool,
    // Last, so that it is dropped last.
    run: RunGuard,
}

/// A pod of the node: a network namespace, a veth pair, and a cgroup.
#[derive(Clone, Debug)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub netns: NetNs,
    /// The pod's cgroup. Its processes are in the group `app` below it.
    pub cgroup: PathBuf,
    /// The host side of the veth pair, in the node's namespace; or where the node itself sends.
    pub interface: String,
    /// Whether the agent is told of the interface.
    pub is_held_on_wire: bool,
    /// What the agent is told of its network namespace: nothing, where that is the node's.
    pub own_netns: Option<PathBuf>,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
    pub mac: Mac,
    /// Where it sends what leaves its link.
    pub gateway_mac: Mac,
    resolv_conf: PathBuf,
}

impl Node {
    /// Makes a node and an internet, with no pods yet.
    pub fn new(test: &str) -> Result<Self> {
        let run = RunGuard::new(test)?;
        let netns = NetNs::add(&format!("{}-node", run.name()))?;
        let internet = NetNs::add(&format!("{}-internet", run.name()))?;
        for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            netns.sysctl(&format!("net/{key}"), "1")?;
        }
        for family in ["ipv4", "ipv6"] {
            // Servers bind to addresses which only a route makes local.
            internet.sysctl(&format!("net/{family}/ip_nonlocal_bind"), "1")?;
        }
        netns.ip(&format!(
            "link add uplink type veth peer name uplink netns {}\n\
             addr add 100.64.0.1/30 dev uplink\n\
             addr add fd00:64::1/126 dev uplink nodad\n\
             link set uplink up\n",
            internet.name()
        ))?;
        let local = INTERNET.map(|prefix| format!("route add local {prefix} dev lo\n")).concat();
        internet.ip(&format!(
            "addr add 100.64.0.2/30 dev uplink\n\
             addr add fd00:64::2/126 dev uplink nodad\n\
             link set uplink up\n\
             route add 10.9.0.0/16 via 100.64.0.1\n\
             route add fd00:9::/32 via fd00:64::1\n\
             {local}"
        ))?;
        netns.ip("route add default via 100.64.0.2\nroute add default via fd00:64::2\n")?;
        for group in ["pods", "agent", "outside"] {
            let path = run.cgroup().join(group);
            fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        }
        Ok(Self { netns, internet, pods: Vec::new(), bridged: false, run })
    }

    /// Adds a pod, with its veth pair, routes and cgroup.
    pub fn pod(&mut self, namespace: &str, name: &str) -> Result<Pod> {
        let number = self.next_number()?;
        let v4 = Ipv4Addr::new(10, 9, 0, number);
        let v6 = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, number.into());
        let pod = self.bare_pod(namespace, name, (v4, v6), [2, 0, 0, 0, 1, number])?;
        let interface = &pod.interface;
        self.netns.ip(&format!(
            "addr add 169.254.1.1/32 dev {interface}\n\
             addr add fe80::1/64 dev {interface} nodad\n\
             link set {interface} up\n\
             route add {v4}/32 dev {interface}\n\
             route add {v6}/128 dev {interface}\n",
        ))?;
        pod.netns.ip(&format!(
            "addr add {v4}/32 dev eth0\n\
             addr add {v6}/128 dev eth0 nodad\n\
             link set eth0 up\n\
             route add default via 169.254.1.1 dev eth0 onlink\n\
             route add default via fe80::1 dev eth0 onlink\n"
        ))?;
        Ok(pod)
    }

    /// Adds a pod whose veth the agent is not told of: as with macvlan, ipvlan or SR-IOV, there
    /// is no place on the host that its packets pass.
    pub fn pod_without_interface(&mut self, namespace: &str, name: &str) -> Result<Pod> {
        let mut pod = self.pod(namespace, name)?;
        pod.is_held_on_wire = false;
        pod.own_netns = Some(Path::new("/run/netns").join(pod.netns.name()));
        if let Some(last) = self.pods.last_mut() {
            *last = pod.clone();
        }
        Ok(pod)
    }

    /// Adds a workload on the node's own network: a cgroup and no more.
    pub fn host_workload(&mut self, namespace: &str, name: &str) -> Result<Pod> {
        let (cgroup, resolv_conf) = self.place(name)?;
        let pod = Pod {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            netns: self.netns.clone(),
            cgroup,
            interface: UPLINK.to_owned(),
            is_held_on_wire: false,
            own_netns: None,
            v4: UPLINK_V4,
            v6: UPLINK_V6,
            // It has no link of its own.
            mac: Mac::default(),
            gateway_mac: Mac::default(),
            resolv_conf,
        };
        self.pods.push(pod.clone());
        Ok(pod)
    }

    /// Adds a pod on the bridge, which is made for the first one.
    pub fn bridged_pod(&mut self, namespace: &str, name: &str) -> Result<Pod> {
        if !self.bridged {
            let mac = shown(BRIDGE_MAC);
            // It floods groups to all ports, also those that nobody has asked for.
            self.netns.ip(&format!(
                "link add {BRIDGE} address {mac} type bridge mcast_snooping 0\n\
                 addr add {BRIDGE_V4}/24 dev {BRIDGE}\n\
                 addr add {BRIDGE_V6}/64 dev {BRIDGE} nodad\n\
                 link set {BRIDGE} up\n"
            ))?;
            self.bridged = true;
        }
        let number = self.next_number()?;
        let v4 = Ipv4Addr::new(10, 9, 1, number);
        let v6 = Ipv6Addr::new(0xfd00, 9, 1, 0, 0, 0, 0, number.into());
        let pod = self.bare_pod(namespace, name, (v4, v6), BRIDGE_MAC)?;
        self.netns.ip(&format!("link set {} master {BRIDGE} up\n", pod.interface))?;
        pod.netns.ip(&format!(
            "addr add {v4}/24 dev eth0\n\
             addr add {v6}/64 dev eth0 nodad\n\
             link set eth0 up\n\
             route add default via {BRIDGE_V4}\n\
             route add default via {BRIDGE_V6}\n"
        ))?;
        Ok(pod)
    }

    fn next_number(&self) -> Result<u8> {
        u8::try_from(self.pods.len() + 2).context("a node has room for 250 pods")
    }

    /// A pod whose two ends of a veth pair are down and have no addresses yet.
    fn bare_pod(
        &mut self,
        namespace: &str,
        name: &str,
        (v4, v6): (Ipv4Addr, Ipv6Addr),
        gateway_mac: Mac,
    ) -> Result<Pod> {
        let number = self.next_number()?;
        let netns = NetNs::add(&format!("{}-{name}", self.run.name()))?;
        let interface = format!("veth-{name}");
        let mac = [2, 0, 0, 0, 2, number];
        self.netns.ip(&format!(
            "link add {interface} address {host} type veth peer name eth0 address {inside} netns {}\n",
            netns.name(),
            host = shown([2, 0, 0, 0, 1, number]),
            inside = shown(mac),
        ))?;
        let (cgroup, resolv_conf) = self.place(name)?;
        let pod = Pod {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            netns,
            cgroup,
            interface,
            is_held_on_wire: true,
            own_netns: None,
            v4,
            v6,
            mac,
            gateway_mac,
            resolv_conf,
        };
        self.pods.push(pod.clone());
        Ok(pod)
    }

    /// Makes the cgroup of a workload and its `resolv.conf`.
    fn place(&self, name: &str) -> Result<(PathBuf, PathBuf)> {
        let cgroup = self.cgroup_root().join(name);
        let app = cgroup.join("app");
        fs::create_dir_all(&app).with_context(|| format!("make {}", app.display()))?;
        let resolv_conf = self.run.dir().join(format!("resolv.conf-{name}"));
        fs::write(&resolv_conf, format!("nameserver {RESOLVER_V4}\n"))?;
        Ok((cgroup, resolv_conf))
    }

    /// The namespace in which the agent runs.
    pub fn netns(&self) -> &NetNs {
        &self.netns
    }

    pub fn internet(&self) -> &NetNs {
        &self.internet
    }

    pub fn pods(&self) -> &[Pod] {
        &self.pods
    }

    pub fn run(&self) -> &RunGuard {
        &self.run
    }

    /// The parent of the pods' cgroups: what the agent is told to enforce.
    pub fn cgroup_root(&self) -> PathBuf {
        self.run.cgroup().join("pods")
    }

    /// A command in the node's namespace, outside of what is enforced.
    pub fn command(&self, program: &Path) -> Result<Command> {
        self.netns.command(program, &self.run.cgroup().join("agent"))
    }

    /// A command on the internet.
    pub fn internet_command(&self, program: &Path) -> Result<Command> {
        self.internet.command(program, &self.run.cgroup().join("outside"))
    }
}

impl Pod {
    /// A command that runs as a process of this pod.
    pub fn command(&self, program: impl AsRef<Path>) -> Result<Command> {
        let app = self.cgroup.join("app");
        self.netns.command_with_resolver(program.as_ref(), &app, Some(&self.resolv_conf))
    }

    /// The cgroup of its proxy's container, beside that of its processes.
    pub fn sidecar_cgroup(&self) -> PathBuf {
        self.cgroup.join("sidecar")
    }

    /// A command that runs as a process of the pod's proxy. Makes its cgroup.
    pub fn sidecar_command(&self, program: impl AsRef<Path>) -> Result<Command> {
        let cgroup = self.sidecar_cgroup();
        fs::create_dir_all(&cgroup).with_context(|| format!("make {}", cgroup.display()))?;
        self.netns.command_with_resolver(program.as_ref(), &cgroup, Some(&self.resolv_conf))
    }

    pub fn ip(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4.into(),
            Family::V6 => self.v6.into(),
        }
    }
}

/// An IP version, where a test runs once for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// A hardware address as `ip` reads it.
fn shown(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

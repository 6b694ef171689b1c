//! What a kubelet, a runtime and a CNI plugin leave on a node when a pod starts, in their order:
//! cgroup, network namespace, veth, what libcni keeps, sandbox, container.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, Result};
use exeat_agent::workloads::WorkloadKey;
use exeat_agent::workloads::pod::Pod;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::cgroup;
use crate::netns::{NetNs, ip};
use crate::node::Node;
use crate::pod_client::{Background, probe_binary, run_probe};

/// How the kubelet names cgroups (`cgroupDriver` of its configuration).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    Cgroupfs,
    Systemd,
}

/// The kubelet of a node. Its pods are gone when they are dropped.
#[derive(Clone, Debug)]
pub struct Kubelet {
    driver: Driver,
    root: PathBuf,
    results: PathBuf,
    run: String,
    node: NetNs,
}

/// A pod, of which some parts may not be there yet.
#[derive(Debug)]
pub struct Started {
    pub pod: Pod,
    pub v4: Ipv4Addr,
    /// Its network namespace, which the runtime makes.
    pub netns: NetNs,
    kubelet: Kubelet,
    number: u16,
    cgroup: PathBuf,
    sandbox: Option<Background>,
}

impl Kubelet {
    pub fn new(node: &Node, driver: Driver) -> Result<Self> {
        let name = match driver {
            Driver::Cgroupfs => "kubepods",
            Driver::Systemd => "kubepods.slice",
        };
        let root = node.cgroup_root().join(name);
        let results = node.run().dir().join("cni");
        for folder in [&root, &results] {
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        let run = node.run().name().to_owned();
        Ok(Self { driver, root, results, run, node: node.netns().clone() })
    }

    /// Below it all pods are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where libcni keeps what it connected.
    pub fn results(&self) -> &Path {
        &self.results
    }

    /// A pod that the kubelet knows of, with a network namespace that nobody knows whose it is.
    pub fn pod(&self, namespace: &str, name: &str, number: u16) -> Result<Started> {
        let uid = format!("{number:08x}-0000-4000-8000-{:012x}", std::process::id());
        let netns = NetNs::add(&format!("{}-{name}", self.run))?;
        let [high, low] = (number + 256).to_be_bytes();
        Ok(Started {
            pod: Pod {
                key: WorkloadKey { namespace: namespace.to_owned(), name: name.to_owned() },
                labels: BTreeMap::from([("app".to_owned(), name.to_owned())]),
                addresses: Vec::new(),
                is_host_network: false,
                sidecar: None,
                is_ambient: false,
                uid: uid.clone(),
            },
            v4: Ipv4Addr::new(10, 9, high, low),
            netns,
            kubelet: self.clone(),
            number,
            cgroup: self.root.join(self.folder(number, &uid)),
            sandbox: None,
        })
    }

    /// By the quality of service that every third pod has.
    fn folder(&self, number: u16, uid: &str) -> PathBuf {
        let quality = match number % 3 {
            0 => None,
            1 => Some("burstable"),
            _ => Some("besteffort"),
        };
        match (self.driver, quality) {
            (Driver::Cgroupfs, None) => format!("pod{uid}").into(),
            (Driver::Cgroupfs, Some(quality)) => format!("{quality}/pod{uid}").into(),
            (Driver::Systemd, quality) => {
                let uid = uid.replace('-', "_");
                let slice = quality.map_or("kubepods".to_owned(), |it| format!("kubepods-{it}"));
                let pod = format!("{slice}-pod{uid}.slice");
                quality.map_or_else(
                    || pod.clone().into(),
                    |_| Path::new(&format!("{slice}.slice")).join(&pod),
                )
            }
        }
    }
}

impl Started {
    /// The kubelet makes the pod's cgroup.
    pub fn make_cgroup(&self) -> Result<()> {
        fs::create_dir_all(&self.cgroup).with_context(|| format!("make {}", self.cgroup.display()))
    }

    pub fn interface(&self) -> String {
        format!("veth{}", self.number)
    }

    /// The CNI plugin connects the pod, and libcni keeps what came of it.
    pub fn connect(&self) -> Result<()> {
        self.make_veth()?;
        self.keep_result()
    }

    pub fn make_veth(&self) -> Result<()> {
        let (v4, interface, netns) = (self.v4, self.interface(), self.netns.name());
        self.kubelet.node.ip(&format!(
            "link add {interface} type veth peer name eth0 netns {netns}\n\
             addr add 169.254.1.1/32 dev {interface}\n\
             link set {interface} up\n\
             route add {v4}/32 dev {interface}\n"
        ))?;
        self.netns.ip(&format!(
            "addr add {v4}/32 dev eth0\n\
             link set eth0 up\n\
             route add default via 169.254.1.1 dev eth0 onlink\n"
        ))
    }

    /// As libcni does it: not at once.
    pub fn keep_result(&self) -> Result<()> {
        let WorkloadKey { namespace, name } = &self.pod.key;
        let netns = format!("/run/netns/{}", self.netns.name());
        let result = json!({
            "kind": "cniCacheV1", "containerId": self.container_id(0), "config": "", "ifName": "eth0",
            "networkName": "pods", "netns": netns,
            "cniArgs": [
                ["IgnoreUnknown", "1"], ["K8S_POD_NAMESPACE", namespace], ["K8S_POD_NAME", name],
                ["K8S_POD_INFRA_CONTAINER_ID", self.container_id(0)], ["K8S_POD_UID", self.pod.uid],
            ],
            "result": { "cniVersion": "1.0.0", "interfaces": [{ "name": self.interface() }] },
        });
        Ok(fs::write(self.result(), result.to_string())?)
    }

    fn result(&self) -> PathBuf {
        self.kubelet.results.join(format!("pods-{}-eth0", self.container_id(0)))
    }

    fn container_id(&self, number: u8) -> String {
        let run = u64::from(std::process::id());
        format!("{run:016x}{:016x}{number:032x}", self.number)
    }

    /// The cgroup of a container; the sandbox is number 0.
    pub fn container(&self, number: u8) -> PathBuf {
        let id = self.container_id(number);
        self.cgroup.join(match self.kubelet.driver {
            Driver::Cgroupfs => id,
            Driver::Systemd => format!("cri-containerd-{id}.scope"),
        })
    }

    /// The runtime starts the process that holds the namespaces: first into its cgroup, then into
    /// the network namespace.
    pub fn start_sandbox(&mut self) -> Result<()> {
        let cgroup = self.container(0);
        fs::create_dir(&cgroup).with_context(|| format!("make {}", cgroup.display()))?;
        let mut command = self.netns.command(Path::new("sleep"), &cgroup)?;
        let child: Child = command.arg("600").stdin(Stdio::null()).spawn().context("sleep")?;
        self.sandbox = Some(Background::new(child));
        Ok(())
    }

    /// The runtime makes the container of the application.
    pub fn make_container(&self) -> Result<()> {
        let cgroup = self.container(1);
        fs::create_dir(&cgroup).with_context(|| format!("make {}", cgroup.display()))
    }

    /// Runs `exeat-probe` as the application.
    pub fn probe<T: DeserializeOwned>(&self, args: &[&str]) -> Result<T> {
        run_probe(self.netns.command(&probe_binary()?, &self.container(1))?, args)
    }

    /// The pod as the API tells of it when the kubelet has reported its address.
    pub fn with_address(&self) -> Pod {
        Pod { addresses: vec![IpAddr::V4(self.v4)], ..self.pod.clone() }
    }

    /// Ends the pod: processes, cgroup, veth, namespace.
    pub fn remove(mut self) -> Result<()> {
        self.take_down()
    }

    fn take_down(&mut self) -> Result<()> {
        cgroup::remove(&self.cgroup)?;
        self.sandbox = None;
        if Path::new("/run/netns").join(self.netns.name()).exists() {
            ip(&["netns", "del", self.netns.name()], "")?;
        }
        match fs::remove_file(self.result()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Err(error) = self.take_down() {
            eprintln!("exeat-tests: end {}: {error:#}", self.pod.key);
        }
    }
}

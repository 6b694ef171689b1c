//! What the configuration means: checked once, defaults resolved.

pub mod gateway;
pub mod kubernetes;
mod query_types;
mod raw;
mod tunnel;

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use exeat_common::limits::{RESOLVERS_ENTRIES, WORKLOAD_ADDRESSES, WORKLOADS_ENTRIES};
use ipnet::IpNet;
use serde::Deserialize;

use self::{gateway::Gateway, kubernetes::Kubernetes};
pub use self::{query_types::QueryTypes, tunnel::Tunnel};
pub use crate::registry::istio::mesh::Mode;
use crate::{
    registry::host::HostPattern,
    workloads::{Workload, WorkloadKey},
};

/// The configuration of `exeat run`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    pub mode: Mode,
    pub scope: Scope,
    /// Masked; none is so wide that it holds another address family.
    pub cluster_cidrs: Vec<IpNet>,
    pub matching: Matching,
    pub external_name: ExternalName,
    pub gateway_transport: GatewayTransport,
    pub sidecar_may_relax: bool,
    pub labels_may_relax: LabelsMayRelax,
    /// The workload is `exeat gateway`: no client of the mesh, and a proxy that carries bytes as they
    /// are.
    pub is_plain_gateway: bool,
    pub registry: RegistryConfig,
    /// None: no cluster is read.
    pub kubernetes: Option<Kubernetes>,
    /// Everything below it is enforced.
    pub cgroup_root: Option<PathBuf>,
    /// Standalone mode. Keys are unique; each has a cgroup, an interface or both.
    pub workloads: Vec<Workload>,
    pub dns: Dns,
    pub denied: Denied,
    pub sidecar_port: u16,
    pub metrics_listen: SocketAddr,
    pub socket: PathBuf,
    pub pin_path: PathBuf,
}

/// How ports without a host or an address of their own are matched.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Matching {
    /// By what was learned of the host.
    #[default]
    Strict,
    /// As Istio does: a TCP port without addresses is open to every address.
    IstioCompat,
}

/// Whether addresses inside `clusterCidrs` are left alone.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    #[default]
    External,
    All,
}

/// What an `ExternalName` Service declares.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum ExternalName {
    #[default]
    Declare,
    Alias,
}

/// What an egress gateway accepts from a pod without a sidecar.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum GatewayTransport {
    #[default]
    Plain,
    Mtls,
}

/// Whose label `exeat.dev/mode` may open what the cluster's mode denies. Any may tighten.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(rename_all = "kebab-case")]
pub enum LabelsMayRelax {
    Nobody,
    /// Who may label namespaces is usually not who may label pods.
    #[default]
    Namespaces,
    /// And namespaces.
    Pods,
}

/// How a refused `connect()` fails.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
pub enum Denied {
    #[default]
    #[serde(rename = "EPERM")]
    NotPermitted,
    #[serde(rename = "ECONNREFUSED")]
    ConnectionRefused,
}

/// How a refused question is answered.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
pub enum DnsDenied {
    #[default]
    #[serde(rename = "NXDOMAIN")]
    NoSuchName,
    #[serde(rename = "REFUSED")]
    Refused,
}

/// Where registry objects come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RegistryConfig {
    /// Files or folders.
    pub files: Vec<PathBuf>,
    pub watch: bool,
}

/// How names are learned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dns {
    /// IPv4-mapped addresses are written as IPv4.
    pub resolvers: Vec<SocketAddr>,
    /// Exact names; what lies below them is internal too.
    pub internal_domains: Vec<HostPattern>,
    pub grace: Duration,
    pub minimum_ttl: Duration,
    pub denied: DnsDenied,
    /// What may be asked of names that may be asked for.
    pub query_types: QueryTypes,
    /// What may be asked below granted wildcards.
    pub tunnel: Tunnel,
}

/// Why a configuration is refused. The text names the key, what is wrong and the likely cause.
#[derive(Debug, thiserror::Error)]
pub enum InvalidConfig {
    #[error("configuration: {key}{message}")]
    Shape {
        /// In backquotes and with a colon after it; empty where the parser knows none.
        key: String,
        /// With line and column.
        message: String,
    },
    #[error(
        "configuration: neither `workloads` nor `kubernetes` is given, so there is nothing to enforce (list at least one workload)"
    )]
    NothingToEnforce,
    #[error("configuration: `{key}`: {reason}")]
    NotBuilt { key: &'static str, reason: &'static str },
    #[error(
        "configuration: `{key}`: {path} is the root of a cgroup tree, where the host itself lives (name a cgroup below it that holds the pods)"
    )]
    RootCgroup { key: String, path: PathBuf },
    #[error("configuration: `workloads`: {workload}: {reason}")]
    Workload { workload: WorkloadKey, reason: String },
    #[error("configuration: there is no section `gateway` (it needs `namespace` and `listeners`)")]
    NoGateway,
    #[error("configuration: `gateway`: {reason}")]
    Gateway { reason: String },
    #[error(
        "configuration: `dns.resolvers` is empty, and a gateway resolves the names it is asked for"
    )]
    NoResolver,
    #[error("configuration: `{key}`: {count} items, and there may be {most}")]
    TooMany { key: &'static str, count: usize, most: usize },
}

/// Where distributions mount cgroup v2. The agent also asks the kernel before it attaches.
const CGROUP_ROOTS: [&str; 4] = ["/", "/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/cgroup2"];
const METRICS_PORT: u16 = 9469;
const SIDECAR_PORT: u16 = 15001;
const DEFAULT_SPAN: Duration = Duration::from_secs(30);

impl Config {
    /// Reads a configuration from its YAML text.
    pub fn parse(text: &str) -> Result<Self, InvalidConfig> {
        let raw = read(text)?;
        let config = Self::resolve(raw);
        let has_pods = config.kubernetes.as_ref().is_some_and(|kubernetes| kubernetes.pods);
        if config.workloads.is_empty() && !has_pods {
            return Err(InvalidConfig::NothingToEnforce);
        }
        config.check_limits()?;
        config.check_cgroups()?;
        config.check_workloads()?;
        Ok(config)
    }

    /// Reads what `exeat gateway` needs of a configuration. It enforces nothing on the node, so
    /// `workloads` are not looked at.
    pub fn parse_gateway(text: &str) -> Result<(Self, Gateway), InvalidConfig> {
        let mut raw = read(text)?;
        // Never ignored: it would serve without what the cluster declares.
        if raw.kubernetes.is_on() {
            let reason = "`exeat gateway` reads files only; list `registry.files` instead";
            return Err(InvalidConfig::NotBuilt { key: "kubernetes", reason });
        }
        let gateway = raw.gateway.take().ok_or(InvalidConfig::NoGateway)?;
        let gateway =
            Gateway::resolve(gateway).map_err(|reason| InvalidConfig::Gateway { reason })?;
        let config = Self { is_plain_gateway: true, ..Self::resolve(raw) };
        config.check_limits()?;
        if config.dns.resolvers.is_empty() {
            return Err(InvalidConfig::NoResolver);
        }
        Ok((config, gateway))
    }

    /// The defaults, for commands that judge flows without a node.
    pub fn offline() -> Self {
        Self::resolve(raw::Config::default())
    }

    fn resolve(raw: raw::Config) -> Self {
        let kubernetes = raw.kubernetes.resolve();
        // In a cluster files are an addition, and the usual folder need not be there.
        let folders =
            if kubernetes.is_some() { Vec::new() } else { vec![PathBuf::from("./registry.d")] };
        let path = |given: Option<raw::Absolute>, default: &str| {
            given.map_or_else(|| PathBuf::from(default), |path| path.0)
        };
        Self {
            mode: raw.mode,
            scope: raw.scope,
            cluster_cidrs: raw.cluster_cidrs.into_iter().map(|it| it.0).collect(),
            matching: raw.matching,
            external_name: raw.external_name,
            gateway_transport: raw.gateway_transport,
            sidecar_may_relax: raw.sidecar_may_relax.0,
            labels_may_relax: raw.labels_may_relax,
            is_plain_gateway: false,
            registry: RegistryConfig {
                files: raw.registry.files.unwrap_or(folders),
                watch: raw.registry.watch.0,
            },
            kubernetes,
            cgroup_root: raw.cgroup_root.map(|path| path.0),
            workloads: raw.workloads.into_iter().map(workload).collect(),
            dns: Dns {
                resolvers: raw.dns.resolvers.into_iter().map(|it| it.0).collect(),
                internal_domains: raw.dns.internal_domains.map_or_else(
                    || HostPattern::parse("cluster.local").into_iter().collect(),
                    |domains| domains.into_iter().map(|it| it.0).collect(),
                ),
                grace: raw.dns.grace.map_or(DEFAULT_SPAN, |it| it.0),
                minimum_ttl: raw.dns.minimum_ttl.map_or(DEFAULT_SPAN, |it| it.0),
                denied: raw.dns.denied,
                query_types: raw.dns.query_types,
                tunnel: raw.dns.tunnel,
            },
            denied: raw.denied,
            sidecar_port: raw.sidecar.port.map_or(SIDECAR_PORT, Into::into),
            metrics_listen: raw
                .metrics
                .listen
                .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, METRICS_PORT))),
            socket: path(raw.socket, "/run/exeat/exeat.sock"),
            pin_path: path(raw.pin_path, "/sys/fs/bpf/exeat"),
        }
    }

    fn check_limits(&self) -> Result<(), InvalidConfig> {
        for (key, count, most) in [
            ("workloads", self.workloads.len(), WORKLOADS_ENTRIES),
            ("dns.resolvers", self.dns.resolvers.len(), RESOLVERS_ENTRIES),
        ] {
            if count > most {
                return Err(InvalidConfig::TooMany { key, count, most });
            }
        }
        Ok(())
    }

    fn check_cgroups(&self) -> Result<(), InvalidConfig> {
        let root = self.cgroup_root.iter();
        let attach_points = root.map(|path| ("cgroupRoot".to_owned(), path)).chain(
            self.workloads.iter().filter_map(|workload| {
                let key = format!("workloads {}: cgroup", workload.key);
                workload.cgroup.as_ref().map(|path| (key, path))
            }),
        );
        for (key, path) in attach_points {
            if CGROUP_ROOTS.iter().any(|root| path == Path::new(root)) {
                let path = path.clone();
                return Err(InvalidConfig::RootCgroup { key, path });
            }
        }
        Ok(())
    }

    fn check_workloads(&self) -> Result<(), InvalidConfig> {
        let mut keys = BTreeSet::new();
        let mut cgroups = BTreeSet::new();
        let mut interfaces = BTreeSet::new();
        for workload in &self.workloads {
            let reason = if !keys.insert(&workload.key) {
                "it stands in the list twice".to_owned()
            } else if workload.cgroup.is_none() && workload.interface.is_none() {
                "it has neither `cgroup` nor `interface`, so there is nowhere to enforce".to_owned()
            } else if workload.arrives_past_interface
                && (workload.cgroup.is_none() || workload.interface.is_none())
            {
                "`arrivesPastInterface` takes both a `cgroup` and an `interface`".to_owned()
            } else if workload.netns.is_some() && !workload.is_held_at_sockets() {
                "`netns` is of use only with a `cgroup`, and with no `interface` or with `arrivesPastInterface`".to_owned()
            } else if workload.arrives_past_interface && workload.netns.is_none() {
                "`arrivesPastInterface` takes the `netns` of the workload".to_owned()
            } else if workload.addresses.len() > WORKLOAD_ADDRESSES {
                format!("it has more than {WORKLOAD_ADDRESSES} addresses")
            } else if let Some(path) =
                workload.cgroup.as_ref().filter(|path| !cgroups.insert(*path))
            {
                format!("another workload has the cgroup {} too", path.display())
            } else if let Some(name) =
                workload.interface.as_ref().filter(|name| !interfaces.insert(*name))
            {
                format!("another workload has the interface {name} too")
            } else if let (Some(root), Some(path)) = (&self.cgroup_root, &workload.cgroup)
                && !path.starts_with(root)
            {
                format!("its cgroup {} is not below cgroupRoot {}", path.display(), root.display())
            } else if let Some(path) = &workload.sidecar_cgroup
                && path.parent() != workload.cgroup.as_deref()
            {
                let path = path.display();
                format!("its sidecarCgroup {path} is not directly below its cgroup")
            } else {
                continue;
            };
            return Err(InvalidConfig::Workload { workload: workload.key.clone(), reason });
        }
        Ok(())
    }
}

/// Reads the shape. An empty file is `null`, which is no mapping: it means that nothing was set.
fn read(text: &str) -> Result<raw::Config, InvalidConfig> {
    let mut track = serde_path_to_error::Track::new();
    let document = serde_yaml::Deserializer::from_str(text);
    let tracked = serde_path_to_error::Deserializer::new(document, &mut track);
    let error = match Option::<raw::Config>::deserialize(tracked) {
        Ok(raw) => return Ok(raw.unwrap_or_default()),
        Err(error) => error.to_string(),
    };
    let path = track.path().to_string();
    // The parser knows the path of the enclosing value only, and puts it first.
    let message = match error.split_once(": ") {
        Some((outer, rest)) if path.starts_with(outer) => rest,
        _ => &error,
    };
    let key = match path.as_str() {
        "." | "?" => String::new(),
        path => format!("`{path}`: "),
    };
    Err(InvalidConfig::Shape {
        key,
        // What the parser calls a choice between words.
        message: message.replace("a YAML tag starting with '!'", "one word"),
    })
}

fn workload(raw: raw::Workload) -> Workload {
    Workload {
        key: WorkloadKey { namespace: raw.namespace.0, name: raw.name.0 },
        labels: raw.labels,
        cgroup: raw.cgroup.map(|path| path.0),
        interface: raw.interface.map(|name| name.0),
        arrives_past_interface: raw.arrives_past_interface,
        netns: raw.netns.map(|path| path.0),
        addresses: raw.addresses.iter().map(std::net::IpAddr::to_canonical).collect(),
        sidecar_cgroup: raw.sidecar_cgroup.map(|path| path.0),
        is_ambient: false,
        is_exempt: false,
    }
}

#[cfg(test)]
mod tests;

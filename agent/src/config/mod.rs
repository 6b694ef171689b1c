//! What the configuration means: checked once, defaults resolved.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;

use crate::workloads::Workload;

/// The configuration of `exeat run`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    pub mode: Mode,
    pub scope: Scope,
    /// Masked; never wide enough to hold another address family.
    pub cluster_cidrs: Vec<IpNet>,
    pub external_name: ExternalName,
    pub gateway_transport: GatewayTransport,
    pub sidecar_may_relax: bool,
    pub registry: RegistryConfig,
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

/// What happens to destinations that nothing declares.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Mode {
    #[default]
    RegistryOnly,
    AllowAny,
}

/// Whether addresses inside `clusterCidrs` are left alone.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Scope {
    #[default]
    External,
    All,
}

/// What an `ExternalName` Service declares.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ExternalName {
    #[default]
    Declare,
    Alias,
}

/// What an egress gateway accepts from a pod without a sidecar.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum GatewayTransport {
    #[default]
    Plain,
    Mtls,
}

/// How a refused connect() fails.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Denied {
    #[default]
    NotPermitted,
    ConnectionRefused,
}

/// How a refused question is answered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum DnsDenied {
    #[default]
    NoSuchName,
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
    pub resolvers: Vec<SocketAddr>,
    /// Exact names; what lies below them is internal too.
    pub internal_domains: Vec<String>,
    pub grace: Duration,
    pub minimum_ttl: Duration,
    pub denied: DnsDenied,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidConfig(String);

impl Config {
    /// Reads a configuration from its YAML text.
    pub fn parse(text: &str) -> Result<Self, InvalidConfig> {
        let _ = text;
        Err(InvalidConfig("not built yet".into()))
    }
}

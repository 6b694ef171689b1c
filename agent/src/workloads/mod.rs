//! Who is enforced: values. Where workloads come from is the business of their sources, where they
//! are on this node that of [`place`], and what they have open that of [`sockets`].

pub mod census;
pub mod kubelet;
mod netns;
pub mod place;
pub mod pod;
pub mod roster;
pub mod sockets;
pub mod uid;

use std::{collections::BTreeMap, fmt, net::IpAddr, path::PathBuf};

/// Namespace and name: who a workload is.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct WorkloadKey {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for WorkloadKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// A pod, or in standalone mode a named cgroup and the host side of its veth.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Workload {
    pub key: WorkloadKey,
    pub labels: BTreeMap<String, String>,
    pub cgroup: Option<PathBuf>,
    /// Name of the host side of the veth.
    pub interface: Option<String>,
    /// What it receives does not pass the host side of the veth.
    pub arrives_past_interface: bool,
    /// The network namespace it lives in, if it is not the agent's. Of use where its packets are
    /// looked at its sockets.
    pub netns: Option<PathBuf>,
    /// Source addresses it may use; none means the source is not checked.
    pub addresses: Vec<IpAddr>,
    /// The cgroup of its sidecar container.
    pub sidecar_cgroup: Option<PathBuf>,
    /// Enrolled in an ambient mesh, whose node proxy takes its flows on.
    pub is_ambient: bool,
    /// Not judged at all: a pod in the network namespace of the host.
    pub is_exempt: bool,
}

impl Workload {
    /// Whether its packets are looked at where its sockets send or receive them.
    pub fn is_held_at_sockets(&self) -> bool {
        self.cgroup.is_some() && (self.interface.is_none() || self.arrives_past_interface)
    }
}

/// A workload with what the node said about it. What is `None` is not there (yet).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PlacedWorkload {
    pub workload: Workload,
    pub cgroup_id: Option<u64>,
    /// Levels of its cgroup below the root of the cgroup2 tree.
    pub cgroup_depth: Option<u8>,
    pub ifindex: Option<u32>,
    /// Of its network namespace, where that matters.
    pub netns_cookie: Option<u64>,
    pub sidecar_cgroup_id: Option<u64>,
}

//! A pod as Kubernetes tells it: who it is. Where it is on this node is for the node to say.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use super::WorkloadKey;

/// The pods of this node, by [`Pod::uid`].
pub type Pods = BTreeMap<String, Arc<Pod>>;

/// What matters of a Pod object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pod {
    /// As in the name of its cgroup: `metadata.uid`, or of a static pod's mirror the annotation
    /// `kubernetes.io/config.hash`, which is what the kubelet names the cgroup after.
    pub uid: String,
    pub key: WorkloadKey,
    pub labels: BTreeMap<String, String>,
    /// `status.podIPs`; none until the kubelet has told, which is after the pod's first packet.
    pub addresses: Vec<IpAddr>,
    /// `spec.hostNetwork`.
    pub is_host_network: bool,
    /// Container id of its sidecar, without the scheme of the runtime; none if it has no sidecar or
    /// that is not created yet.
    pub sidecar: Option<String>,
    /// Enrolled in an ambient mesh.
    pub is_ambient: bool,
}

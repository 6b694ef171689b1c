//! Workloads: who is judged, by which policy, in which mode.

use super::abi;
use crate::{
    address::Address,
    id::{PolicyId, WorkloadId},
    limits::WORKLOAD_ADDRESSES,
};

/// Mode byte of a workload. Zero denies what is not declared.
pub mod mode {
    pub const REGISTRY_ONLY: u8 = 0;
    pub const ALLOW_ANY: u8 = 1;
    /// What is not declared goes to the workload's default target.
    pub const GATEWAY: u8 = 2;
}

/// Flag bits of a workload.
pub mod workload_flag {
    /// Nothing is judged (host network, unless opted in).
    pub const EXEMPT: u8 = 1;
    /// Has a veth at whose host side its packets are judged. Without it they are judged at its
    /// sockets: that is the value of doing nothing.
    pub const ON_WIRE: u8 = 2;
    /// Beside [`ON_WIRE`]: what it receives does not pass the host side of the veth
    /// (`bpf_redirect_peer`, netkit), and is looked at where its sockets receive it.
    pub const PAST_WIRE: u8 = 4;
}

abi! {
    /// Value of `WORKLOADS_BY_CGROUP` (key: cgroup id, `u64`) and `WORKLOADS_BY_IFINDEX`
    /// (key: host-side interface index, `u32`).
    pub struct Workload (96 bytes) {
        pub id: WorkloadId,
        pub policy: PolicyId,
        pub mode: u8,
        pub flags: u8,
        /// How many of `addresses` are set; 0 means the source address is not checked.
        pub address_count: u8,
        pub reserved: u8,
        /// Target of what is not declared, under [`mode::GATEWAY`]; 0 means none.
        pub default_target: u32,
        /// Cgroup id of the sidecar container; 0 means none.
        pub sidecar_cgroup: u64,
        /// Cookie of the network namespace in which it may have sockets, if its packets are looked
        /// at there; 0 means none.
        pub netns_cookie: u64,
        pub addresses: [Address; WORKLOAD_ADDRESSES],
    }
}

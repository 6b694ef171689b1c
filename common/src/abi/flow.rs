//! Flows that were judged.

use super::{abi, halves};
use crate::{
    address::Address,
    id::{SubjectId, WorkloadId},
};

/// Who sent the first packet of a flow.
pub mod direction {
    pub const OUTBOUND: u8 = 1;
    pub const INBOUND: u8 = 2;
    /// The pod did, and it may not go on: kept for a while, so that the remote end is told.
    pub const REVOKED: u8 = 3;
}

abi! {
    /// Key of `FLOWS`, as seen from the pod. ICMP echo has its identifier as the local port.
    pub struct FlowKey (44 bytes) {
        pub workload: WorkloadId,
        pub local: Address,
        pub remote: Address,
        pub local_port: u16,
        pub remote_port: u16,
        pub protocol: u8,
        pub reserved: [u8; 3],
    }
}

impl FlowKey {
    /// Each end is an address with its port.
    #[inline(always)]
    pub const fn new(
        workload: WorkloadId,
        protocol: u8,
        local: (Address, u16),
        remote: (Address, u16),
    ) -> Self {
        let [l0, l1, l2, l3] = local.0.words();
        let [r0, r1, r2, r3] = remote.0.words();
        let ports = halves(local.1, remote.1);
        let protocol = u32::from_ne_bytes([protocol, 0, 0, 0]);
        zerocopy::transmute!([workload.raw(), l0, l1, l2, l3, r0, r1, r2, r3, ports, protocol])
    }
}

abi! {
    /// Value of `FLOWS`.
    pub struct FlowValue (20 bytes) {
        /// [`super::Settings::generation`] under which the flow was last judged.
        pub generation: u32,
        /// Seconds of the monotonic clock.
        pub last_seen: u32,
        /// What allowed it; none for inbound flows and exemptions.
        pub subject: SubjectId,
        /// The port that was dialled, if the socket layer sent the flow elsewhere; else 0.
        pub dialled_port: u16,
        /// [`direction`] code.
        pub direction: u8,
        /// 1 once a FIN or RST was seen, or the flow was revoked.
        pub closing: u8,
        /// Resets that went to the remote end since the flow was revoked.
        pub resets: u8,
        pub reserved: [u8; 3],
    }
}

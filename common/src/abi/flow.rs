//! Flows that were judged.

use super::abi;
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

abi! {
    /// Value of `FLOWS`.
    pub struct FlowValue (16 bytes) {
        /// [`Settings::generation`] under which the flow was last judged.
        pub generation: u32,
        /// Seconds of the monotonic clock.
        pub last_seen: u32,
        /// What allowed it; none for inbound flows and exemptions.
        pub subject: SubjectId,
        /// [`direction`] code.
        pub direction: u8,
        /// 1 once a FIN or RST was seen, or the flow was revoked.
        pub closing: u8,
        /// Resets that went to the remote end since the flow was revoked.
        pub resets: u8,
        pub reserved: u8,
    }
}

//! What the socket layer remembers of the flows it sent elsewhere.

use super::abi;
use crate::{
    address::Address,
    id::{SubjectId, WorkloadId},
};

abi! {
    /// Value of `REDIRECTED`, and one slot of `PEERS`: the socket asked for one end and got another.
    pub struct Redirect (52 bytes) {
        /// What the application asked for.
        pub dialled: Address,
        /// Where its packets go.
        pub sent_to: Address,
        pub dialled_port: u16,
        /// 0 is an empty slot.
        pub sent_to_port: u16,
        pub workload: WorkloadId,
        /// What granted it; none for what nothing declares ([`super::mode::GATEWAY`]).
        pub subject: SubjectId,
        /// Number of the target that `sent_to` belongs to.
        pub target: u32,
        /// Seconds of the monotonic clock.
        pub last_used: u32,
    }
}

abi! {
    /// Value of `ACCEPTED`: what the other end of an accepted connection had dialled.
    pub struct Dialled (20 bytes) {
        pub address: Address,
        pub port: u16,
        pub reserved: [u8; 2],
    }
}

abi! {
    /// Key of `HANDOVERS`: the end of the connecting socket, in its network namespace.
    pub struct HandoverKey (32 bytes) {
        /// Cookie of the network namespace.
        pub netns: u64,
        pub address: Address,
        pub port: u32,
        pub reserved: u32,
    }
}

abi! {
    /// Value of `HANDOVERS`: a connection that its receiver has not accepted yet.
    pub struct HandoverValue (40 bytes) {
        pub dialled: Dialled,
        pub workload: WorkloadId,
        /// Cookie of the connecting socket: another may have the same end later.
        pub socket: u64,
        /// Seconds of the monotonic clock.
        pub since: u32,
        pub reserved: u32,
    }
}

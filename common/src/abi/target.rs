//! Where redirected flows go.

use super::abi;
use crate::{address::Address, limits::TARGET_HOST_BYTES};

/// Kind byte of a target. Zero is none.
pub mod target_kind {
    /// The proxy in the pod.
    pub const SIDECAR: u8 = 1;
    /// An egress gateway.
    pub const GATEWAY: u8 = 2;
    /// The endpoints of the service that was dialled.
    pub const ENDPOINTS: u8 = 3;
    /// No place for flows: the addresses that a question for a name is answered with.
    pub const ANSWER: u8 = 4;
}

abi! {
    /// Value of `TARGETS` (key: target number, `u32`, never 0). A number never changes its content.
    pub struct TargetValue (268 bytes) {
        /// Entries of `BACKENDS` under this number for IPv4, from index 0 on.
        pub v4: u32,
        /// Those for IPv6, after them.
        pub v6: u32,
        /// Port of a gateway's service; 0 for other kinds.
        pub port: u16,
        /// [`target_kind`] code.
        pub kind: u8,
        /// Bytes of `host` that are set.
        pub host_length: u8,
        /// Host name of a gateway's service. For user space: the next agent reads targets back.
        pub host: [u8; TARGET_HOST_BYTES],
    }
}

abi! {
    /// Key of `BACKENDS`.
    pub struct BackendKey (8 bytes) {
        pub target: u32,
        /// 0 to one less than [`TargetValue::v4`] and [`TargetValue::v6`] together.
        pub index: u32,
    }
}

abi! {
    /// Value of `BACKENDS`: one address that flows to a target may go to, and how often another one of
    /// the same family is taken in its place. So one draw honours any weights
    /// (M. D. Vose, "A linear algorithm for generating random numbers with a given distribution", 1991).
    pub struct BackendValue (32 bytes) {
        /// Zero is the address that was dialled.
        pub address: Address,
        /// Share of the flows relative to the other backends of the target; at least 1.
        pub weight: u32,
        /// Drawn numbers below this stay here, the others go to `alias`.
        pub chance: u32,
        /// Index of another backend.
        pub alias: u32,
        /// 1 to 65535.
        pub port: u16,
        pub reserved: [u8; 2],
    }
}

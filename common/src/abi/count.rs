//! Counters.

use super::abi;
use crate::{
    id::WorkloadId,
    reason::{Layer, Reason, Verdict},
};

abi! {
    /// Key of `COUNTERS`.
    pub struct CounterKey (8 bytes) {
        pub workload: WorkloadId,
        pub layer: u8,
        pub verdict: u8,
        pub reason: u8,
        pub reserved: u8,
    }
}

impl CounterKey {
    #[inline(always)]
    pub const fn new(workload: WorkloadId, layer: Layer, verdict: Verdict, reason: Reason) -> Self {
        let about = u32::from_ne_bytes([layer as u8, verdict as u8, reason as u8, 0]);
        zerocopy::transmute!([workload.raw(), about])
    }
}

abi! {
    /// Value of `COUNTERS`, one a CPU.
    pub struct CounterValue (16 bytes) {
        pub count: u64,
        pub bytes: u64,
    }
}

abi! {
    /// Value of `PASSED` (array, index: the workload's number modulo its entries), one a CPU: what a workload sent to
    /// known flows.
    pub struct PassedValue (24 bytes) {
        /// Whose it is; 0 if nobody's. Another one with the same index has its bytes in `COUNTERS`.
        pub owner: WorkloadId,
        pub reserved: u32,
        /// Bytes of flows that it began.
        pub established: u64,
        /// Bytes of flows that began outside.
        pub inbound: u64,
    }
}

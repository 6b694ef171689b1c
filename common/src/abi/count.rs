//! Counters.

use super::abi;
use crate::id::WorkloadId;

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

abi! {
    /// Value of `COUNTERS`, one a CPU.
    pub struct CounterValue (16 bytes) {
        pub count: u64,
        pub bytes: u64,
    }
}

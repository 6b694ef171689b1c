//! What questions below wildcards carry.

use super::abi;

abi! {
    /// The most that questions below wildcards may carry; 0 is no limit.
    pub struct WildcardLimits (8 bytes) {
        /// Of one workload.
        pub queries_per_second: u32,
        /// Bytes of the longest label.
        pub label_bytes: u16,
        /// See [`Burden::entropy_bits`](crate::dns::Burden::entropy_bits).
        pub entropy_bits: u16,
    }
}

abi! {
    /// Value of `WILDCARDS` (key: [`WorkloadId`](crate::id::WorkloadId)), each word read and written
    /// whole: the questions of one workload below wildcards that were let through.
    pub struct WildcardValue (40 bytes) {
        pub queries: u64,
        /// Bytes of the labels that the wildcards stood for.
        pub bytes: u64,
        /// Bytes of the longest label.
        pub longest_label: u64,
        /// Bits of the one with the most.
        pub most_entropy: u64,
        /// What is spent of the rate, see [`draw`](crate::dns::draw).
        pub spent: u64,
    }
}

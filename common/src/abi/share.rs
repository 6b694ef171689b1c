//! What one workload uses of the tables that all share.

use super::abi;

abi! {
    /// Value of `QUOTA`, each word read and written whole.
    pub struct QuotaValue (48 bytes) {
        /// Entries of `FACTS` that belong to the workload.
        pub facts: u64,
        /// Second of the monotonic clock (upper half) and events emitted in it (lower half).
        pub events: u64,
        /// As above: replies to denied packets.
        pub replies: u64,
        /// Which stretch of [`crate::limits::QUERY_SECONDS`] of the monotonic clock it is (upper
        /// half) and how many queries of it are not answered yet (lower half).
        pub queries: u64,
        /// Entries of `FLOWS` that belong to the workload. Kernel and agent may take off the same
        /// entry, so that it can be below zero for a moment: read it as signed.
        pub flows: u64,
        /// Entries of `HANDOVERS` that belong to the workload, signed as well.
        pub handovers: u64,
    }
}

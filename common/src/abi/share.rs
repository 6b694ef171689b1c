//! What one workload uses of the tables that all share.

use super::abi;

abi! {
    /// Value of `QUOTA`, each word read and written whole.
    pub struct QuotaValue (24 bytes) {
        /// Entries of `FACTS` that belong to the workload.
        pub facts: u64,
        /// Second of the monotonic clock (upper half) and events emitted in it (lower half).
        pub events: u64,
        /// As above: replies to denied packets.
        pub replies: u64,
    }
}

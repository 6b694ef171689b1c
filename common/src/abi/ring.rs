//! What the ring buffer carries to user space.

use super::{QueryKey, abi};
use crate::{
    address::Address,
    id::{SubjectId, WorkloadId},
    limits::MESSAGE_COPY_BYTES,
};

/// First word of every event.
pub mod event {
    pub const FLOW: u32 = 1;
    pub const QUERY: u32 = 2;
    pub const ANSWER: u32 = 3;
    /// A question whose answer the kernel could not read: a [`super::QueryHeader`] as well.
    pub const DEFERRED: u32 = 4;
}

abi! {
    /// A verdict worth reporting: a denial, or what would have been one.
    pub struct FlowEvent (64 bytes) {
        /// [`event::FLOW`].
        pub kind: u32,
        pub workload: WorkloadId,
        /// Nanoseconds of the monotonic clock.
        pub time: u64,
        pub address: Address,
        /// What matched, or none.
        pub subject: SubjectId,
        pub port: u16,
        pub protocol: u8,
        pub layer: u8,
        pub verdict: u8,
        pub reason: u8,
        pub reserved: [u8; 2],
        /// Thread group id of the caller; 0 at the wire.
        pub pid: u32,
        /// Name of the calling thread, zero padded.
        pub command: [u8; 16],
    }
}

abi! {
    /// Head of a DNS question that was refused, or whose answer could not be read; the [`crate::limits::NAME_BUFFER_BYTES`] bytes of a name buffer
    /// follow, of which the first `name_length` are the lower-case wire name.
    pub struct QueryHeader (64 bytes) {
        /// [`event::QUERY`].
        pub kind: u32,
        pub workload: WorkloadId,
        /// Nanoseconds of the monotonic clock.
        pub time: u64,
        pub query_type: u16,
        pub name_length: u16,
        pub verdict: u8,
        pub reason: u8,
        pub reserved: [u8; 2],
        /// Pattern of the name, and under what the question is remembered; of a refusal neither is set.
        pub pattern: SubjectId,
        pub key: QueryKey,
        pub also_reserved: u32,
        pub more_reserved: u32,
    }
}

abi! {
    /// Head of a copy of a DNS answer; `length` bytes of the message follow.
    pub struct AnswerHeader (32 bytes) {
        /// [`event::ANSWER`].
        pub kind: u32,
        pub workload: WorkloadId,
        /// Nanoseconds of the monotonic clock.
        pub time: u64,
        pub pattern: SubjectId,
        /// Bytes of the message that follow, at most [`MESSAGE_COPY_BYTES`].
        pub length: u32,
        pub reserved: [u8; 8],
    }
}

/// Largest event in the ring, in bytes.
pub const EVENT_MAX_BYTES: usize = size_of::<AnswerHeader>() + MESSAGE_COPY_BYTES;

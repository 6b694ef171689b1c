//! Trusted resolvers and the questions they were asked.

use super::{abi, halves};
use crate::{
    address::Address,
    id::{SubjectId, WorkloadId},
};

abi! {
    /// Key of `RESOLVERS`; the value is one byte, 1.
    pub struct ResolverKey (20 bytes) {
        pub address: Address,
        pub port: u16,
        pub reserved: [u8; 2],
    }
}

impl ResolverKey {
    #[inline(always)]
    pub const fn new(address: Address, port: u16) -> Self {
        let [a, b, c, d] = address.words();
        zerocopy::transmute!([a, b, c, d, halves(port, 0)])
    }
}

abi! {
    /// Key of `QUERIES`.
    pub struct QueryKey (28 bytes) {
        pub workload: WorkloadId,
        pub resolver: Address,
        pub resolver_port: u16,
        pub client_port: u16,
        pub transaction: u16,
        pub protocol: u8,
        pub reserved: u8,
    }
}

impl QueryKey {
    #[inline(always)]
    pub const fn new(
        workload: WorkloadId,
        protocol: u8,
        resolver: (Address, u16),
        client_port: u16,
        transaction: u16,
    ) -> Self {
        let [a, b, c, d] = resolver.0.words();
        let ports = halves(resolver.1, client_port);
        let rest = halves(transaction, u16::from_ne_bytes([protocol, 0]));
        zerocopy::transmute!([workload.raw(), a, b, c, d, ports, rest])
    }
}

abi! {
    /// Value of `QUERIES`.
    pub struct QueryValue (16 bytes) {
        /// Pattern that granted the name, or none for an internal or merely tolerated one.
        pub pattern: SubjectId,
        /// Seconds of the monotonic clock.
        pub asked: u32,
        pub query_type: u16,
        /// Bytes of the name; 0 if the agent has read the answer, and it is only to be let through.
        pub name_length: u16,
        /// Tells names of one length apart.
        pub name_hash: u32,
    }
}

impl QueryValue {
    #[inline(always)]
    pub const fn new(
        pattern: SubjectId,
        asked: u32,
        query_type: u16,
        (name_length, name_hash): (u16, u32),
    ) -> Self {
        let question = halves(query_type, name_length);
        zerocopy::transmute!([pattern.raw(), asked, question, name_hash])
    }
}

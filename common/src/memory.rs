//! What the wire layer remembers between packets: flows, queries and facts.

use crate::{
    abi::{FactKey, FlowKey, FlowValue, QueryKey, QueryValue, StreamValue, WildcardLimits},
    address::Address,
    bytes::Veil,
    decide::Tables,
    dns::Burden,
    id::{SubjectId, WorkloadId},
    reason::{Layer, Reason},
    redirect::Passage,
};

/// What is full; the caller denies or goes without, and counts it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Full {
    /// The table, or the entry that would have taken it.
    Table,
    /// The part of the table that one workload may use.
    Share,
}

impl Full {
    #[inline(always)]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Table => Reason::TableFull,
            Self::Share => Reason::ShareUsed,
        }
    }
}

/// The writable tables of the wire layer.
pub trait Memory: Tables + Veil {
    /// Raised by the agent with every change of rules.
    fn generation(&self) -> u32;
    fn flow(&self, key: &FlowKey) -> Option<FlowValue>;
    /// Remembers a flow that begins, in the place of an ended one with the same ends.
    fn begin_flow(&self, key: &FlowKey, value: &FlowValue) -> Result<(), Full>;
    /// Writes back a flow that is remembered, unless it was collected meanwhile; says whether it did.
    fn renew_flow(&self, key: &FlowKey, value: &FlowValue) -> bool;
    fn remove_flow(&self, key: &FlowKey);
    /// What the socket that sent the packet in hand was redirected from, if it was redirected to
    /// this end.
    fn redirected(&self, to: Address, port: u16) -> Option<Passage>;
    fn set_query(&self, key: &QueryKey, value: &QueryValue) -> Result<(), Full>;
    /// Returns the query and forgets it.
    fn take_query(&self, key: &QueryKey) -> Option<QueryValue>;
    /// A TCP connection to a resolver.
    fn stream(&self, key: &FlowKey) -> Option<StreamValue>;
    /// Never fails for want of room: the connection that was silent longest is forgotten.
    fn set_stream(&self, key: &FlowKey, value: &StreamValue);
    /// Notes that the workload was told this address for a name that matched `pattern`.
    fn learn(&self, key: &FactKey, pattern: SubjectId, expiry: u32) -> Result<(), Full>;
    /// Seconds for which a fact outlives its TTL.
    fn grace_seconds(&self) -> u32;
    /// TTLs below this count as this, in seconds.
    fn minimum_ttl_seconds(&self) -> u32;
    /// Whether questions of this record type may leave.
    fn may_ask(&self, query_type: u16) -> bool;
    /// The most that questions below wildcards may carry.
    fn wildcard_limits(&self) -> WildcardLimits;
    /// Takes a question below a wildcard out of the workload's rate, if that is not 0, and counts
    /// it. False if there is nothing left of the rate.
    fn draw(&self, workload: WorkloadId, burden: Burden, per_second: u32) -> bool;
    /// Counts something beside the verdict of the packet at hand.
    fn note(&self, workload: WorkloadId, layer: Layer, reason: Reason);
}

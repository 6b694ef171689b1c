//! Every map key, map value and ring buffer event: `repr(C)`, no padding, sizes asserted.
//!
//! Ports are in host order, addresses in their 16-byte form. A change here raises
//! [`crate::limits::ABI_VERSION`].

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    address::Address,
    id::{PolicyId, SubjectId, WorkloadId},
    limits::{
        CGROUP_DEPTHS, FACT_SLOTS, MESSAGE_COPY_BYTES, NAME_BUFFER_BYTES, NAME_SHORT_BYTES,
        TARGET_HOST_BYTES, WORKLOAD_ADDRESSES,
    },
};

macro_rules! abi {
    ($(#[$doc:meta])* pub struct $name:ident ($size:literal bytes) { $($(#[$fdoc:meta])* $fvis:vis $field:ident: $type:ty,)+ }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, FromBytes, Immutable, IntoBytes,
            KnownLayout,
        )]
        #[repr(C)]
        pub struct $name {
            $($(#[$fdoc])* $fvis $field: $type,)+
        }

        const _: () = assert!(size_of::<$name>() == $size);
    };
}

/// Mode byte of a workload. Zero denies what is not declared.
pub mod mode {
    pub const REGISTRY_ONLY: u8 = 0;
    pub const ALLOW_ANY: u8 = 1;
    /// What is not declared goes to the workload's default target.
    pub const GATEWAY: u8 = 2;
}

/// Flag bits of a workload.
pub mod workload_flag {
    /// Nothing is judged (host network, unless opted in).
    pub const EXEMPT: u8 = 1;
}

abi! {
    /// Value of `WORKLOADS_BY_CGROUP` (key: cgroup id, `u64`) and `WORKLOADS_BY_IFINDEX`
    /// (key: host-side interface index, `u32`).
    pub struct Workload (88 bytes) {
        pub id: WorkloadId,
        pub policy: PolicyId,
        pub mode: u8,
        pub flags: u8,
        /// How many of `addresses` are set; 0 means the source address is not checked.
        pub address_count: u8,
        pub reserved: u8,
        /// Target of what is not declared, under [`mode::GATEWAY`]; 0 means none.
        pub default_target: u32,
        /// Cgroup id of the sidecar container; 0 means none.
        pub sidecar_cgroup: u64,
        pub addresses: [Address; WORKLOAD_ADDRESSES],
    }
}

/// Key of `NAMES_SHORT`: a lower-case wire name with its root byte, filled up with zeros.
pub type NameKeyShort = [u8; NAME_SHORT_BYTES];
/// Key of `NAMES_LONG`, in the same form.
pub type NameKeyLong = [u8; NAME_BUFFER_BYTES];

abi! {
    /// Value of `NAMES_SHORT` and `NAMES_LONG`: what the name means as itself and as a suffix.
    pub struct NameValue (12 bytes) {
        /// Pattern of the name itself, or [`SubjectId::NONE`].
        pub exact: SubjectId,
        /// Pattern of `*.name`, or [`SubjectId::NONE`].
        pub wildcard: SubjectId,
        /// [`name_flag`] bits.
        pub flags: u32,
    }
}

/// Flag bits of a name.
pub mod name_flag {
    /// The name itself lies in `internalDomains`.
    pub const INTERNAL: u32 = 1;
    /// Every name below it lies in `internalDomains`.
    pub const INTERNAL_BELOW: u32 = 2;
}

abi! {
    /// Data of a `PREFIXES` key, after the 4-byte prefix length of the trie.
    ///
    /// The policy is stored big-endian, because the trie compares from the first bit on.
    pub struct PrefixData (20 bytes) {
        policy: [u8; 4],
        address: Address,
    }
}

impl PrefixData {
    /// Bits of the policy, to be added to the length of an address prefix.
    pub const POLICY_BITS: u32 = 32;

    #[inline(always)]
    pub const fn new(policy: PolicyId, address: Address) -> Self {
        Self { policy: policy.raw().to_be_bytes(), address }
    }

    pub const fn policy(&self) -> PolicyId {
        PolicyId::new(u32::from_be_bytes(self.policy))
    }

    pub const fn address(&self) -> Address {
        self.address
    }
}

abi! {
    /// Key of `RULES`.
    pub struct RuleKey (12 bytes) {
        pub policy: PolicyId,
        pub subject: SubjectId,
        pub port: u16,
        /// IP protocol number.
        pub protocol: u8,
        /// 0 for a rule about a port, 1 for the mark that the subject is granted at all. A kind of
        /// its own, because every port and protocol number can come out of a packet.
        pub kind: u8,
    }
}

impl RuleKey {
    #[inline(always)]
    pub const fn new(policy: PolicyId, subject: SubjectId, port: u16, protocol: u8) -> Self {
        Self { policy, subject, port, protocol, kind: 0 }
    }

    /// The mark that `policy` may use `subject` on some port: its name resolves, echo passes.
    #[inline(always)]
    pub const fn grant(policy: PolicyId, subject: SubjectId) -> Self {
        Self { policy, subject, port: 0, protocol: 0, kind: 1 }
    }
}

/// Action byte of a rule. Zero denies.
pub mod action {
    pub const DENY: u8 = 0;
    pub const ALLOW: u8 = 1;
    pub const REDIRECT: u8 = 2;
}

abi! {
    /// Value of `RULES`.
    pub struct RuleValue (8 bytes) {
        /// [`action`] code.
        pub action: u8,
        /// Reason number of a denial ([`crate::reason::Reason`]).
        pub reason: u8,
        /// How specific the pattern is that the rule was declared for, which may be wider than the
        /// subject ([`crate::id::rank`]). Prefixes have none.
        pub rank: u8,
        pub reserved: u8,
        /// Number of the target of a redirect.
        pub target: u32,
    }
}

impl RuleValue {
    pub const ALLOW: Self =
        Self { action: action::ALLOW, reason: 0, rank: 0, reserved: 0, target: 0 };
}

/// Kind byte of a target. Zero is none.
pub mod target_kind {
    /// The proxy in the pod.
    pub const SIDECAR: u8 = 1;
    /// An egress gateway.
    pub const GATEWAY: u8 = 2;
    /// The endpoints of the service that was dialled.
    pub const ENDPOINTS: u8 = 3;
}

abi! {
    /// Value of `TARGETS` (key: target number, `u32`, never 0). A number never changes its content.
    pub struct TargetValue (264 bytes) {
        /// Entries of `BACKENDS` under this number, from index 0 on.
        pub backends: u32,
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
        /// 0 to one less than [`TargetValue::backends`].
        pub index: u32,
    }
}

abi! {
    /// Value of `BACKENDS`: one address that flows to a target may go to.
    pub struct BackendValue (24 bytes) {
        /// Zero is the address that was dialled.
        pub address: Address,
        /// Share of the flows relative to the other backends of the target; at least 1.
        pub weight: u32,
        /// 1 to 65535.
        pub port: u16,
        pub reserved: [u8; 2],
    }
}

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
        Self { address, port, reserved: [0; 2] }
    }
}

abi! {
    /// Key of `FACTS`.
    pub struct FactKey (20 bytes) {
        pub workload: WorkloadId,
        pub address: Address,
    }
}

abi! {
    /// Value of `FACTS`, packed [`Fact`]s; the kernel reads and writes each slot whole.
    pub struct FactValue (64 bytes) {
        pub slots: [u64; FACT_SLOTS],
    }
}

/// One name of an address: the pattern and when it ends. Packed into a `u64`, so that it is read
/// and written whole. 0 is an empty slot.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Fact {
    pub pattern: SubjectId,
    /// Seconds of the monotonic clock.
    pub expiry: u32,
}

impl Fact {
    #[inline(always)]
    pub const fn pack(self) -> u64 {
        (self.pattern.raw() as u64) << 32 | self.expiry as u64
    }

    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "each half of the word is taken on purpose"
    )]
    pub const fn unpack(word: u64) -> Self {
        Self { pattern: SubjectId::new((word >> 32) as u32), expiry: word as u32 }
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

abi! {
    /// Value of `QUERIES`.
    pub struct QueryValue (16 bytes) {
        /// Pattern that granted the name, or none for an internal or merely tolerated one.
        pub pattern: SubjectId,
        /// Seconds of the monotonic clock.
        pub asked: u32,
        pub query_type: u16,
        pub name_length: u16,
        pub reserved: u32,
    }
}

abi! {
    /// Value of `QUOTA`, each word read and written whole.
    pub struct QuotaValue (16 bytes) {
        /// Entries of `FACTS` that belong to the workload.
        pub facts: u64,
        /// Second of the monotonic clock (upper half) and events emitted in it (lower half).
        pub events: u64,
    }
}

/// Who sent the first packet of a flow.
pub mod direction {
    pub const OUTBOUND: u8 = 1;
    pub const INBOUND: u8 = 2;
}

abi! {
    /// Key of `FLOWS`, as seen from the pod. ICMP echo has its identifier as the local port.
    pub struct FlowKey (44 bytes) {
        pub workload: WorkloadId,
        pub local: Address,
        pub remote: Address,
        pub local_port: u16,
        pub remote_port: u16,
        pub protocol: u8,
        pub reserved: [u8; 3],
    }
}

abi! {
    /// Value of `FLOWS`.
    pub struct FlowValue (16 bytes) {
        /// [`Settings::generation`] under which the flow was last judged.
        pub generation: u32,
        /// Seconds of the monotonic clock.
        pub last_seen: u32,
        /// What allowed it; none for inbound flows and exemptions.
        pub subject: SubjectId,
        /// [`direction`] code.
        pub direction: u8,
        /// 1 once a FIN or RST was seen.
        pub closing: u8,
        pub reserved: [u8; 2],
    }
}

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

/// Switches of [`Settings::flags`].
pub mod setting_flag {
    /// `scope: external`: what is inside `clusterCidrs` is left alone.
    pub const SCOPE_EXTERNAL: u32 = 1;
    /// `denied: ECONNREFUSED` instead of EPERM.
    pub const DENY_REFUSED: u32 = 2;
    /// `dns.denied: REFUSED` instead of NXDOMAIN.
    pub const DNS_REFUSED: u32 = 4;
}

abi! {
    /// The one value of `SETTINGS` (array, index 0).
    pub struct Settings (28 bytes) {
        /// Raised with every change of rules; established flows are judged again.
        pub generation: u32,
        /// [`setting_flag`] bits.
        pub flags: u32,
        pub grace_seconds: u32,
        pub minimum_ttl_seconds: u32,
        /// Wire length of the longest wildcard suffix, in bytes; longer suffixes of a name are not
        /// looked up.
        pub longest_wildcard_bytes: u32,
        /// Levels below the cgroup2 root at which workloads are found, deepest first; 0 ends it.
        pub cgroup_depths: [u8; CGROUP_DEPTHS],
        pub reserved: u32,
    }
}

/// First word of every event.
pub mod event {
    pub const FLOW: u32 = 1;
    pub const QUERY: u32 = 2;
    pub const ANSWER: u32 = 3;
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
    /// Head of a DNS question that was refused; the [`NAME_BUFFER_BYTES`] bytes of a name buffer
    /// follow, of which the first `name_length` are the lower-case wire name.
    pub struct QueryHeader (32 bytes) {
        /// [`event::QUERY`].
        pub kind: u32,
        pub workload: WorkloadId,
        /// Nanoseconds of the monotonic clock.
        pub time: u64,
        pub query_type: u16,
        pub name_length: u16,
        pub verdict: u8,
        pub reason: u8,
        pub reserved: [u8; 10],
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

#[cfg(test)]
mod tests {
    use super::Fact;
    use crate::id::SubjectId;

    #[test]
    fn facts_pack_whole() {
        let fact = Fact { pattern: SubjectId::pattern(9, true, 3), expiry: 0xdead_beef };
        assert_eq!(Fact::unpack(fact.pack()), fact);
        assert_eq!(Fact::default().pack(), 0);
    }
}

//! Prefixes and rules: what a policy says.

use super::abi;
use crate::{
    address::Address,
    id::{PolicyId, SubjectId},
};

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
        /// 0 for a rule about a port, 1 for the mark that the subject is granted at all, 2 for what
        /// a question for the name is answered with. Kinds of their own, because every port and
        /// protocol number can come out of a packet.
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

    /// What `policy` is told when it asks for the name: the target of this rule lists the addresses
    /// ([`super::target_kind::ANSWER`]). Without it the question goes to the resolver.
    #[inline(always)]
    pub const fn answer(policy: PolicyId, subject: SubjectId) -> Self {
        Self { policy, subject, port: 0, protocol: 0, kind: 2 }
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

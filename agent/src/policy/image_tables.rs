//! The tables of a decision over an [`Image`]: what the kernel has in maps, in memory.

use std::collections::BTreeMap;

use exeat_common::{
    abi::{FactKey, FactValue, NameKeyLong, NameValue, ResolverKey, RuleKey, RuleValue},
    address::Address,
    bytes::Veil,
    decide::Tables,
    id::{PolicyId, SubjectId},
};

use super::image::{Image, Prefix, WireName};

/// Facts by workload and address, as the kernel keeps them.
pub type Facts = BTreeMap<FactKey, FactValue>;

/// An image, the facts learned beside it, and the time.
#[derive(Clone, Copy, Debug)]
pub struct ImageTables<'a> {
    pub image: &'a Image,
    pub facts: &'a Facts,
    /// Seconds of the monotonic clock.
    pub now: u32,
}

impl Image {
    /// The longest prefix of `policy` that holds `address`.
    pub fn longest_prefix(&self, policy: PolicyId, address: Address) -> Option<SubjectId> {
        (0..=128_u8).rev().find_map(|bits| {
            let prefix = Prefix { policy, address: mask(address, bits), bits };
            self.prefixes.get(&prefix).copied()
        })
    }
}

/// The first `bits` bits of an address, zero after them.
pub(super) fn mask(address: Address, bits: u8) -> Address {
    let kept = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    Address::from_v6((u128::from_be_bytes(address.octets()) & kept).to_be_bytes())
}

impl Tables for ImageTables<'_> {
    fn prefix(&self, policy: PolicyId, address: Address) -> Option<SubjectId> {
        self.image.longest_prefix(policy, address)
    }

    fn facts(&self, key: &FactKey) -> Option<FactValue> {
        self.facts.get(key).copied()
    }

    fn rule(&self, key: &RuleKey) -> Option<RuleValue> {
        self.image.rules.get(key).copied()
    }

    fn is_resolver(&self, address: Address, port: u16) -> bool {
        // As in the kernel, so that what is proved of these tables holds of those.
        self.may_be_resolver(port)
            && self.image.resolvers.contains(&ResolverKey::new(address, port))
    }

    fn may_be_resolver(&self, port: u16) -> bool {
        self.image.settings.is_some_and(|settings| settings.may_be_resolver(port))
    }

    fn name(&self, key: &NameKeyLong, length: usize) -> Option<NameValue> {
        let name = WireName(key.get(..length)?.to_vec());
        self.image.names.get(&name).copied()
    }

    fn setting_flags(&self) -> u32 {
        self.image.settings.map_or(0, |settings| settings.flags)
    }

    fn longest_wildcard_bytes(&self) -> u32 {
        self.image.settings.map_or(0, |settings| settings.longest_wildcard_bytes)
    }

    fn now(&self) -> u32 {
        self.now
    }
}

impl Veil for ImageTables<'_> {
    fn veil(&self, number: usize) -> usize {
        number
    }
}

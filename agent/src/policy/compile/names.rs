//! The name tables.

use exeat_common::{
    abi::{NameValue, name_flag},
    id::SubjectId,
};

use super::universe::Universe;
use crate::{
    policy::{ids::Ids, image::WireName},
    registry::host::HostPattern,
};

/// What the name tables are made from.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) universe: &'a Universe,
    pub(super) ids: &'a Ids,
    pub(super) internal_domains: &'a [HostPattern],
}

impl Names<'_> {
    /// The entry of a name; none if there is nothing to say about it.
    ///
    /// The kernel stops at the longest entry that says anything. So one in or below
    /// `internalDomains` must also say what the shorter ones would have said.
    pub(super) fn value(self, apex: &HostPattern) -> Option<NameValue> {
        let (exact, wildcard) = (self.number(apex), self.number(&apex.below()));
        let is_domain = self.internal_domains.contains(apex);
        if !(exact.is_some() || wildcard.is_some() || is_domain) {
            return None;
        }
        let is_internal = self.internal_domains.iter().any(|domain| apex.is_within(domain));
        if !is_internal {
            return Some(NameValue { exact, wildcard, flags: 0 });
        }
        Some(NameValue {
            exact: self.or_inherited(exact, apex),
            wildcard: self.or_inherited(wildcard, &apex.below()),
            flags: name_flag::INTERNAL | name_flag::INTERNAL_BELOW,
        })
    }

    fn or_inherited(self, own: SubjectId, pattern: &HostPattern) -> SubjectId {
        if own.is_some() {
            return own;
        }
        let wider = pattern.covering().map(|wide| self.number(&wide));
        wider.into_iter().find(|wide| wide.is_some()).unwrap_or(SubjectId::NONE)
    }

    /// The number of a pattern that some view has.
    fn number(self, pattern: &HostPattern) -> SubjectId {
        if !self.universe.patterns.contains_key(pattern) {
            return SubjectId::NONE;
        }
        self.ids.patterns().get(pattern).copied().unwrap_or(SubjectId::NONE)
    }
}

/// Wire length of the longest of `names` that says anything about names below it, in bytes.
pub(super) fn longest_wildcard<'a>(
    names: impl Iterator<Item = (&'a WireName, &'a NameValue)>,
) -> u32 {
    let suffixes = names.filter(|(_, value)| is_suffix(value));
    let lengths = suffixes.filter_map(|(name, _)| u32::try_from(name.as_bytes().len()).ok());
    lengths.max().unwrap_or(0)
}

/// Whether an entry says anything about names below it.
pub(super) fn is_suffix(value: &NameValue) -> bool {
    value.wildcard.is_some() || value.flags & name_flag::INTERNAL_BELOW != 0
}

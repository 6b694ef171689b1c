//! Which views fit, the numbers of their patterns, and the name tables.

use std::collections::{BTreeMap, BTreeSet};

use exeat_common::{
    abi::{NameValue, name_flag},
    id::{PolicyId, SubjectId},
    limits::{NAME_SHORT_BYTES, NAMES_LONG_ENTRIES, NAMES_SHORT_ENTRIES, PREFIXES_ENTRIES},
};

use super::{report_full, targets::Targets};
use crate::{
    config::Config,
    policy::{
        ids::{Group, Ids},
        image::{Image, WireName},
    },
    registry::{host::HostPattern, report::Report},
};

/// The views that the tables can hold, and all their patterns.
pub(super) struct Admitted<'a> {
    pub(super) groups: BTreeMap<PolicyId, &'a Group>,
    patterns: BTreeSet<HostPattern>,
}

/// Numbers of patterns.
pub(super) struct Numbers {
    /// Those in the name tables.
    pub(super) current: BTreeMap<HostPattern, SubjectId>,
    /// Those that left, and may still be named by facts.
    pub(super) retired: BTreeMap<HostPattern, SubjectId>,
}

/// Takes views in as long as their names and prefixes fit. A view is taken whole or not at all:
/// a part of it could allow what the rest of it refuses.
pub(super) fn admit<'a>(
    policies: &BTreeMap<PolicyId, &'a Group>,
    config: &Config,
    reports: &mut BTreeSet<Report>,
) -> Admitted<'a> {
    let mut admitted = Admitted { groups: BTreeMap::new(), patterns: BTreeSet::new() };
    let is_short = |host: &HostPattern| host.wire().len() <= NAME_SHORT_BYTES;
    let internal = config.dns.internal_domains.iter().map(HostPattern::apex);
    let (short, long): (BTreeSet<_>, BTreeSet<_>) = internal.partition(is_short);
    let (mut short, mut long) = (short, long);
    let mut prefixes = config.cluster_cidrs.len();
    let mut targets = Targets::default();
    for (policy, group) in policies {
        let names = group.view.names.keys().map(HostPattern::apex);
        let (more_short, more_long): (BTreeSet<_>, BTreeSet<_>) = names.partition(is_short);
        let fresh_short = more_short.difference(&short).count();
        let fresh_long = more_long.difference(&long).count();
        // One more for the hole that keeps IPv4 out of a short IPv6 prefix.
        let fresh_prefixes = group.view.prefixes.len() + 1;
        if short.len() + fresh_short > NAMES_SHORT_ENTRIES
            || long.len() + fresh_long > NAMES_LONG_ENTRIES
            || prefixes + fresh_prefixes > PREFIXES_ENTRIES
        {
            report_full(group, "the hosts and addresses", reports);
            continue;
        }
        if !targets.take(&group.view) {
            report_full(group, "the gateways and endpoints", reports);
            continue;
        }
        short.extend(more_short);
        long.extend(more_long);
        prefixes += fresh_prefixes;
        admitted.patterns.extend(group.view.names.keys().cloned());
        admitted.groups.insert(*policy, group);
    }
    admitted
}

/// Gives every pattern its number.
pub(super) fn number(
    admitted: &mut Admitted<'_>,
    ids: &mut Ids,
    reports: &mut BTreeSet<Report>,
) -> Numbers {
    let mut current = BTreeMap::new();
    for pattern in &admitted.patterns {
        if let Some(subject) = ids.pattern(pattern) {
            current.insert(pattern.clone(), subject);
            continue;
        }
        // All numbers are used up. Without this pattern a shorter one would decide instead.
        admitted.groups.retain(|_, group| {
            let has_it = group.view.names.keys().any(|it| it.covers(pattern));
            if has_it {
                report_full(group, "the hosts", reports);
            }
            !has_it
        });
    }
    let retired = ids.retired_patterns(&admitted.patterns);
    Numbers { current, retired: retired.into_iter().collect() }
}

/// Fills the name tables.
pub(super) fn write(numbers: &Numbers, internal_domains: &[HostPattern], image: &mut Image) {
    for (pattern, subject) in &numbers.current {
        let value = entry(image, pattern);
        if pattern.is_wildcard() {
            value.wildcard = *subject;
        } else {
            value.exact = *subject;
        }
    }
    for domain in internal_domains {
        let domain = domain.apex();
        mark_internal(&domain, numbers, image);
        let below = numbers.current.range(&domain..);
        for (pattern, _) in below.take_while(|(pattern, _)| pattern.is_within(&domain)) {
            mark_internal(&pattern.apex(), numbers, image);
        }
    }
}

fn entry<'a>(image: &'a mut Image, pattern: &HostPattern) -> &'a mut NameValue {
    image.names.entry(WireName(pattern.wire())).or_insert(NameValue {
        exact: SubjectId::NONE,
        wildcard: SubjectId::NONE,
        flags: 0,
    })
}

/// Marks a name in or below `internalDomains`. The kernel stops at the longest entry that says
/// anything, so this one must also say what the shorter ones would have said.
fn mark_internal(apex: &HostPattern, numbers: &Numbers, image: &mut Image) {
    let inherited = |pattern: HostPattern| {
        let mut wide = pattern.covering();
        let found = wide.find_map(|wide| numbers.current.get(&wide));
        found.copied().unwrap_or(SubjectId::NONE)
    };
    let value = entry(image, apex);
    value.flags |= name_flag::INTERNAL | name_flag::INTERNAL_BELOW;
    if !value.exact.is_some() {
        value.exact = inherited(apex.clone());
    }
    if !value.wildcard.is_some() {
        value.wildcard = inherited(apex.below());
    }
}

/// Wire length of the longest name that says anything about names below it, in bytes.
pub(super) fn longest_wildcard(image: &Image) -> u32 {
    let names = image.names.iter();
    let suffixes = names.filter(|(_, value)| {
        value.wildcard.is_some() || value.flags & name_flag::INTERNAL_BELOW != 0
    });
    let lengths = suffixes.filter_map(|(name, _)| u32::try_from(name.as_bytes().len()).ok());
    lengths.max().unwrap_or(0)
}

//! The views that the tables can hold, and all patterns and prefixes that stand in one of them.

use std::collections::{BTreeMap, BTreeSet};

use exeat_common::{
    id::PolicyId,
    limits::{NAME_SHORT_BYTES, NAMES_LONG_ENTRIES, NAMES_SHORT_ENTRIES, PREFIXES_ENTRIES},
};
use ipnet::{IpNet, Ipv4Net};

use super::{report_full, targets::Targets};
use crate::{
    config::Config,
    policy::{close, ids::Group},
    registry::{host::HostPattern, report::Report},
};

/// What the tables speak of.
#[derive(Clone, Debug, Default)]
pub(super) struct Universe {
    pub(super) groups: BTreeMap<PolicyId, Group>,
    /// Policies that the tables cannot hold: they have no rules, which denies everything.
    pub(super) left_out: BTreeSet<PolicyId>,
    /// How many views have each.
    pub(super) patterns: BTreeMap<HostPattern, usize>,
    pub(super) nets: BTreeMap<IpNet, usize>,
    /// Prefixes that have a number without a view that has them.
    standing: BTreeSet<IpNet>,
}

impl Universe {
    /// Takes views in as long as their names, prefixes and targets fit. A view is taken whole or
    /// not at all: a part of it could allow what the rest of it refuses.
    pub(super) fn admit(
        groups: BTreeMap<PolicyId, Group>,
        config: &Config,
        reports: &mut BTreeSet<Report>,
    ) -> Self {
        let mut room = Room::new(config);
        let mut targets = Targets::default();
        let mut left_out = BTreeSet::new();
        for (policy, group) in &groups {
            let what = if !room.take(group) {
                "the hosts and addresses"
            } else if !targets.take(&group.view) {
                "the gateways and endpoints"
            } else {
                continue;
            };
            report_full(group, what, reports);
            left_out.insert(*policy);
        }
        let standing = config.cluster_cidrs.iter().copied();
        let mut universe = Self {
            left_out,
            standing: standing.chain([IpNet::V4(Ipv4Net::default())]).collect(),
            ..Self::default()
        };
        for (policy, group) in &groups {
            if !universe.left_out.contains(policy) {
                group.view.names.keys().for_each(|it| enter(&mut universe.patterns, it));
                group.view.prefixes.keys().for_each(|it| enter(&mut universe.nets, it));
            }
        }
        Self { groups, ..universe }
    }

    /// The groups that have rules.
    pub(super) fn fitting(&self) -> impl Iterator<Item = (PolicyId, &Group)> {
        let groups = self.groups.iter().map(|(policy, group)| (*policy, group));
        groups.filter(|(policy, _)| !self.left_out.contains(policy))
    }

    /// Leaves out what has a pattern that covers `pattern`. Without it a shorter one would decide.
    pub(super) fn leave_out(&mut self, pattern: &HostPattern, reports: &mut BTreeSet<Report>) {
        for (policy, group) in &self.groups {
            let has_it = group.view.names.keys().any(|it| it.covers(pattern));
            if has_it && self.left_out.insert(*policy) {
                report_full(group, "the hosts", reports);
            }
        }
    }

    /// Whether a prefix that has a number left the registry.
    pub(super) fn is_retired(&self, net: &IpNet) -> bool {
        !self.nets.contains_key(net) && !self.standing.contains(net)
    }

    /// The wildcards here that cover `pattern`, itself left out, the longest first.
    pub(super) fn covering(&self, pattern: &HostPattern) -> Vec<HostPattern> {
        pattern.covering().filter(|wide| self.patterns.contains_key(wide)).collect()
    }

    /// The prefixes here around `net`, itself left out, the longest first.
    pub(super) fn around(&self, net: IpNet) -> Vec<IpNet> {
        close::around(net).filter(|wide| self.nets.contains_key(wide)).collect()
    }
}

/// Notes that one more view has `key`.
pub(super) fn enter<K: Clone + Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    match counts.get_mut(key) {
        Some(count) => *count += 1,
        None => {
            counts.insert(key.clone(), 1);
        }
    }
}

/// Notes that one view less has `key`.
pub(super) fn leave<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// Room in the name and prefix tables.
struct Room {
    /// Names in each of the two tables.
    short: BTreeSet<HostPattern>,
    long: BTreeSet<HostPattern>,
    prefixes: usize,
}

impl Room {
    fn new(config: &Config) -> Self {
        let internal = config.dns.internal_domains.iter().map(HostPattern::apex);
        let (short, long) = internal.partition(is_short);
        Self { short, long, prefixes: config.cluster_cidrs.len() }
    }

    /// Takes in what `group` needs; says whether it was there.
    fn take(&mut self, group: &Group) -> bool {
        let (mut short, mut long) = (Vec::new(), Vec::new());
        let mut last = None;
        for name in group.view.names.keys().map(HostPattern::apex) {
            // A name and its wildcard stand beside each other.
            if last.as_ref() == Some(&name) {
                continue;
            }
            let (known, fresh) =
                if is_short(&name) { (&self.short, &mut short) } else { (&self.long, &mut long) };
            if !known.contains(&name) {
                fresh.push(name.clone());
            }
            last = Some(name);
        }
        let prefixes = self.prefixes + prefixes(group);
        let fits = self.short.len() + short.len() <= NAMES_SHORT_ENTRIES
            && self.long.len() + long.len() <= NAMES_LONG_ENTRIES
            && prefixes <= PREFIXES_ENTRIES;
        if fits {
            self.short.extend(short);
            self.long.extend(long);
            self.prefixes = prefixes;
        }
        fits
    }
}

/// One more for the hole that keeps IPv4 out of a short IPv6 prefix.
pub(super) fn prefixes(group: &Group) -> usize {
    group.view.prefixes.len() + 1
}

fn is_short(host: &HostPattern) -> bool {
    host.wire_length() <= NAME_SHORT_BYTES
}

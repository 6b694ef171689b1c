//! A part of what the tables speak of: all of it, or what a change may concern.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::universe::Universe;
use crate::{policy::ids::Ids, registry::host::HostPattern};

/// Patterns and prefixes that are looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Region {
    /// Those that stand in a view, and those that are retired.
    pub(super) patterns: BTreeSet<HostPattern>,
    /// Entries of the name tables.
    pub(super) names: BTreeSet<HostPattern>,
    pub(super) nets: BTreeSet<IpNet>,
}

impl Region {
    /// Everything that has a number.
    pub(super) fn whole(universe: &Universe, ids: &Ids, internal_domains: &[HostPattern]) -> Self {
        let domains = internal_domains.iter().map(HostPattern::apex);
        let nets = universe.nets.keys();
        let retired = ids.prefixes().keys().filter(|net| universe.is_retired(net));
        Self {
            patterns: ids.patterns().keys().cloned().collect(),
            names: universe.patterns.keys().map(HostPattern::apex).chain(domains).collect(),
            nets: nets.chain(retired).copied().collect(),
        }
    }

    /// Adds a pattern that some view gained, lost or has with other ports: it, and what inherits
    /// from it.
    pub(super) fn add_pattern(
        &mut self,
        pattern: &HostPattern,
        ids: &Ids,
        internal_domains: &[HostPattern],
    ) {
        self.add(pattern);
        if pattern.is_wildcard() {
            let apex = pattern.apex();
            let below = ids.patterns().range(&apex..).map(|(other, _)| other);
            for other in below.take_while(|other| other.is_within(&apex)) {
                self.add(other);
            }
            self.names.extend(internal_domains.iter().map(HostPattern::apex));
        }
    }

    fn add(&mut self, pattern: &HostPattern) {
        self.names.insert(pattern.apex());
        self.patterns.insert(pattern.clone());
    }

    /// Adds a prefix in the same way.
    pub(super) fn add_net(&mut self, net: IpNet, ids: &Ids) {
        self.nets.insert(net);
        let inside = ids.prefixes().range(net..).map(|(other, _)| *other);
        self.nets.extend(inside.take_while(|other| net.contains(other)));
    }
}

//! What a change concerns: the part of the tables of before, the part that is wanted, and around
//! both what [`crate::policy::diff`] looks up on the way from one to the other.

use std::collections::{BTreeMap, BTreeSet};

use exeat_common::{
    abi::{RuleKey, RuleValue, Settings},
    id::{PolicyId, SubjectId},
};
use ipnet::IpNet;

use super::{
    Input,
    names::{self, Names},
    region::Region,
    rules,
    step::Differences,
    tables::{Tables, target},
    targets::Numbering,
    universe::{enter, leave},
};
use crate::policy::{
    ids::Ids,
    image::{Image, Prefix, WireName, rules_at},
    image_tables::mask,
    target::Target,
};

/// Both, as far as a change concerns them.
pub(super) struct Ends {
    pub(super) from: Image,
    pub(super) to: Image,
    /// Whose rules are in them.
    subjects: BTreeSet<SubjectId>,
}

impl Tables {
    pub(super) fn ends(
        &mut self,
        input: &Input<'_>,
        region: &Region,
        differences: &Differences,
        forgotten: &BTreeSet<SubjectId>,
        ids: &mut Ids,
    ) -> Ends {
        let mut numbering = Numbering::new(ids);
        let written = rules::write(region, &self.universe, &mut numbering);
        let targets = numbering.targets;
        let mut ends = self.installed(region, forgotten, ids);
        for written in written.into_values() {
            ends.to.rules.extend(written.rules);
            ends.to.prefixes.extend(written.prefixes);
        }
        let internal_domains = &input.config.dns.internal_domains;
        let names = Names { universe: &self.universe, ids, internal_domains };
        for apex in &region.names {
            let value = names.value(apex).map(|value| (WireName(apex.wire()), value));
            ends.to.names.extend(value);
        }
        self.set_targets(&mut ends, &targets);
        self.add_names_above(&mut ends);
        for net in &differences.nets {
            self.add_prefixes_around(*net, &mut ends);
        }
        let before = self.image.settings;
        ends.from.settings = before;
        ends.to.settings = before.map(|before| self.settings(before, &ends));
        for end in [&mut ends.from, &mut ends.to] {
            end.by_cgroup.clone_from(&self.image.by_cgroup);
            end.by_ifindex.clone_from(&self.image.by_ifindex);
        }
        ends
    }

    /// What the tables of before have in `region`; nothing is wanted yet.
    fn installed(&self, region: &Region, forgotten: &BTreeSet<SubjectId>, ids: &Ids) -> Ends {
        let patterns = region.patterns.iter().filter_map(|it| ids.patterns().get(it));
        let nets = region.nets.iter().filter_map(|it| ids.prefixes().get(it));
        let others = forgotten.iter().chain([&SubjectId::ANYWHERE]);
        let subjects: BTreeSet<SubjectId> = patterns.chain(nets).chain(others).copied().collect();
        let mut from = Image::default();
        for name in region.names.iter().map(|apex| WireName(apex.wire())) {
            if let Some(value) = self.image.names.get(&name) {
                from.names.insert(name, *value);
            }
        }
        for policy in self.universe.groups.keys() {
            from.rules.extend(subjects.iter().flat_map(|it| self.rules_at(*policy, *it)));
            let prefixes = region.nets.iter().map(|net| rules::prefix(*policy, *net));
            from.prefixes.extend(prefixes.filter_map(|it| self.prefix_at(it)));
        }
        Ends { from, to: Image::default(), subjects }
    }

    fn rules_at(
        &self,
        policy: PolicyId,
        subject: SubjectId,
    ) -> impl Iterator<Item = (RuleKey, RuleValue)> {
        let rules = self.image.rules.range(rules_at(policy, subject));
        rules.map(|(key, rule)| (*key, *rule))
    }

    fn prefix_at(&self, prefix: Prefix) -> Option<(Prefix, SubjectId)> {
        self.image.prefixes.get(&prefix).map(|subject| (prefix, *subject))
    }

    /// Targets that nothing names any more belong to one end, and those that are new to the other.
    fn set_targets(&mut self, ends: &mut Ends, named: &BTreeMap<u32, Target>) {
        let of = |end: &Image| end.rules.values().copied().filter_map(target).collect::<Vec<u32>>();
        let (before, after) = (of(&ends.from), of(&ends.to));
        let is_used = |uses: &BTreeMap<u32, usize>, number: &u32| uses.contains_key(number);
        let fresh: BTreeSet<u32> =
            after.iter().filter(|it| !is_used(&self.uses, it)).copied().collect();
        for number in &after {
            enter(&mut self.uses, number);
        }
        for number in &before {
            leave(&mut self.uses, number);
        }
        let old = before.iter().filter(|it| !is_used(&self.uses, it));
        let take = |from: &BTreeMap<u32, Target>, number: &u32| {
            from.get(number).map(|target| (*number, target.clone()))
        };
        ends.from.targets = old.filter_map(|it| take(&self.image.targets, it)).collect();
        ends.to.targets = fresh.iter().filter_map(|it| take(named, it)).collect();
    }

    /// Adds the names above those that change, with the rules they lead to, for new names are worth
    /// at first what these were.
    fn add_names_above(&self, ends: &mut Ends) {
        let mut above = BTreeMap::new();
        for name in ends.from.names.keys().chain(ends.to.names.keys()) {
            for name in std::iter::successors(name.parent(), WireName::parent) {
                if !ends.from.names.contains_key(&name)
                    && let Some(value) = self.image.names.get(&name)
                {
                    above.insert(name, *value);
                }
            }
        }
        let values = ends.from.names.values().chain(above.values());
        let subjects: BTreeSet<SubjectId> =
            values.flat_map(|value| [value.exact, value.wildcard]).collect();
        for end in [&mut ends.from, &mut ends.to] {
            end.names.extend(above.iter().map(|(name, value)| (name.clone(), *value)));
        }
        for subject in subjects {
            self.add_rules_of(subject, ends);
        }
    }

    /// Adds the prefixes around one that changes, with their rules, which count for its addresses
    /// on the way.
    fn add_prefixes_around(&self, net: IpNet, ends: &mut Ends) {
        for policy in self.universe.groups.keys() {
            let Prefix { address, bits, .. } = rules::prefix(*policy, net);
            for bits in 0..bits {
                let around = Prefix { policy: *policy, address: mask(address, bits), bits };
                let Some((prefix, subject)) = self.prefix_at(around) else {
                    continue;
                };
                if ends.from.prefixes.insert(prefix, subject).is_none() {
                    ends.to.prefixes.insert(prefix, subject);
                    self.add_rules_of(subject, ends);
                }
            }
        }
    }

    /// Adds the rules of a subject that no change concerns.
    fn add_rules_of(&self, subject: SubjectId, ends: &mut Ends) {
        if !subject.is_some() || !ends.subjects.insert(subject) {
            return;
        }
        for policy in self.universe.groups.keys() {
            for (key, rule) in self.rules_at(*policy, subject) {
                ends.from.rules.insert(key, rule);
                ends.to.rules.insert(key, rule);
            }
        }
    }

    fn settings(&self, before: Settings, ends: &Ends) -> Settings {
        let suffixes = |end: &Image| -> Vec<WireName> {
            let names = end.names.iter().filter(|(_, value)| names::is_suffix(value));
            names.map(|(name, _)| name.clone()).collect()
        };
        if suffixes(&ends.from) == suffixes(&ends.to) {
            return before;
        }
        let elsewhere =
            self.image.names.iter().filter(|(name, _)| !ends.from.names.contains_key(*name));
        let longest_wildcard_bytes = names::longest_wildcard(elsewhere.chain(&ends.to.names));
        Settings { longest_wildcard_bytes, ..before }
    }
}

//! A change of the tables in a few places: what some patterns and prefixes concern, and nothing
//! else, is made anew and compared. The operations are those that [`crate::policy::diff::diff`]
//! would find between the whole tables.

use std::collections::{BTreeMap, BTreeSet};

use exeat_common::{
    abi::{RuleKey, RuleValue, Settings},
    id::{PolicyId, SubjectId},
    limits::{
        NAME_SHORT_BYTES, NAMES_LONG_ENTRIES, NAMES_SHORT_ENTRIES, PREFIXES_ENTRIES, RULES_ENTRIES,
    },
};
use ipnet::{IpNet, Ipv4Net};

use super::{
    Hosts, Input, ViewOf,
    names::{self, Names},
    region::Region,
    rules,
    tables::{Tables, target},
    targets::{self, Numbering},
    universe::{self, enter, leave},
};
use crate::{
    config::Config,
    policy::{
        diff::diff_within,
        directory::Subject,
        ids::{Ids, RETIRED},
        image::{Image, MapOp, Prefix, WireName, rules_at},
        image_tables::mask,
        target::Target,
        view::View,
    },
    registry::{cidr, host::HostPattern},
};

/// Patterns and prefixes that some view gained, lost or has with other ports.
#[derive(Default)]
struct Differences {
    patterns: BTreeSet<HostPattern>,
    nets: BTreeSet<IpNet>,
}

/// The tables of before and those wanted, as far as a change concerns them.
struct Ends {
    from: Image,
    to: Image,
    /// Whose rules are in them.
    subjects: BTreeSet<SubjectId>,
}

impl Tables {
    /// Goes on to `views`, and returns the operations that turn the tables of before into those of
    /// now. None if that takes more than a few places: then the tables have to be made anew. The
    /// image is still that of before then, and nothing else is.
    ///
    /// Configuration and workloads have to be those of before.
    pub(in crate::policy) fn step(
        &mut self,
        input: &Input<'_>,
        views: &[ViewOf],
        hosts: Hosts,
        ids: &mut Ids,
    ) -> Option<Vec<MapOp>> {
        let views = self.view_of_each_policy(views)?;
        let differences = self.take_in(views, ids);
        let region = self.region(input, &differences, ids)?;
        let forgotten = std::mem::take(&mut self.forgotten);
        let Ends { from, to, .. } = self.ends(input, &region, &differences, &forgotten, ids);
        if !self.will_fit(input.config, &from, &to, ids) {
            return None;
        }
        let elsewhere = self.image.rules.len() - from.rules.len();
        let operations = diff_within(&from, &to, RULES_ENTRIES.saturating_sub(elsewhere));
        self.image.apply(&operations);
        if !from.targets.is_empty() || !to.targets.is_empty() {
            ids.keep_targets(&self.image.targets);
        }
        self.explain(&region, &forgotten, ids);
        self.directory.hosts = hosts;
        Some(operations)
    }

    /// The view of each policy, if workloads are grouped as before.
    fn view_of_each_policy<'a>(&self, views: &'a [ViewOf]) -> Option<BTreeMap<PolicyId, &'a View>> {
        let members = views.iter().map(|(_, members)| members);
        if !self.universe.left_out.is_empty() || !members.eq(self.views.iter().map(|(_, it)| it)) {
            return None;
        }
        let mut of_policy: BTreeMap<PolicyId, &View> = BTreeMap::new();
        for ((view, _), (policy, _)) in views.iter().zip(&self.views) {
            if *of_policy.entry(*policy).or_insert(view) != view {
                return None;
            }
        }
        let all: Vec<&View> = of_policy.values().copied().collect();
        let is_alone = |(index, view)| !all.get(index + 1..).unwrap_or_default().contains(view);
        let stays = |(policy, view): (&PolicyId, &&View)| {
            let before = self.universe.groups.get(policy);
            before.is_some_and(|before| before.view.unmatched == view.unmatched)
        };
        (all.iter().enumerate().all(is_alone) && of_policy.iter().all(stays)).then_some(of_policy)
    }

    /// Puts the views in the place of those of before, and says what is different.
    fn take_in(&mut self, views: BTreeMap<PolicyId, &View>, ids: &mut Ids) -> Differences {
        let mut differences = Differences::default();
        for (policy, view) in views {
            let Some(group) = self.universe.groups.get_mut(&policy) else {
                continue;
            };
            let before = std::mem::replace(&mut group.view, view.clone());
            for pattern in before.names.differences(&view.names) {
                let had = before.names.contains_key(pattern);
                count(&mut self.universe.patterns, pattern, had, view.names.contains_key(pattern));
                differences.patterns.insert(pattern.clone());
            }
            for net in before.prefixes.differences(&view.prefixes) {
                let had = before.prefixes.contains_key(net);
                count(&mut self.universe.nets, net, had, view.prefixes.contains_key(net));
                differences.nets.insert(*net);
            }
            ids.replace_view(policy, view.clone());
            self.directory.views.insert(policy, view.clone());
        }
        differences
    }

    /// All that the differences concern; none if it is not a part.
    fn region(
        &self,
        input: &Input<'_>,
        differences: &Differences,
        ids: &mut Ids,
    ) -> Option<Region> {
        let mut region = Region::default();
        for pattern in &differences.patterns {
            if self.universe.patterns.contains_key(pattern) {
                ids.pattern(pattern)?;
            }
            region.add_pattern(pattern, ids, &input.config.dns.internal_domains);
        }
        for net in &differences.nets {
            // These say what the others mean for IPv4.
            if cidr::swallows_ipv4(*net) || *net == IpNet::V4(Ipv4Net::default()) {
                return None;
            }
            region.add_net(*net, ids);
        }
        Some(region)
    }

    fn ends(
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
        let of = |end: &Image| end.rules.values().filter_map(target).collect::<Vec<u32>>();
        let (before, after) = (of(&ends.from), of(&ends.to));
        let is_used = |uses: &BTreeMap<u32, usize>, number: &u32| uses.contains_key(number);
        let fresh: BTreeSet<u32> =
            after.iter().filter(|it| !is_used(&self.uses, it)).copied().collect();
        after.iter().for_each(|number| enter(&mut self.uses, number));
        before.iter().for_each(|number| leave(&mut self.uses, number));
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

    /// Whether there is room for what is wanted, also beside what is retired.
    fn will_fit(&self, config: &Config, from: &Image, to: &Image, ids: &Ids) -> bool {
        let sum = |count: fn(&Image) -> usize| count(&self.image) - count(from) + count(to);
        let names = sum(|image| image.names.len());
        // Few names fit, even if all are long.
        let names_fit = names <= NAMES_LONG_ENTRIES || {
            let long = sum(long_names);
            long <= NAMES_LONG_ENTRIES && names - long <= NAMES_SHORT_ENTRIES
        };
        let prefixes: usize = self.universe.groups.values().map(universe::prefixes).sum();
        let targets_fit =
            to.targets.is_empty() || targets::fit(sum(|image| image.targets.len()), sum(backends));
        let retired = |known: usize, current: usize| known - current <= RETIRED;
        names_fit
            && targets_fit
            && sum(|image| image.rules.len()) <= RULES_ENTRIES
            && config.cluster_cidrs.len() + prefixes <= PREFIXES_ENTRIES
            && retired(ids.patterns().len(), self.universe.patterns.len())
            && retired(ids.prefixes().len(), self.universe.nets.len())
    }

    /// Keeps the directory true.
    fn explain(&mut self, region: &Region, forgotten: &BTreeSet<SubjectId>, ids: &Ids) {
        let subjects = &mut self.directory.subjects;
        forgotten.iter().for_each(|subject| subjects.remove(subject));
        for pattern in &region.patterns {
            if let Some(subject) = ids.patterns().get(pattern) {
                subjects.insert(*subject, Subject::Pattern(pattern.clone()));
            }
        }
        for net in &region.nets {
            let Some(subject) = ids.prefixes().get(net) else {
                continue;
            };
            if self.universe.nets.contains_key(net) || self.universe.is_retired(net) {
                subjects.insert(*subject, Subject::Prefix(*net));
            } else {
                subjects.remove(subject);
            }
        }
    }
}

fn long_names(image: &Image) -> usize {
    image.names.keys().filter(|name| name.as_bytes().len() > NAME_SHORT_BYTES).count()
}

fn backends(image: &Image) -> usize {
    image.targets.values().map(|target| target.backends.len()).sum()
}

/// Follows how many views have `key`.
fn count<K: Clone + Ord>(counts: &mut BTreeMap<K, usize>, key: &K, had: bool, has: bool) {
    match (had, has) {
        (false, true) => enter(counts, key),
        (true, false) => leave(counts, key),
        _ => {}
    }
}

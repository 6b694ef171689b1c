//! A change of the tables in a few places: what some patterns and prefixes concern, and nothing
//! else, is made anew and compared. The operations are those that [`crate::policy::diff::diff`]
//! would find between the whole tables.

use std::collections::{BTreeMap, BTreeSet};

use exeat_common::{
    id::{PolicyId, SubjectId},
    limits::{
        NAME_SHORT_BYTES, NAMES_LONG_ENTRIES, NAMES_SHORT_ENTRIES, PREFIXES_ENTRIES, RULES_ENTRIES,
    },
};
use ipnet::{IpNet, Ipv4Net};

use super::{
    Hosts, Input, ViewOf,
    ends::Ends,
    region::Region,
    tables::Tables,
    targets,
    universe::{self, enter, leave},
};
use crate::{
    config::Config,
    policy::{
        diff::diff_within,
        directory::Subject,
        ids::{Ids, RETIRED},
        image::{Image, MapOp},
        target::Target,
        view::View,
    },
    registry::{cidr, host::HostPattern},
};

/// Patterns and prefixes that some view gained, lost or has with other ports.
#[derive(Default)]
pub(super) struct Differences {
    pub(super) patterns: BTreeSet<HostPattern>,
    pub(super) nets: BTreeSet<IpNet>,
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
        for subject in forgotten {
            subjects.remove(subject);
        }
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
    image.targets.values().map(Target::places).sum()
}

/// Follows how many views have `key`.
fn count<K: Clone + Ord>(counts: &mut BTreeMap<K, usize>, key: &K, had: bool, has: bool) {
    match (had, has) {
        (false, true) => enter(counts, key),
        (true, false) => leave(counts, key),
        _ => {}
    }
}

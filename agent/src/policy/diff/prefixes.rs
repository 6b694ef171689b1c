//! Prefixes of policies that are in use, and the rules behind them.
//!
//! A prefix that appears or goes changes which rules an address leads to. So on the way every
//! prefix of both tables is there, and each carries for every port what is desired for its
//! addresses, or else what was installed for them. The longest come first: until one of them is
//! there, its addresses are judged as installed.

use std::collections::{BTreeMap, BTreeSet};

use exeat_common::{
    abi::{RuleKey, RuleValue, action},
    id::{PolicyId, SubjectId},
};

use super::way::Way;
use crate::policy::{
    image::{Image, Prefix, prefixes_of, rules_at},
    image_tables::mask,
};

/// Rules of a subject, by a key without policy and subject.
type Rules = BTreeMap<RuleKey, RuleValue>;

/// Writes what is desired over what is installed. Unless `keep_all`, installed rules that allow
/// and are not desired are left out, to save room.
pub(super) fn write(way: &mut Way<'_>, policies: &BTreeSet<PolicyId>, keep_all: bool) {
    for policy in policies {
        let (installed, desired) = (Level::new(way.from, *policy), Level::new(way.to, *policy));
        for (prefix, subject) in both(&installed, &desired) {
            let mut rules = installed.rules(prefix);
            rules.retain(|_, rule| keep_all || rule.action != action::ALLOW);
            rules.extend(desired.rules(prefix));
            let is_reached = way.now.prefixes.get(&prefix) == Some(&subject);
            if !is_reached {
                strip(way, *policy, subject, &rules);
            }
            for (key, rule) in rules {
                way.set_rule(RuleKey { policy: *policy, subject, ..key }, rule);
            }
            way.set_prefix(prefix, subject);
        }
    }
}

/// Removes the rules that are not desired, then the prefixes, which say nothing of their own then.
pub(super) fn remove(way: &mut Way<'_>, policies: &BTreeSet<PolicyId>) {
    for policy in policies {
        let (installed, desired) = (Level::new(way.from, *policy), Level::new(way.to, *policy));
        let both = both(&installed, &desired);
        for (prefix, subject) in &both {
            strip(way, *policy, *subject, &desired.rules(*prefix));
        }
        for (prefix, _) in both {
            if !way.to.prefixes.contains_key(&prefix) {
                way.remove_prefix(prefix);
            }
        }
    }
}

/// Removes the rules of a subject that are not in `kept`.
fn strip(way: &mut Way<'_>, policy: PolicyId, subject: SubjectId, kept: &Rules) {
    let now = way.now.rules.range(rules_at(policy, subject));
    let extra: Vec<RuleKey> =
        now.map(|(key, _)| *key).filter(|key| !kept.contains_key(&bare(key))).collect();
    for key in extra {
        way.remove_rule(key);
    }
}

/// The prefixes of both, the longest first.
fn both(installed: &Level<'_>, desired: &Level<'_>) -> Vec<(Prefix, SubjectId)> {
    let mut both: BTreeMap<Prefix, SubjectId> = installed.prefixes().collect();
    both.extend(desired.prefixes());
    let mut both: Vec<(Prefix, SubjectId)> = both.into_iter().collect();
    both.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.bits));
    both
}

/// The prefixes of one policy in one image.
struct Level<'a> {
    image: &'a Image,
    policy: PolicyId,
    lengths: BTreeSet<u8>,
}

impl<'a> Level<'a> {
    fn new(image: &'a Image, policy: PolicyId) -> Self {
        let prefixes = image.prefixes.range(prefixes_of(policy));
        Self { image, policy, lengths: prefixes.map(|(prefix, _)| prefix.bits).collect() }
    }

    fn prefixes(&self) -> impl Iterator<Item = (Prefix, SubjectId)> + use<'a> {
        let prefixes = self.image.prefixes.range(prefixes_of(self.policy));
        prefixes.map(|(prefix, subject)| (*prefix, *subject))
    }

    /// The rules that addresses in `prefix` lead to, as far as no longer prefix takes them.
    fn rules(&self, prefix: Prefix) -> Rules {
        let mut around = self.lengths.range(..=prefix.bits).rev();
        let subject = around.find_map(|bits| {
            let around =
                Prefix { policy: self.policy, address: mask(prefix.address, *bits), bits: *bits };
            self.image.prefixes.get(&around)
        });
        let Some(subject) = subject else {
            return Rules::new();
        };
        let rules = self.image.rules.range(rules_at(self.policy, *subject));
        rules.map(|(key, rule)| (bare(key), *rule)).collect()
    }
}

/// A key as it stands for every policy and subject.
fn bare(key: &RuleKey) -> RuleKey {
    RuleKey { policy: PolicyId::default(), subject: SubjectId::NONE, ..*key }
}

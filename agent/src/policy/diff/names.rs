//! Names, and the rules of policies in use that go by name.
//!
//! Among the names of one address the rule counts that weighs most: a redirect, then the higher rank,
//! then a denial. So what is desired is written from the heaviest down, and what is installed is
//! removed from the lightest up.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use exeat_common::{
    abi::{NameValue, RuleKey, RuleValue, action, name_flag},
    decide::weight,
    id::{PolicyId, SubjectId},
};

use super::way::Way;
use crate::policy::image::{MapOp, WireName, parent, rules_at, rules_of};

/// The rules by name that differ.
pub(super) struct RuleChanges(Vec<Change>);

#[derive(Clone, Copy)]
struct Change {
    key: RuleKey,
    installed: Option<RuleValue>,
    desired: Option<RuleValue>,
}

impl RuleChanges {
    pub(super) fn new(way: &Way<'_>, policies: &BTreeSet<PolicyId>) -> Self {
        let mut changes = Vec::new();
        for policy in policies {
            let installed = way.now.rules.range(rules_of(*policy));
            let desired = way.to.rules.range(rules_of(*policy));
            let keys: BTreeSet<RuleKey> = installed
                .chain(desired)
                .map(|(key, _)| *key)
                .filter(|key| !key.subject.is_prefix())
                .collect();
            for key in keys {
                let change = Change {
                    key,
                    installed: way.now.rules.get(&key).copied(),
                    desired: way.to.rules.get(&key).copied(),
                };
                if change.installed != change.desired {
                    changes.push(change);
                }
            }
        }
        Self(changes)
    }

    /// Writes what is desired, but leaves where it is what weighs more.
    pub(super) fn write(&self, way: &mut Way<'_>) {
        let grows = |it: &&Change| it.installed.map(weight) <= it.desired.map(weight);
        let mut changes: Vec<&Change> = self.0.iter().filter(grows).collect();
        changes.sort_by_key(|it| Reverse((it.desired.map(weight), it.key.subject)));
        for change in changes {
            if let Some(rule) = change.desired {
                way.set_rule(change.key, rule);
            }
        }
    }

    /// Removes what is not desired, what weighs most last.
    pub(super) fn remove(&self, way: &mut Way<'_>) {
        let mut changes: Vec<&Change> = self.0.iter().collect();
        changes.sort_by_key(|it| (it.installed.map(weight), it.key.subject));
        for change in changes {
            match change.desired {
                Some(rule) => way.set_rule(change.key, rule),
                None => way.remove_rule(change.key),
            }
        }
    }
}

/// Adds the names that are new, the longest first, without changing what any policy in use grants:
/// a name that a new pattern takes from a shorter one is worth there what the shorter one is. What
/// is internal on either side is internal on the way.
pub(super) fn add(way: &mut Way<'_>, policies: &BTreeSet<PolicyId>, keep_all: bool) {
    let (from, to) = (way.from, way.to);
    let nothing = NameValue { exact: SubjectId::NONE, wildcard: SubjectId::NONE, flags: 0 };
    for name in changed(way).into_iter().rev() {
        let installed = from.names.get(name).copied().unwrap_or(nothing);
        let desired = to.names.get(name).copied().unwrap_or(nothing);
        let exact = found(&from.names, name, false);
        let wildcard = found(&from.names, name, true);
        inherit(way, policies, desired.exact, exact.subject, keep_all);
        inherit(way, policies, desired.wildcard, wildcard.subject, keep_all);
        let exact = exact.or_internal(found(&to.names, name, false));
        let wildcard = wildcard.or_internal(found(&to.names, name, true));
        let flag = |is_internal: bool, flag: u32| if is_internal { flag } else { 0 };
        let value = NameValue {
            exact: exact.kept(installed.exact, desired.exact),
            wildcard: wildcard.kept(installed.wildcard, desired.wildcard),
            flags: flag(exact.is_internal, name_flag::INTERNAL)
                | flag(wildcard.is_internal, name_flag::INTERNAL_BELOW),
        };
        way.set_name(name, value);
    }
}

/// Takes out what names do not mean any more, the shortest first. All rules are as desired by then.
pub(super) fn settle(way: &mut Way<'_>) {
    let to = way.to;
    for name in changed(way) {
        match to.names.get(name) {
            Some(desired) => way.set_name(name, *desired),
            None => way.push(MapOp::RemoveName(name.clone())),
        }
    }
}

/// The names that differ, the shortest first.
fn changed<'a>(way: &Way<'a>) -> Vec<&'a WireName> {
    let (from, to) = (way.from, way.to);
    let keys: BTreeSet<&WireName> = from.names.keys().chain(to.names.keys()).collect();
    let mut changed: Vec<&WireName> =
        keys.into_iter().filter(|name| from.names.get(name) != to.names.get(name)).collect();
    changed.sort_by_key(|name| labels(name));
    changed
}

/// Gives a new pattern the rules of the pattern that answered before it. Unless `keep_all`, those
/// that allow are left out, to save room.
fn inherit(
    way: &mut Way<'_>,
    policies: &BTreeSet<PolicyId>,
    subject: SubjectId,
    before: SubjectId,
    keep_all: bool,
) {
    if !subject.is_some() || !before.is_some() || subject == before {
        return;
    }
    let from = way.from;
    for policy in policies {
        // A pattern that has rules there is not new: it answered before.
        let mut own = from.rules.range(rules_at(*policy, subject));
        if own.next().is_some() {
            continue;
        }
        for (key, rule) in from.rules.range(rules_at(*policy, before)) {
            if keep_all || rule.action != action::ALLOW {
                way.set_rule(RuleKey { subject, ..*key }, *rule);
            }
        }
    }
}

/// What answers for a name, or for the names below it.
#[derive(Clone, Copy, Default)]
struct Found {
    subject: SubjectId,
    is_internal: bool,
}

impl Found {
    fn or_internal(self, other: Self) -> Self {
        Self { is_internal: self.is_internal || other.is_internal, ..self }
    }

    /// What the slot holds on the way: what is installed, else what is desired. If neither is
    /// there but the name is internal, the kernel looks no further, so it must be said here.
    fn kept(self, installed: SubjectId, desired: SubjectId) -> SubjectId {
        let inherited = if self.is_internal { self.subject } else { SubjectId::NONE };
        let candidates = [installed, desired, inherited];
        let mut candidates = candidates.into_iter();
        candidates.find(|it| it.is_some()).unwrap_or_default()
    }
}

/// What answers for `name`, or for what lies `below` it.
fn found(names: &BTreeMap<WireName, NameValue>, name: &WireName, below: bool) -> Found {
    let value = |name: &[u8]| names.get(&WireName(name.to_vec())).copied();
    let mut suffix = Some(name.as_bytes());
    if !below {
        if let Some(value) = value(name.as_bytes()) {
            let found =
                Found { subject: value.exact, is_internal: value.flags & name_flag::INTERNAL != 0 };
            if found.subject.is_some() || found.is_internal {
                return found;
            }
        }
        suffix = parent(name.as_bytes());
    }
    while let Some(wire) = suffix {
        if let Some(value) = value(wire) {
            let found = Found {
                subject: value.wildcard,
                is_internal: value.flags & name_flag::INTERNAL_BELOW != 0,
            };
            if found.subject.is_some() || found.is_internal {
                return found;
            }
        }
        suffix = parent(wire);
    }
    Found::default()
}

fn labels(name: &WireName) -> usize {
    std::iter::successors(Some(name.as_bytes()), |wire| parent(wire)).count()
}

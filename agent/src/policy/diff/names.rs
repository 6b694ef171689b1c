//! Names, and the rules of policies in use that go by name.
//!
//! Among the names of one address a redirect beats every direct rule, then the higher subject
//! counts. So desired redirects are written before other rules, installed ones are removed after,
//! and within each group the order is that of the subjects.

use std::{cmp::Reverse, collections::BTreeSet};

use exeat_common::{
    abi::{NameValue, RuleKey, RuleValue, action},
    id::{PolicyId, SubjectId},
};

use super::way::{Way, rules_of};
use crate::policy::image::{MapOp, WireName};

/// The rules by name that differ.
pub(super) struct RuleChanges(Vec<Change>);

#[derive(Clone, Copy)]
struct Change {
    key: RuleKey,
    installed: Option<RuleValue>,
    desired: Option<RuleValue>,
}

fn redirects(rule: Option<RuleValue>) -> bool {
    rule.is_some_and(|rule| rule.action == action::REDIRECT)
}

impl RuleChanges {
    /// The highest subject first.
    pub(super) fn new(way: &Way<'_>, policies: &BTreeSet<PolicyId>) -> Self {
        let mut changes = Vec::new();
        for policy in policies {
            let installed = way.from.rules.range(rules_of(*policy));
            let desired = way.to.rules.range(rules_of(*policy));
            let keys: BTreeSet<RuleKey> = installed
                .chain(desired)
                .map(|(key, _)| *key)
                .filter(|key| !key.subject.is_prefix())
                .collect();
            for key in keys {
                let change = Change {
                    key,
                    installed: way.from.rules.get(&key).copied(),
                    desired: way.to.rules.get(&key).copied(),
                };
                if change.installed != change.desired {
                    changes.push(change);
                }
            }
        }
        changes.sort_by_key(|change| Reverse(change.key.subject));
        Self(changes)
    }

    /// Writes what is desired, but leaves installed redirects where they are.
    pub(super) fn write(&self, way: &mut Way<'_>) {
        let (to_redirect, others): (Vec<&Change>, Vec<&Change>) =
            self.0.iter().partition(|change| redirects(change.desired));
        let direct = others.into_iter().filter(|it| !redirects(it.installed));
        for change in to_redirect.into_iter().chain(direct) {
            if let Some(rule) = change.desired {
                way.set_rule(change.key, rule);
            }
        }
    }

    /// Removes what is not desired, and installed redirects after everything else.
    pub(super) fn remove(&self, way: &mut Way<'_>) {
        let (redirecting, direct): (Vec<&Change>, Vec<&Change>) =
            self.0.iter().rev().partition(|change| redirects(change.installed));
        for change in direct.into_iter().chain(redirecting) {
            match change.desired {
                Some(rule) => way.set_rule(change.key, rule),
                None => way.remove_rule(change.key),
            }
        }
    }
}

/// Makes the names as desired: first what they mean newly, the longest first, then without what
/// they meant before, the shortest first. Names have no policy, so all rules are written already.
pub(super) fn write_names(way: &mut Way<'_>) {
    let (from, to) = (way.from, way.to);
    let keys: BTreeSet<&WireName> = from.names.keys().chain(to.names.keys()).collect();
    let mut changed: Vec<&WireName> =
        keys.into_iter().filter(|name| from.names.get(name) != to.names.get(name)).collect();
    changed.sort_by_key(|name| Reverse(labels(name)));
    for name in &changed {
        if let Some(desired) = to.names.get(name) {
            way.set_name(name, over(*desired, from.names.get(name)));
        }
    }
    for name in changed.iter().rev() {
        match to.names.get(name) {
            Some(desired) => way.set_name(name, *desired),
            None => way.push(MapOp::RemoveName((*name).clone())),
        }
    }
}

/// `desired`, and where it says nothing what was installed.
fn over(desired: NameValue, installed: Option<&NameValue>) -> NameValue {
    let Some(installed) = installed else {
        return desired;
    };
    let either = |desired: SubjectId, installed: SubjectId| {
        if desired.is_some() { desired } else { installed }
    };
    NameValue {
        exact: either(desired.exact, installed.exact),
        wildcard: either(desired.wildcard, installed.wildcard),
        flags: desired.flags | installed.flags,
    }
}

fn labels(name: &WireName) -> usize {
    let mut rest = name.as_bytes();
    let mut labels = 0;
    while let Some((&length, tail)) = rest.split_first() {
        if length == 0 {
            break;
        }
        rest = tail.get(usize::from(length)..).unwrap_or_default();
        labels += 1;
    }
    labels
}

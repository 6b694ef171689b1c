//! The way from the installed tables to the desired ones, safe at every step.
//!
//! What judges a flow forms an order: resolvers and addresses inside the cluster, then the longest
//! prefix, then names by their rank, then what is open to every address, then the mode of the
//! workload. Whatever stands higher hides
//! what stands lower. So the way goes down once and writes what is desired, the highest first;
//! then it goes up and removes what is not, the lowest first. At every moment, what decides a flow
//! either is desired and has everything desired above it in place, or is installed and has
//! everything installed above it in place. Every verdict on the way is one of the two.
//!
//! Names have no policy. New ones are added at the beginning, worth in every policy in use what
//! answered for them so far; those that are gone are taken out when all rules are as desired,
//! for the compiler keeps the rules of a pattern that left as long as a shorter one covers it.
//! One thing is not exact: a name that is asked for on the way has the rank of its new pattern and
//! the rules of the old one, so if its address has a second declared name, the other may decide.
//!
//! Workloads that change their policy do so at once: the new one is complete before, the old one
//! is taken apart after. The compiler moves them only to policies that are new or stay as they are.
//!
//! Targets never change their content. New ones are written before all else and old ones removed
//! after it, so that whatever names a target finds it.
//!
//! If the rules of both do not fit the table together, what is no longer allowed goes first. Then
//! nothing is allowed that neither allows, but some of what both allow may be denied on the way.

mod anywhere;
mod names;
mod prefixes;
mod way;
mod workloads;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use exeat_common::{
    abi::{Settings, action, setting_flag},
    id::PolicyId,
    limits::RULES_ENTRIES,
};

use super::image::{self, Image, MapOp};
use way::Way;

/// The operations that turn `installed` into `desired`, in an order in which every flow is judged
/// at every moment as one of the two would judge it. `settings.generation` is not compared.
///
/// Both must give one prefix one subject, everywhere, which the compiler does.
pub fn diff(installed: &Image, desired: &Image) -> Vec<MapOp> {
    diff_within(installed, desired, RULES_ENTRIES)
}

/// As [`diff`], with room for so many rules.
pub(super) fn diff_within(installed: &Image, desired: &Image, rules: usize) -> Vec<MapOp> {
    let extra = installed.rules.keys().filter(|key| !desired.rules.contains_key(*key));
    let fits = desired.rules.len() + extra.count() <= rules;
    let mut way = Way::new(installed, desired);

    add_targets(&mut way);
    workloads::remove_gone(&mut way);
    if !fits {
        drop_allowances(&mut way);
    }
    open_top(&mut way);
    let policies = PolicyUse::new(installed, desired);
    names::add(&mut way, &policies.before, fits);
    complete(&mut way, &policies.fresh);
    workloads::switch(&mut way);

    let changed: BTreeSet<PolicyId> = way.changed_policies(&policies.staying);
    prefixes::write(&mut way, &changed, fits);
    let rules = names::RuleChanges::new(&way, &changed);
    rules.write(&mut way);
    anywhere::write(&mut way, &changed);
    workloads::change_modes(&mut way);
    anywhere::remove(&mut way, &changed);
    rules.remove(&mut way);
    names::settle(&mut way);
    prefixes::remove(&mut way, &changed);

    way.sweep();
    close_top(&mut way);
    workloads::place(&mut way);
    remove_targets(&mut way);
    way.finish()
}

/// Adds the targets that are new, before anything names them.
fn add_targets(way: &mut Way<'_>) {
    for (number, target) in &way.to.targets {
        if way.from.targets.get(number) != Some(target) {
            way.push(MapOp::SetTarget(*number, target.clone()));
        }
    }
}

/// Removes the targets that nothing names any more.
fn remove_targets(way: &mut Way<'_>) {
    for number in way.from.targets.keys() {
        if !way.to.targets.contains_key(number) {
            way.push(MapOp::RemoveTarget(*number));
        }
    }
}

/// Which policies workloads have.
struct PolicyUse {
    /// Somebody has them before.
    before: BTreeSet<PolicyId>,
    /// Nobody has them yet.
    fresh: BTreeSet<PolicyId>,
    /// Somebody has them before and after.
    staying: BTreeSet<PolicyId>,
}

impl PolicyUse {
    fn new(installed: &Image, desired: &Image) -> Self {
        let of = |image: &Image| -> BTreeSet<PolicyId> {
            let by_cgroup = image.by_cgroup.values();
            by_cgroup.chain(image.by_ifindex.values()).map(|workload| workload.policy).collect()
        };
        let (before, after) = (of(installed), of(desired));
        Self {
            fresh: after.difference(&before).copied().collect(),
            staying: after.intersection(&before).copied().collect(),
            before,
        }
    }
}

/// Makes policies that nobody has yet exactly as desired.
fn complete(way: &mut Way<'_>, fresh: &BTreeSet<PolicyId>) {
    for policy in fresh {
        for prefix in way.prefixes_now(*policy) {
            if !way.to.prefixes.contains_key(&prefix) {
                way.remove_prefix(prefix);
            }
        }
        for key in way.rules_now(*policy) {
            if !way.to.rules.contains_key(&key) {
                way.remove_rule(key);
            }
        }
        let to = way.to;
        for (key, value) in to.rules.range(image::rules_of(*policy)) {
            way.set_rule(*key, *value);
        }
        for (prefix, subject) in to.prefixes.range(image::prefixes_of(*policy)) {
            way.set_prefix(*prefix, *subject);
        }
    }
}

/// Makes room: removes what allowed and does not any more.
fn drop_allowances(way: &mut Way<'_>) {
    let from = way.from;
    for (key, value) in &from.rules {
        if value.action == action::ALLOW && !way.to.rules.contains_key(key) {
            way.remove_rule(*key);
        }
    }
}

/// Adds what stands above all rules.
fn open_top(way: &mut Way<'_>) {
    let (from, to) = (way.from, way.to);
    for resolver in &to.resolvers {
        way.set_resolver(*resolver);
    }
    if !is_external(from) {
        // Not looked at yet, so it can be changed at will.
        remove_internal(way);
    }
    if is_external(to) || !is_external(from) {
        add_internal(way);
    }
    if let Some(settings) = to.settings {
        let before = from.settings.unwrap_or(settings);
        way.set_settings(Settings {
            flags: settings.flags | (before.flags & setting_flag::SCOPE_EXTERNAL),
            longest_wildcard_bytes: settings
                .longest_wildcard_bytes
                .max(before.longest_wildcard_bytes),
            resolver_ports: settings.resolver_ports | before.resolver_ports,
            ..settings
        });
    }
}

/// Removes what stood above all rules.
fn close_top(way: &mut Way<'_>) {
    if let Some(settings) = way.to.settings {
        way.set_settings(settings);
    }
    add_internal(way);
    remove_internal(way);
    let from = way.from;
    for resolver in from.resolvers.difference(&way.to.resolvers) {
        way.remove_resolver(*resolver);
    }
}

fn add_internal(way: &mut Way<'_>) {
    let to = way.to;
    for (prefix, subject) in to.prefixes.range(image::prefixes_of(PolicyId::INTERNAL)) {
        way.set_prefix(*prefix, *subject);
    }
}

fn remove_internal(way: &mut Way<'_>) {
    for prefix in way.prefixes_now(PolicyId::INTERNAL) {
        if !way.to.prefixes.contains_key(&prefix) {
            way.remove_prefix(prefix);
        }
    }
}

fn is_external(image: &Image) -> bool {
    let flags = image.settings.map_or(0, |settings| settings.flags);
    flags & setting_flag::SCOPE_EXTERNAL != 0
}

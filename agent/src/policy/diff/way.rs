//! The tables as they are on the way, and the operations so far.

use std::collections::BTreeSet;

use exeat_common::{
    abi::{NameValue, ResolverKey, RuleKey, RuleValue, Settings},
    id::{PolicyId, SubjectId},
};

use crate::policy::image::{Image, MapOp, Prefix, WireName, prefixes_of, rules_of};

/// Writes only what differs, so every step can simply say what it wants.
pub(super) struct Way<'a> {
    pub(super) from: &'a Image,
    pub(super) to: &'a Image,
    pub(super) now: Image,
    operations: Vec<MapOp>,
}

impl<'a> Way<'a> {
    pub(super) fn new(from: &'a Image, to: &'a Image) -> Self {
        Self { from, to, now: from.clone(), operations: Vec::new() }
    }

    pub(super) fn finish(self) -> Vec<MapOp> {
        self.operations
    }

    pub(super) fn push(&mut self, operation: MapOp) {
        self.now.apply(std::slice::from_ref(&operation));
        self.operations.push(operation);
    }

    pub(super) fn set_rule(&mut self, key: RuleKey, value: RuleValue) {
        if self.now.rules.get(&key) != Some(&value) {
            self.push(MapOp::SetRule(key, value));
        }
    }

    pub(super) fn remove_rule(&mut self, key: RuleKey) {
        if self.now.rules.contains_key(&key) {
            self.push(MapOp::RemoveRule(key));
        }
    }

    pub(super) fn set_prefix(&mut self, prefix: Prefix, subject: SubjectId) {
        if self.now.prefixes.get(&prefix) != Some(&subject) {
            self.push(MapOp::SetPrefix(prefix, subject));
        }
    }

    pub(super) fn remove_prefix(&mut self, prefix: Prefix) {
        if self.now.prefixes.contains_key(&prefix) {
            self.push(MapOp::RemovePrefix(prefix));
        }
    }

    pub(super) fn set_name(&mut self, name: &WireName, value: NameValue) {
        if self.now.names.get(name) != Some(&value) {
            self.push(MapOp::SetName(name.clone(), value));
        }
    }

    pub(super) fn set_resolver(&mut self, resolver: ResolverKey) {
        if !self.now.resolvers.contains(&resolver) {
            self.push(MapOp::SetResolver(resolver));
        }
    }

    pub(super) fn remove_resolver(&mut self, resolver: ResolverKey) {
        self.push(MapOp::RemoveResolver(resolver));
    }

    /// Keeps the generation, which is not ours.
    pub(super) fn set_settings(&mut self, settings: Settings) {
        let generation = self.now.settings.map_or(0, |now| now.generation);
        let settings = Settings { generation, ..settings };
        if self.now.settings != Some(settings) {
            self.push(MapOp::SetSettings(settings));
        }
    }

    pub(super) fn prefixes_now(&self, policy: PolicyId) -> Vec<Prefix> {
        let range = self.now.prefixes.range(prefixes_of(policy));
        range.map(|(prefix, _)| *prefix).collect()
    }

    pub(super) fn rules_now(&self, policy: PolicyId) -> Vec<RuleKey> {
        let range = self.now.rules.range(rules_of(policy));
        range.map(|(key, _)| *key).collect()
    }

    /// Those of `policies` whose rules or prefixes are not as desired.
    pub(super) fn changed_policies(&self, policies: &BTreeSet<PolicyId>) -> BTreeSet<PolicyId> {
        let is_changed = |policy: &PolicyId| {
            let rules = rules_of(*policy);
            let prefixes = prefixes_of(*policy);
            let same_rules = self.now.rules.range(rules.clone()).eq(self.to.rules.range(rules));
            let now = self.now.prefixes.range(prefixes.clone());
            !same_rules || !now.eq(self.to.prefixes.range(prefixes))
        };
        policies.iter().copied().filter(is_changed).collect()
    }

    /// Makes rules and prefixes as desired where no workload is concerned any more: policies that
    /// nobody has, and subjects that nothing leads to.
    pub(super) fn sweep(&mut self) {
        let to = self.to;
        for (key, value) in &to.rules {
            self.set_rule(*key, *value);
        }
        let internal = |prefix: &Prefix| prefix.policy == PolicyId::INTERNAL;
        for (prefix, subject) in to.prefixes.iter().filter(|(prefix, _)| !internal(prefix)) {
            self.set_prefix(*prefix, *subject);
        }
        let prefixes: Vec<Prefix> = self.now.prefixes.keys().copied().collect();
        for prefix in prefixes {
            if !internal(&prefix) && !to.prefixes.contains_key(&prefix) {
                self.remove_prefix(prefix);
            }
        }
        let rules: Vec<RuleKey> = self.now.rules.keys().copied().collect();
        for key in rules {
            if !to.rules.contains_key(&key) {
                self.remove_rule(key);
            }
        }
    }
}

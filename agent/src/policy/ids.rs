//! Names to numbers that stay: facts in the kernel carry pattern ids, so an id never changes hands.

use std::collections::{BTreeMap, BTreeSet};

use exeat_common::{
    abi::Workload as WorkloadValue,
    id::{PolicyId, SubjectId, WorkloadId},
};
use ipnet::IpNet;

use super::{image::Image, target::Target, view::View};
use crate::{
    registry::{cidr, host::HostPattern},
    workloads::{PlacedWorkload, WorkloadKey},
};

/// Most subjects that left the registry and still have rules. Beyond, the oldest are forgotten.
pub(super) const RETIRED: usize = 4096;

/// The numbers given out so far. They only grow: a number is never given to something else.
///
/// A subject that leaves the registry is *retired*: it keeps its number and, where a shorter
/// pattern or prefix still covers it, its rules, because facts and established flows name it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ids {
    patterns: BTreeMap<HostPattern, SubjectId>,
    prefixes: BTreeMap<IpNet, SubjectId>,
    workloads: BTreeMap<WorkloadKey, Placed>,
    views: BTreeMap<PolicyId, View>,
    targets: BTreeMap<Target, u32>,
    /// What an earlier agent left, until it is claimed.
    found: Found,
    next_pattern: u32,
    next_prefix: u32,
    next_workload: u32,
    next_policy: u32,
    next_target: u32,
}

/// A workload as it was placed last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Placed {
    id: WorkloadId,
    cgroup: Option<u64>,
    ifindex: Option<u32>,
    policy: Option<PolicyId>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Found {
    by_cgroup: BTreeMap<u64, WorkloadValue>,
    by_ifindex: BTreeMap<u32, WorkloadValue>,
}

impl Default for Ids {
    fn default() -> Self {
        Self {
            patterns: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            workloads: BTreeMap::new(),
            views: BTreeMap::new(),
            targets: BTreeMap::new(),
            found: Found::default(),
            // 0 is none in every one of them; policy 0 holds the addresses inside the cluster.
            next_pattern: 1,
            next_prefix: 1,
            next_workload: 1,
            next_policy: 1,
            next_target: 1,
        }
    }
}

impl Ids {
    /// Continues with the numbers of the tables an earlier agent left, so that what the kernel
    /// learned keeps its meaning.
    pub fn seeded(installed: &Image) -> Self {
        let mut ids = Self::default();
        for (name, value) in &installed.names {
            ids.seed_pattern(name.as_bytes(), value.exact, false);
            ids.seed_pattern(name.as_bytes(), value.wildcard, true);
        }
        for (prefix, subject) in &installed.prefixes {
            ids.next_prefix = ids.next_prefix.max(subject.serial() + 1);
            if let Some(net) = cidr::from_bits(prefix.address, prefix.bits) {
                ids.prefixes.insert(net, *subject);
            }
        }
        for key in installed.rules.keys() {
            ids.next_policy = ids.next_policy.max(key.policy.raw() + 1);
            let next =
                if key.subject.is_prefix() { &mut ids.next_prefix } else { &mut ids.next_pattern };
            *next = (*next).max(key.subject.serial() + 1);
        }
        let workloads = installed.by_cgroup.values();
        for workload in workloads.chain(installed.by_ifindex.values()) {
            ids.next_workload = ids.next_workload.max(workload.id.raw() + 1);
            ids.next_policy = ids.next_policy.max(workload.policy.raw() + 1);
        }
        for prefix in installed.prefixes.keys() {
            ids.next_policy = ids.next_policy.max(prefix.policy.raw() + 1);
        }
        for (number, target) in &installed.targets {
            ids.next_target = ids.next_target.max(number + 1);
            ids.targets.insert(target.clone(), *number);
        }
        ids.found = Found {
            by_cgroup: installed.by_cgroup.clone(),
            by_ifindex: installed.by_ifindex.clone(),
        };
        ids
    }

    /// Takes a pattern over, unless the slot holds the pattern of a shorter name.
    fn seed_pattern(&mut self, wire: &[u8], subject: SubjectId, wildcard: bool) {
        if !subject.is_some() {
            return;
        }
        self.next_pattern = self.next_pattern.max(subject.serial() + 1);
        let Some(host) = HostPattern::from_wire(wire, wildcard) else {
            return;
        };
        if SubjectId::pattern(subject.serial(), !wildcard, host.labels()) == subject {
            self.patterns.insert(host, subject);
        }
    }

    /// Continues above `serial`, for facts that outlived the tables.
    pub fn raise_pattern_floor(&mut self, serial: u32) {
        self.next_pattern = self.next_pattern.max(serial.saturating_add(1));
    }

    /// Forgets subjects that left the registry and that nothing in the kernel names any more.
    /// `current` are the tables compiled last. Returns those that were forgotten.
    pub(super) fn forget_retired(
        &mut self,
        current: &Image,
        in_use: impl Fn(SubjectId) -> bool,
    ) -> Vec<SubjectId> {
        let mut kept: BTreeSet<SubjectId> = current.prefixes.values().copied().collect();
        for value in current.names.values() {
            kept.extend([value.exact, value.wildcard]);
        }
        let mut forgotten = Vec::new();
        let mut stays = |subject: &SubjectId| {
            let stays = kept.contains(subject) || in_use(*subject);
            if !stays {
                forgotten.push(*subject);
            }
            stays
        };
        self.patterns.retain(|_, subject| stays(subject));
        self.prefixes.retain(|_, subject| stays(subject));
        forgotten
    }

    /// Every pattern that has a number.
    pub(super) const fn patterns(&self) -> &BTreeMap<HostPattern, SubjectId> {
        &self.patterns
    }

    /// Every prefix that has a number.
    pub(super) const fn prefixes(&self) -> &BTreeMap<IpNet, SubjectId> {
        &self.prefixes
    }

    /// The number of a pattern; none once all are used up.
    pub(super) fn pattern(&mut self, host: &HostPattern) -> Option<SubjectId> {
        if let Some(subject) = self.patterns.get(host) {
            return Some(*subject);
        }
        let serial = Some(self.next_pattern).filter(|serial| *serial <= SubjectId::SERIAL_MAX)?;
        self.next_pattern += 1;
        let subject = SubjectId::pattern(serial, !host.is_wildcard(), host.labels());
        self.patterns.insert(host.clone(), subject);
        Some(subject)
    }

    /// The number of a prefix.
    pub(super) fn prefix(&mut self, net: IpNet) -> SubjectId {
        if let Some(subject) = self.prefixes.get(&net) {
            return *subject;
        }
        let subject = SubjectId::prefix(self.next_prefix);
        self.next_prefix += 1;
        self.prefixes.insert(net, subject);
        subject
    }

    /// The number of a target, which stands for this content alone.
    pub(super) fn target(&mut self, target: &Target) -> u32 {
        if let Some(number) = self.targets.get(target) {
            return *number;
        }
        let number = self.next_target;
        self.next_target += 1;
        self.targets.insert(target.clone(), number);
        number
    }

    /// Forgets the numbers of all other targets: no fact and no flow names them.
    pub(super) fn keep_targets(&mut self, current: &BTreeMap<u32, Target>) {
        self.targets.retain(|_, number| current.contains_key(number));
    }

    /// Forgets the oldest of the patterns and prefixes that left, where they are too many.
    pub(super) fn limit_retired(
        &mut self,
        is_pattern_retired: impl Fn(&HostPattern) -> bool,
        is_prefix_retired: impl Fn(&IpNet) -> bool,
    ) {
        limit_retired(&mut self.patterns, is_pattern_retired);
        limit_retired(&mut self.prefixes, is_prefix_retired);
    }

    /// The number of a workload, and which policy it had. A workload of the same name at another
    /// place is another workload: it was told nothing yet.
    pub(super) fn workload(&mut self, placed: &PlacedWorkload) -> (WorkloadId, Option<PolicyId>) {
        let known = self.workloads.get(&placed.workload.key).copied();
        let found = known.filter(|known| known.is_at(placed)).or_else(|| self.claim(placed));
        let entry = found.unwrap_or_else(|| {
            let id = WorkloadId::new(self.next_workload);
            self.next_workload += 1;
            Placed { id, cgroup: None, ifindex: None, policy: None }
        });
        let entry = Placed {
            cgroup: placed.cgroup_id.or(entry.cgroup),
            ifindex: placed.ifindex.or(entry.ifindex),
            ..entry
        };
        self.workloads.insert(placed.workload.key.clone(), entry);
        (entry.id, entry.policy)
    }

    /// Takes over what an earlier agent left at the same place. Both places must agree, so that no
    /// workload inherits what another one was told.
    fn claim(&mut self, placed: &PlacedWorkload) -> Option<Placed> {
        let cgroup = placed.cgroup_id;
        let by_cgroup = cgroup.and_then(|id| self.found.by_cgroup.get(&id)).copied();
        let by_ifindex =
            placed.ifindex.and_then(|index| self.found.by_ifindex.get(&index)).copied();
        let found = match (cgroup, by_cgroup, by_ifindex) {
            (Some(_), Some(found), Some(other)) if found.id == other.id => found,
            (Some(_), Some(found), None) => found,
            (None, _, Some(found)) if !self.has_cgroup(found.id) => found,
            _ => return None,
        };
        if self.workloads.values().any(|known| known.id == found.id) {
            return None;
        }
        Some(Placed {
            id: found.id,
            cgroup: placed.cgroup_id,
            ifindex: placed.ifindex,
            policy: Some(found.policy),
        })
    }

    fn has_cgroup(&self, id: WorkloadId) -> bool {
        self.found.by_cgroup.values().any(|found| found.id == id)
    }

    /// Forgets workloads that are gone, and what an earlier agent left and nobody claimed.
    pub(super) fn keep_workloads(&mut self, present: &BTreeSet<WorkloadKey>) {
        self.workloads.retain(|key, _| present.contains(key));
        self.found = Found::default();
    }

    /// Notes who has a policy now.
    pub(super) fn note_policy(&mut self, policy: PolicyId, members: &[WorkloadKey]) {
        for key in members {
            if let Some(placed) = self.workloads.get_mut(key) {
                placed.policy = Some(policy);
            }
        }
    }

    /// Notes that a policy has another view now.
    pub(super) fn replace_view(&mut self, policy: PolicyId, view: View) {
        self.views.insert(policy, view);
    }

    /// Gives every group of workloads a policy. A group keeps its number if all its members had it
    /// or none, and joins another number only if that one's view is the same: then workloads move
    /// only to policies that are complete, and no policy changes under one that leaves it.
    pub(super) fn policies(&mut self, groups: &[Group]) -> Vec<PolicyId> {
        let mut taken = BTreeSet::new();
        let mut chosen: Vec<Option<PolicyId>> = vec![None; groups.len()];
        for (group, choice) in groups.iter().zip(&mut chosen) {
            let same = group.had.iter().find(|id| self.views.get(id) == Some(&group.view));
            *choice = same.copied().filter(|id| taken.insert(*id));
        }
        for (group, choice) in groups.iter().zip(&mut chosen) {
            if choice.is_none() && group.had.len() == 1 {
                *choice = group.had.first().copied().filter(|id| taken.insert(*id));
            }
        }
        let mut policies = Vec::with_capacity(groups.len());
        self.views.clear();
        for (group, choice) in groups.iter().zip(chosen) {
            let id = choice.unwrap_or_else(|| {
                let id = PolicyId::new(self.next_policy);
                self.next_policy += 1;
                id
            });
            self.views.insert(id, group.view.clone());
            self.note_policy(id, &group.members);
            policies.push(id);
        }
        policies
    }
}

/// Workloads with one view.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) view: View,
    pub(super) members: Vec<WorkloadKey>,
    /// Policies its members had.
    pub(super) had: BTreeSet<PolicyId>,
}

impl Placed {
    fn is_at(&self, placed: &PlacedWorkload) -> bool {
        match (self.cgroup, placed.cgroup_id, self.ifindex, placed.ifindex) {
            (Some(before), Some(now), ..) => before == now,
            (.., Some(before), Some(now)) => before == now,
            _ => true,
        }
    }
}

fn limit_retired<K: Clone + Ord>(
    known: &mut BTreeMap<K, SubjectId>,
    is_retired: impl Fn(&K) -> bool,
) {
    let mut retired: Vec<(K, SubjectId)> = known
        .iter()
        .filter(|(key, _)| is_retired(key))
        .map(|(key, subject)| (key.clone(), *subject))
        .collect();
    if retired.len() > RETIRED {
        retired.sort_by_key(|(_, subject)| std::cmp::Reverse(subject.serial()));
        for (key, _) in retired.drain(RETIRED..) {
            known.remove(&key);
        }
    }
}

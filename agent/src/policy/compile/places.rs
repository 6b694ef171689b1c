//! Where workloads are found: by cgroup and by interface.

use std::collections::{BTreeMap, BTreeSet};

use exeat_common::{
    abi::{Settings, Workload as WorkloadValue, mode, workload_flag},
    address::Address,
    id::{PolicyId, WorkloadId},
    limits::{CGROUP_DEPTHS, WORKLOAD_ADDRESSES, WORKLOADS_ENTRIES},
};

use super::{Input, groups::Numbered, targets::Fallback};
use crate::{
    policy::{
        directory::Known,
        image::{Image, MapOp},
    },
    registry::report::{Code, ObjectRef, Report},
    workloads::{PlacedWorkload, Workload, WorkloadKey},
};

/// Who is found where.
#[derive(Clone, Debug, Default)]
pub(super) struct Placing {
    pub(super) by_cgroup: BTreeMap<u64, WorkloadValue>,
    pub(super) by_ifindex: BTreeMap<u32, WorkloadValue>,
    /// At which the kernel looks, the deepest first; zeros after.
    pub(super) depths: [u8; CGROUP_DEPTHS],
    pub(super) known: BTreeMap<WorkloadId, Known>,
    /// Who does not fit.
    pub(super) reports: BTreeSet<Report>,
}

impl Placing {
    /// `numbered` and `policies` have one line a workload of the input; `fallbacks` has none for
    /// policies that the tables cannot hold.
    pub(super) fn of(
        input: &Input<'_>,
        numbered: &[Numbered],
        policies: &BTreeMap<usize, PolicyId>,
        fallbacks: &BTreeMap<PolicyId, Fallback>,
    ) -> Self {
        let mut placing = Self::default();
        let mut depths = BTreeSet::new();
        for (index, (placed, number)) in input.workloads.iter().zip(numbered).enumerate() {
            let Some(policy) = policies.get(&index).copied() else {
                continue;
            };
            let Workload { key, labels, .. } = &placed.workload;
            let known = Known { key: key.clone(), labels: labels.clone(), policy };
            placing.known.insert(number.id, known);
            let fallback = fallbacks.get(&policy).copied().unwrap_or_default();
            let value = WorkloadValue {
                id: number.id,
                policy,
                mode: fallback.mode,
                default_target: fallback.target,
                flags: flags(&placed.workload),
                ..place(placed, &mut placing.reports)
            };
            if let Some(cgroup) = placed.cgroup_id {
                placing.by_cgroup.insert(cgroup, value);
                depths.extend(placed.cgroup_depth.filter(|depth| *depth > 0));
            }
            if let Some(ifindex) = placed.ifindex {
                placing.by_ifindex.insert(ifindex, value);
            }
        }
        bound(&mut placing.by_cgroup, &mut placing.reports);
        bound(&mut placing.by_ifindex, &mut placing.reports);
        placing.bound_depths(input, depths);
        placing
    }

    fn bound_depths(&mut self, input: &Input<'_>, depths: BTreeSet<u8>) {
        let deepest_first: Vec<u8> = depths.into_iter().rev().collect();
        for (slot, depth) in self.depths.iter_mut().zip(&deepest_first) {
            *slot = *depth;
        }
        let left_out: BTreeSet<&u8> = deepest_first.iter().skip(CGROUP_DEPTHS).collect();
        for placed in input.workloads {
            let depth = placed.cgroup_depth;
            if depth.is_some_and(|depth| left_out.contains(&depth)) {
                let message = format!(
                    "workloads sit at more than {CGROUP_DEPTHS} depths of the cgroup tree; this one is not found there: its sockets are denied"
                );
                self.reports.insert(about(&placed.workload.key, message));
            }
        }
    }

    /// The operations that make the workload tables these, in a safe order: who is gone goes first;
    /// a veth is known before the sockets leave the packets to it.
    pub(super) fn steps(&self, image: &Image) -> Vec<MapOp> {
        let mut operations = Vec::new();
        let gone = image.by_cgroup.keys().filter(|id| !self.by_cgroup.contains_key(id));
        operations.extend(gone.map(|id| MapOp::RemoveWorkloadByCgroup(*id)));
        let gone = image.by_ifindex.keys().filter(|index| !self.by_ifindex.contains_key(index));
        operations.extend(gone.map(|index| MapOp::RemoveWorkloadByIfindex(*index)));
        if let Some(settings) = image.settings.filter(|it| it.cgroup_depths != self.depths) {
            let settings = Settings { cgroup_depths: self.depths, ..settings };
            operations.push(MapOp::SetSettings(settings));
        }
        for (index, value) in &self.by_ifindex {
            if image.by_ifindex.get(index) != Some(value) {
                operations.push(MapOp::SetWorkloadByIfindex(*index, *value));
            }
        }
        for (id, value) in &self.by_cgroup {
            if image.by_cgroup.get(id) != Some(value) {
                operations.push(MapOp::SetWorkloadByCgroup(*id, *value));
            }
        }
        operations
    }
}

/// Where the workload is judged, as it is configured: a veth that is not there yet changes nothing.
fn flags(workload: &Workload) -> u8 {
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    flag(workload.is_exempt, workload_flag::EXEMPT)
        | flag(workload.interface.is_some(), workload_flag::ON_WIRE)
        | flag(workload.arrives_past_interface, workload_flag::PAST_WIRE)
}

/// The part of the value that the place determines.
fn place(placed: &PlacedWorkload, reports: &mut BTreeSet<Report>) -> WorkloadValue {
    let given = &placed.workload.addresses;
    if given.len() > WORKLOAD_ADDRESSES {
        let message = format!("only the first {WORKLOAD_ADDRESSES} addresses may be used");
        reports.insert(about(&placed.workload.key, message));
    }
    let mut addresses = [Address::default(); WORKLOAD_ADDRESSES];
    let mut address_count = 0;
    for (slot, address) in addresses.iter_mut().zip(given) {
        *slot = Address::from(*address);
        address_count += 1;
    }
    WorkloadValue {
        id: WorkloadId::new(0),
        policy: PolicyId::INTERNAL,
        mode: mode::REGISTRY_ONLY,
        flags: 0,
        address_count,
        reserved: 0,
        default_target: 0,
        sidecar_cgroup: placed.sidecar_cgroup_id.unwrap_or(0),
        netns_cookie: placed.netns_cookie.unwrap_or(0),
        addresses,
    }
}

/// Leaves out what the table cannot hold: those workloads are then unknown, which denies them.
fn bound<K: Ord + Copy>(table: &mut BTreeMap<K, WorkloadValue>, reports: &mut BTreeSet<Report>) {
    let mut count = 0;
    while table.len() > WORKLOADS_ENTRIES {
        table.pop_last();
        count += 1;
    }
    if count > 0 {
        let key = WorkloadKey { namespace: String::new(), name: "*".to_owned() };
        let message = format!(
            "{count} workloads too many for the kernel table ({WORKLOADS_ENTRIES}): all their flows are denied"
        );
        reports.insert(about(&key, message));
    }
}

fn about(key: &WorkloadKey, message: String) -> Report {
    let object = ObjectRef {
        kind: "Workload".to_owned(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    };
    Report::new(Code::TableFull, &object, "", message)
}

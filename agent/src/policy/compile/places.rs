//! Where workloads are found: by cgroup and by interface.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use exeat_common::{
    abi::{Workload as WorkloadValue, mode, workload_flag},
    address::Address,
    id::PolicyId,
    limits::{CGROUP_DEPTHS, WORKLOAD_ADDRESSES, WORKLOADS_ENTRIES},
};

use super::{Input, groups::Numbered, tables::Tables, targets::Fallback};
use crate::{
    policy::{directory::Known, ids::Group, image::Image},
    registry::report::{Code, ObjectRef, Report},
    workloads::{PlacedWorkload, Workload, WorkloadKey},
};

/// Who has which number, and which policy.
pub(super) struct Members<'a> {
    /// One line a workload of the input.
    pub(super) numbered: &'a [Numbered],
    pub(super) groups: &'a BTreeMap<PolicyId, Group>,
    /// None for policies that the tables cannot hold.
    pub(super) fallbacks: &'a BTreeMap<PolicyId, Fallback>,
}

/// Fills the workload tables and the depths at which the kernel looks.
pub(super) fn write(input: &Input<'_>, members: &Members<'_>, tables: &mut Tables) {
    let Tables { image, directory, reports, .. } = tables;
    let mut workloads = BTreeMap::new();
    let policy_of: BTreeMap<&WorkloadKey, PolicyId> = members
        .groups
        .iter()
        .flat_map(|(id, group)| group.members.iter().map(|key| (key, *id)))
        .collect();
    let mut depths = BTreeSet::new();
    for (placed, number) in input.workloads.iter().zip(members.numbered) {
        let key = &placed.workload.key;
        let Some(policy) = policy_of.get(key).copied() else {
            continue;
        };
        workloads.insert(
            number.id,
            Known { key: key.clone(), labels: placed.workload.labels.clone(), policy },
        );
        let fallback = members.fallbacks.get(&policy).copied().unwrap_or_default();
        let value = WorkloadValue {
            id: number.id,
            policy,
            mode: fallback.mode,
            default_target: fallback.target,
            flags: flags(&placed.workload),
            ..place(placed, reports)
        };
        if let Some(cgroup) = placed.cgroup_id {
            image.by_cgroup.insert(cgroup, value);
            depths.extend(placed.cgroup_depth.filter(|depth| *depth > 0));
        }
        if let Some(ifindex) = placed.ifindex {
            image.by_ifindex.insert(ifindex, value);
        }
    }
    directory.workloads = Arc::new(workloads);
    bound(&mut image.by_cgroup, reports);
    bound(&mut image.by_ifindex, reports);
    write_depths(input, depths, image, reports);
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
        id: exeat_common::id::WorkloadId::new(0),
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

fn write_depths(
    input: &Input<'_>,
    depths: BTreeSet<u8>,
    image: &mut Image,
    reports: &mut BTreeSet<Report>,
) {
    let deepest_first: Vec<u8> = depths.into_iter().rev().collect();
    if let Some(settings) = &mut image.settings {
        for (slot, depth) in settings.cgroup_depths.iter_mut().zip(&deepest_first) {
            *slot = *depth;
        }
    }
    let left_out: BTreeSet<&u8> = deepest_first.iter().skip(CGROUP_DEPTHS).collect();
    for placed in input.workloads {
        let depth = placed.cgroup_depth;
        if depth.is_some_and(|depth| left_out.contains(&depth)) {
            let message = format!(
                "workloads sit at more than {CGROUP_DEPTHS} depths of the cgroup tree; this one is not found there: its sockets are denied"
            );
            reports.insert(about(&placed.workload.key, message));
        }
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

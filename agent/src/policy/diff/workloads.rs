//! Workload entries: when each one changes hands.

use std::collections::BTreeMap;

use exeat_common::abi::{Workload, workload_flag};

use super::way::Way;
use crate::policy::image::{Image, MapOp};

/// A key of one of the two workload tables.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Place {
    Cgroup(u64),
    Ifindex(u32),
}

impl Place {
    const fn set(self, workload: Workload) -> MapOp {
        match self {
            Self::Cgroup(id) => MapOp::SetWorkloadByCgroup(id, workload),
            Self::Ifindex(index) => MapOp::SetWorkloadByIfindex(index, workload),
        }
    }

    const fn remove(self) -> MapOp {
        match self {
            Self::Cgroup(id) => MapOp::RemoveWorkloadByCgroup(id),
            Self::Ifindex(index) => MapOp::RemoveWorkloadByIfindex(index),
        }
    }
}

fn places(image: &Image) -> BTreeMap<Place, Workload> {
    let by_cgroup = image.by_cgroup.iter();
    let by_ifindex = image.by_ifindex.iter();
    by_cgroup
        .map(|(id, workload)| (Place::Cgroup(*id), *workload))
        .chain(by_ifindex.map(|(index, workload)| (Place::Ifindex(*index), *workload)))
        .collect()
}

const fn is_exempt(workload: &Workload) -> bool {
    workload.flags & workload_flag::EXEMPT != 0
}

/// Removes those that are gone, and lets go those that are exempt now.
pub(super) fn remove_gone(way: &mut Way<'_>) {
    let desired = places(way.to);
    for (place, before) in places(&way.now) {
        match desired.get(&place) {
            None => way.push(place.remove()),
            Some(after) if is_exempt(after) && *after != before => way.push(place.set(*after)),
            Some(_) => {}
        }
    }
}

/// Moves those that change their policy.
pub(super) fn switch(way: &mut Way<'_>) {
    set_where(way, |before, after| before.is_some_and(|before| before.policy != after.policy));
}

/// Changes those that stay who and where they are: their mode is the last word on a flow, so it
/// comes after all rules are written and before any is removed.
pub(super) fn change_modes(way: &mut Way<'_>) {
    set_where(way, |before, after| {
        before.is_some_and(|before| {
            (before.policy, before.id) == (after.policy, after.id) && !is_exempt(&before)
        })
    });
}

/// Sets all that are left: new ones, and those that were exempt.
pub(super) fn place(way: &mut Way<'_>) {
    set_where(way, |_, _| true);
}

fn set_where(way: &mut Way<'_>, is_due: impl Fn(Option<Workload>, Workload) -> bool) {
    let now = places(&way.now);
    for (place, after) in places(way.to) {
        let before = now.get(&place).copied();
        if before != Some(after) && is_due(before, after) {
            way.push(place.set(after));
        }
    }
}

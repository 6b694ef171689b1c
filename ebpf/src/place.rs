//! Whose cgroup it is: the workload that somebody is in or below.

use exeat_common::abi::Workload;

use crate::tables::{settings, workload_by_cgroup};

/// Where a workload was found.
#[derive(Clone, Copy, Default)]
pub(crate) struct Place {
    pub(crate) cgroup: u64,
    /// Levels below the root of the tree.
    pub(crate) depth: u8,
}

/// The workload that is found first on the way up, and where. `ancestor` tells the cgroup at a depth; 0 if
/// whoever is asked about is not so deep.
#[inline(always)]
pub(crate) fn find(ancestor: impl Fn(u8) -> u64) -> Option<(&'static Workload, Place)> {
    for depth in settings()?.cgroup_depths {
        if depth == 0 {
            break;
        }
        let cgroup = ancestor(depth);
        if cgroup != 0
            && let Some(workload) = workload_by_cgroup(cgroup)
        {
            return Some((workload, Place { cgroup, depth }));
        }
    }
    None
}

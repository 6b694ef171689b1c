//! Workloads with their numbers, grouped by what they may use.

use std::collections::BTreeSet;

use exeat_common::id::{PolicyId, WorkloadId};

use super::{Input, ViewOf};
use crate::policy::ids::{Group, Ids};

/// One line a workload of the input: its number and the policy it had.
pub(super) struct Numbered {
    pub(super) id: WorkloadId,
    pub(super) had: Option<PolicyId>,
}

pub(super) fn number_workloads(input: &Input<'_>, ids: &mut Ids) -> Vec<Numbered> {
    // By name, so that the order of the input plays no part.
    let mut order: Vec<usize> = (0..input.workloads.len()).collect();
    order.sort_by(|a, b| {
        let key = |index: &usize| input.workloads.get(*index).map(|it| &it.workload.key);
        key(a).cmp(&key(b))
    });
    let mut numbered: Vec<(usize, Numbered)> = order
        .into_iter()
        .filter_map(|index| {
            let (id, had) = ids.workload(input.workloads.get(index)?);
            Some((index, Numbered { id, had }))
        })
        .collect();
    let present = input.workloads.iter().map(|it| it.workload.key.clone());
    ids.keep_workloads(&present.collect());
    numbered.sort_by_key(|(index, _)| *index);
    numbered.into_iter().map(|(_, it)| it).collect()
}

/// Workloads by view, and the group of each view.
pub(super) fn groups(
    input: &Input<'_>,
    views: &[ViewOf],
    numbered: &[Numbered],
) -> (Vec<Group>, Vec<usize>) {
    let mut groups: Vec<Group> = Vec::new();
    let mut group_of_view = Vec::with_capacity(views.len());
    for (view, indexes) in views {
        let position = groups.iter().position(|group| group.view == *view);
        let position = position.unwrap_or_else(|| {
            groups.push(Group { view: view.clone(), members: Vec::new(), had: BTreeSet::new() });
            groups.len() - 1
        });
        group_of_view.push(position);
        let Some(group) = groups.get_mut(position) else {
            continue;
        };
        for index in indexes {
            if let (Some(placed), Some(number)) =
                (input.workloads.get(*index), numbered.get(*index))
            {
                group.members.push(placed.workload.key.clone());
                group.had.extend(number.had);
            }
        }
    }
    (groups, group_of_view)
}

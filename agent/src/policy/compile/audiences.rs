//! Who each view is for: the profile, one workload that has it, and what making the view reported.

use std::collections::{BTreeMap, BTreeSet};

use super::{Input, ViewOf, client};
use crate::{
    policy::{services::Services, view::Profile},
    registry::report::Report,
    workloads::{PlacedWorkload, Workload, WorkloadKey},
};

/// Whom a view is for. It may be that nobody is left of them.
#[derive(Clone, Debug)]
pub(super) struct Audience {
    pub(super) profile: Profile,
    /// One of them, as it was when the view was made.
    pub(super) sample: Workload,
    /// About what the view makes of the registry.
    pub(super) reports: BTreeSet<Report>,
}

/// One view for each profile that some workload has, and whom it is for.
pub(super) fn gather(input: &Input<'_>, services: &Services) -> (Vec<ViewOf>, Vec<Audience>) {
    let mut members: BTreeMap<Profile, Vec<usize>> = BTreeMap::new();
    for (index, placed) in input.workloads.iter().enumerate() {
        members.entry(services.profile(&client(&placed.workload))).or_default().push(index);
    }
    let (mut views, mut audiences) = (Vec::new(), Vec::new());
    for (profile, indexes) in members {
        let first = indexes.first().and_then(|index| input.workloads.get(*index));
        if let Some(PlacedWorkload { workload, .. }) = first {
            add(profile, workload, services, &mut views, &mut audiences);
        }
        if let Some((_, members)) = views.last_mut() {
            *members = indexes;
        }
    }
    (views, audiences)
}

/// Adds the view of a profile, still without members. Views are much alike: what they have in
/// common is kept once.
fn add(
    profile: Profile,
    sample: &Workload,
    services: &Services,
    views: &mut Vec<ViewOf>,
    audiences: &mut Vec<Audience>,
) {
    let mut reports = BTreeSet::new();
    let mut view = services.view(&client(sample), &mut reports);
    if let Some((first, _)) = views.first() {
        view = view.sharing_with(first);
    }
    views.push((view, Vec::new()));
    audiences.push(Audience { profile, sample: sample.clone(), reports });
}

/// Gives every workload of the input its view; `before` are the workloads of before. Views that
/// are missing are added; those that nobody has any more stay. Says whether none was missing.
pub(super) fn regroup(
    input: &Input<'_>,
    before: &[PlacedWorkload],
    services: &Services,
    views: &mut Vec<ViewOf>,
    audiences: &mut Vec<Audience>,
) -> bool {
    let count = views.len();
    let had: BTreeMap<&WorkloadKey, (&Workload, usize)> = views
        .iter()
        .enumerate()
        .flat_map(|(view, (_, members))| members.iter().map(move |index| (*index, view)))
        .filter_map(|(index, view)| {
            let workload = &before.get(index)?.workload;
            Some((&workload.key, (workload, view)))
        })
        .collect();
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (index, PlacedWorkload { workload, .. }) in input.workloads.iter().enumerate() {
        let known = had.get(&workload.key).filter(|(it, _)| client(it) == client(workload));
        let view = known.map_or_else(
            || {
                let profile = services.profile(&client(workload));
                let known = audiences.iter().position(|audience| audience.profile == profile);
                known.unwrap_or_else(|| {
                    add(profile, workload, services, views, audiences);
                    members.push(Vec::new());
                    views.len() - 1
                })
            },
            |(_, view)| *view,
        );
        if let Some(members) = members.get_mut(view) {
            members.push(index);
        }
    }
    for ((_, of_view), members) in views.iter_mut().zip(members) {
        *of_view = members;
    }
    views.len() == count
}

//! Targets of views: how much room they take, and their numbers.

use std::collections::{BTreeMap, BTreeSet};

use exeat_common::{
    abi::mode,
    limits::{BACKENDS_ENTRIES, TARGETS_ENTRIES},
};

use crate::policy::{
    ids::Ids,
    target::Target,
    view::{Action, Unmatched, View},
};

/// The targets of all views taken in so far, each once.
#[derive(Default)]
pub(super) struct Targets<'a> {
    targets: BTreeSet<&'a Target>,
    backends: usize,
}

impl<'a> Targets<'a> {
    /// Takes in those of `view`; says whether there was room.
    pub(super) fn take(&mut self, view: &'a View) -> bool {
        let fresh: BTreeSet<&Target> =
            of(view).into_iter().filter(|target| !self.targets.contains(target)).collect();
        let backends: usize = fresh.iter().map(|target| target.places()).sum();
        let fits = fit(self.targets.len() + fresh.len(), self.backends + backends);
        if fits {
            self.targets.extend(fresh);
            self.backends += backends;
        }
        fits
    }
}

/// Whether there is room for so many. One half of the tables is left for the targets of before,
/// which stay until nothing names them.
pub(super) const fn fit(targets: usize, backends: usize) -> bool {
    targets <= TARGETS_ENTRIES / 2 && backends <= BACKENDS_ENTRIES / 2
}

fn of(view: &View) -> BTreeSet<&Target> {
    let ports = view.names.values().chain(view.prefixes.values());
    let ports = ports.map(|ports| &**ports).chain([&view.anywhere]);
    let mut targets: BTreeSet<&Target> = ports
        .flat_map(|ports| ports.values())
        .filter_map(|granted| match &granted.action {
            Action::To(target) => Some(&**target),
            Action::Allow | Action::Deny(_) => None,
        })
        .collect();
    if let Unmatched::To(target) = &view.unmatched {
        targets.insert(target);
    }
    targets
}

/// Gives targets their numbers.
pub(super) struct Numbering<'a> {
    pub(super) ids: &'a mut Ids,
    /// Those that were asked for.
    pub(super) targets: BTreeMap<u32, Target>,
}

impl<'a> Numbering<'a> {
    pub(super) const fn new(ids: &'a mut Ids) -> Self {
        Self { ids, targets: BTreeMap::new() }
    }

    pub(super) fn target(&mut self, target: &Target) -> u32 {
        let number = self.ids.target(target);
        self.targets.entry(number).or_insert_with(|| target.clone());
        number
    }
}

/// What a workload does with flows that no rule covers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fallback {
    /// [`mode`] byte.
    pub(super) mode: u8,
    pub(super) target: u32,
}

impl Fallback {
    pub(super) fn of(unmatched: &Unmatched, numbering: &mut Numbering<'_>) -> Self {
        match unmatched {
            Unmatched::Deny => Self { mode: mode::REGISTRY_ONLY, target: 0 },
            Unmatched::Allow => Self { mode: mode::ALLOW_ANY, target: 0 },
            Unmatched::To(target) => Self { mode: mode::GATEWAY, target: numbering.target(target) },
        }
    }
}

//! Where enforcement hooks in: workloads as they are placed, and the attachments that follow.

use std::collections::BTreeMap;

use super::state::{AttachmentState, WorkloadState, hold};
use crate::{
    config::Config,
    datapath::{Attachment, Datapath},
    policy::directory::Directory,
    workloads::{
        PlacedWorkload, Workload,
        place::{Node, Placed, Unplaced, place},
    },
};

/// One look at the node.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Places {
    placed: Vec<Placed>,
    /// Every attachment with the identity of the place: the cgroup id or the interface index. A
    /// place that was made anew under its old name is another place.
    wanted: BTreeMap<Attachment, u64>,
    /// Why `cgroupRoot` cannot be attached to.
    root_problem: Option<Unplaced>,
    /// Places that were made anew since the last attempt to attach.
    renewed: Vec<Attachment>,
}

impl Places {
    pub(super) fn look(config: &Config, node: &dyn Node) -> Self {
        let placed: Vec<Placed> =
            config.workloads.iter().map(|workload| place(node, workload)).collect();
        let mut wanted = BTreeMap::new();
        let mut root_problem = None;
        if let Some(root) = &config.cgroup_root {
            match node.cgroup(root) {
                Ok(cgroup) => {
                    wanted.insert(Attachment::Socket { cgroup: root.clone() }, cgroup.id);
                }
                Err(error) => root_problem = Some(error),
            }
        }
        for PlacedWorkload { workload, cgroup_id, ifindex, .. } in
            placed.iter().map(|it| &it.workload)
        {
            if let (None, Some(path), Some(id)) = (&config.cgroup_root, &workload.cgroup, cgroup_id)
            {
                wanted.insert(Attachment::Socket { cgroup: path.clone() }, *id);
            }
            if let (Some(name), Some(ifindex)) = (&workload.interface, ifindex) {
                let wire = Attachment::Wire { interface: name.clone(), ifindex: *ifindex };
                wanted.insert(wire, u64::from(*ifindex));
            }
        }
        Self { placed, wanted, root_problem, renewed: Vec::new() }
    }

    /// What is missing of what the configuration names.
    pub(super) fn missing(&self) -> impl Iterator<Item = (Option<&PlacedWorkload>, &Unplaced)> {
        let of_workloads = self
            .placed
            .iter()
            .flat_map(|placed| placed.missing.iter().map(|it| (Some(&placed.workload), it)));
        self.root_problem.iter().map(|it| (None, it)).chain(of_workloads)
    }

    /// Takes a newer look; returns whether anything is different.
    pub(super) fn replace(&mut self, newer: Self) -> bool {
        let is_same = self.placed == newer.placed
            && self.wanted == newer.wanted
            && self.root_problem == newer.root_problem;
        if is_same {
            return false;
        }
        let was_other = |(attachment, id): &(&Attachment, &u64)| {
            self.wanted.get(attachment).is_some_and(|before| before != *id)
        };
        let mut renewed: Vec<Attachment> =
            newer.wanted.iter().filter(was_other).map(|(it, _)| it.clone()).collect();
        renewed.append(&mut self.renewed);
        *self = Self { renewed, ..newer };
        true
    }

    pub(super) fn workloads(&self) -> impl Iterator<Item = &PlacedWorkload> {
        self.placed.iter().map(|placed| &placed.workload)
    }

    /// Makes the attachments what is wanted.
    pub(super) fn attach<D: Datapath>(&mut self, datapath: &mut D) -> Vec<AttachmentState> {
        let wanted: Vec<Attachment> = self.wanted.keys().cloned().collect();
        let renewed = std::mem::take(&mut self.renewed);
        if !renewed.is_empty() {
            // What is attached under this name hangs on a place that is gone: let go of it first.
            let others: Vec<Attachment> =
                wanted.iter().filter(|it| !renewed.contains(it)).cloned().collect();
            drop(datapath.attach(&others));
        }
        let results = datapath.attach(&wanted);
        results
            .into_iter()
            .map(|attached| AttachmentState {
                result: attached
                    .result
                    .map_err(|error| format!("attach to {}: {error}", attached.attachment)),
                attachment: attached.attachment,
            })
            .collect()
    }

    /// How every workload stands.
    pub(super) fn states(
        &self,
        config: &Config,
        attachments: &[AttachmentState],
        directory: &Directory,
    ) -> Vec<WorkloadState> {
        let find = |wanted: &Attachment| attachments.iter().find(|it| it.attachment == *wanted);
        let state = |placed: &Placed| {
            let PlacedWorkload { workload, cgroup_id, ifindex, netns_cookie, .. } =
                &placed.workload;
            let why = |is_it: fn(&Unplaced) -> bool| {
                placed.missing.iter().find(|it| is_it(it)).map(ToString::to_string)
            };
            let cgroup = config.cgroup_root.as_ref().or(workload.cgroup.as_ref());
            let socket =
                cgroup.and_then(|cgroup| find(&Attachment::Socket { cgroup: cgroup.clone() }));
            let root_problem = self.root_problem.as_ref().map(ToString::to_string);
            let no_cgroup =
                cgroup_id.is_none().then(|| why(is_of_cgroup)).flatten().or(root_problem);
            let no_interface = ifindex.is_none().then(|| why(is_of_interface)).flatten();
            let no_netns = netns_cookie.is_none().then(|| why(is_of_netns)).flatten();
            let wire = workload.interface.as_ref().zip(*ifindex).and_then(|(name, ifindex)| {
                find(&Attachment::Wire { interface: name.clone(), ifindex })
            });
            let known = directory.workloads().find(|(_, known)| known.key == workload.key);
            WorkloadState {
                key: workload.key.clone(),
                id: known.map(|(id, _)| id),
                policy: known.map(|(_, known)| known.policy),
                cgroup: hold(workload.is_held_at_sockets(), no_cgroup.clone().or(no_netns), socket),
                socket: hold(workload.cgroup.is_some(), no_cgroup, socket),
                wire: hold(workload.interface.is_some(), no_interface, wire),
                not_held: not_held(workload),
                is_exempt: workload.is_exempt,
            }
        };
        self.placed.iter().map(state).collect()
    }
}

fn is_of_cgroup(unplaced: &Unplaced) -> bool {
    matches!(
        unplaced,
        Unplaced::NoCgroup { .. }
            | Unplaced::NotCgroup2 { .. }
            | Unplaced::RootCgroup { .. }
            | Unplaced::Cgroup { .. }
    )
}

fn is_of_interface(unplaced: &Unplaced) -> bool {
    matches!(unplaced, Unplaced::NoInterface { .. } | Unplaced::Interface { .. })
}

fn is_of_netns(unplaced: &Unplaced) -> bool {
    matches!(unplaced, Unplaced::NetNs { .. } | Unplaced::OtherNetNs { .. })
}

/// What gets past the layers that a workload is configured for.
fn not_held(workload: &Workload) -> Vec<&'static str> {
    match (&workload.cgroup, &workload.interface) {
        _ if workload.is_exempt => Vec::new(),
        (Some(_), Some(_)) => vec!["sockets of other network namespaces that are handed in"],
        (Some(_), None) => vec![
            "sockets of other families: AF_PACKET, AF_XDP, AF_VSOCK and the like",
            "sockets that were made outside of its cgroup and handed in",
            "what the kernel answers by itself: echo replies, resets",
        ],
        (None, _) => {
            vec!["sockets of other network namespaces; calls are not refused with an errno"]
        }
    }
}

/// What the configuration names and the node does not have, one sentence each.
pub fn missing_places(config: &Config, node: &dyn Node) -> Vec<String> {
    Places::look(config, node)
        .missing()
        .map(|(workload, error)| match workload {
            Some(placed) => format!("workload {}: {error}", placed.workload.key),
            None => format!("cgroupRoot: {error}"),
        })
        .collect()
}

//! Where enforcement hooks in: workloads as they are placed, and the attachments that follow.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use exeat_common::id::{PolicyId, WorkloadId};

use super::state::{AttachmentState, WorkloadState, hold};
use crate::{
    config::Config,
    datapath::{Attachment, Datapath, Takeover},
    policy::directory::Directory,
    workloads::{
        PlacedWorkload, Workload, WorkloadKey,
        place::{Node, Placed, Unplaced, place},
        roster::{PodPlace, Root, Roster},
    },
};

/// One look at the node, and what is attached there.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// Of the workloads that the configuration names.
    placed: Vec<Placed>,
    /// Every attachment with the identity of the place: the cgroup id or the interface index. A
    /// place that was made anew under its old name is another place. The veths of pods have none of
    /// these: their indexes say who they are.
    wanted: BTreeMap<Attachment, u64>,
    /// Why `cgroupRoot` cannot be attached to.
    root_problem: Option<Unplaced>,
    /// Places that were made anew since the last attempt to attach.
    renewed: Vec<Attachment>,
    /// Below which all pods are, where there are pods.
    pods_root: Option<Root>,
    roster: Arc<Roster>,
    /// Veths of pods that are attached to, and those where that failed.
    wired: BTreeSet<u32>,
    refused: BTreeSet<u32>,
    /// What came of attaching.
    attached: BTreeMap<Attachment, AttachmentState>,
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
        Self { placed, wanted, root_problem, ..Self::default() }
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
        let Self { placed, wanted, root_problem, .. } = newer;
        let is_same =
            self.placed == placed && self.wanted == wanted && self.root_problem == root_problem;
        if is_same {
            return false;
        }
        let was_other = |(attachment, id): &(&Attachment, &u64)| {
            self.wanted.get(attachment).is_some_and(|before| before != *id)
        };
        let mut renewed: Vec<Attachment> =
            wanted.iter().filter(was_other).map(|(it, _)| it.clone()).collect();
        self.renewed.append(&mut renewed);
        (self.placed, self.wanted, self.root_problem) = (placed, wanted, root_problem);
        true
    }

    /// Everybody who is to be enforced. Pods that the sources do not agree about are left out,
    /// which denies them, and so are those that have the name of a configured workload.
    pub(super) fn workloads(&self) -> Vec<PlacedWorkload> {
        let configured = self.placed.iter().map(|placed| placed.workload.clone());
        let pods = self.pods().filter_map(|pod| pod.placed(self.is_wired(pod)));
        configured.chain(pods).collect()
    }

    fn pods(&self) -> impl Iterator<Item = &PodPlace> {
        let keys = self.placed.iter().map(|placed| &placed.workload.workload.key);
        let configured: BTreeSet<&WorkloadKey> = keys.collect();
        let pods = self.roster.pods.values().map(|pod| &**pod);
        pods.filter(move |pod| !configured.contains(&pod.workload().key))
    }

    /// Who comes from the roster.
    pub(super) fn pod_keys(&self) -> BTreeSet<&WorkloadKey> {
        self.pods().map(|pod| &pod.workload().key).collect()
    }

    fn is_wired(&self, pod: &PodPlace) -> bool {
        pod.wire.is_some_and(|index| self.wired.contains(&index))
    }

    /// Everything below it is a pod.
    pub(super) fn set_pods_root(&mut self, root: Root) {
        self.pods_root = Some(root);
    }

    /// Takes a newer roster. Returns what is not wanted any more.
    pub(super) fn take_roster(&mut self, roster: Arc<Roster>) -> Vec<Attachment> {
        let gone: Vec<Attachment> = self
            .wires()
            .filter(|(index, _)| self.wired.contains(index) || self.refused.contains(index))
            .filter(|(index, _)| !roster.wires.contains_key(index))
            .map(wire)
            .collect();
        self.wired.retain(|index| roster.wires.contains_key(index));
        self.refused.retain(|index| roster.wires.contains_key(index));
        for attachment in &gone {
            self.attached.remove(attachment);
        }
        self.roster = roster;
        gone
    }

    /// Veths of pods, but for those that the configuration names too.
    fn wires(&self) -> impl Iterator<Item = (&u32, &String)> {
        self.roster.wires.iter().filter(|it| !self.wanted.contains_key(&wire(*it)))
    }

    /// Takes it that all veths of pods will be attached to with the rest.
    pub(super) fn want_all_wires(&mut self) {
        self.wired = self.wires().map(|(index, _)| *index).collect();
    }

    /// Tries those again where it failed.
    pub(super) fn forgive(&mut self) {
        self.refused.clear();
    }

    /// The next veth of a pod to attach to. One at a time, for the kernel takes some milliseconds,
    /// and does one at a time anyway.
    pub(super) fn next_wire(&self) -> Option<Attachment> {
        let open = |index: &u32| !self.wired.contains(index) && !self.refused.contains(index);
        let mut waiting = self.wires().filter(|(index, _)| open(index));
        waiting.next().map(wire)
    }

    /// Takes in what came of attaching to a veth; says whether that is still wanted.
    pub(super) fn take_wire<E: std::error::Error>(
        &mut self,
        attachment: Attachment,
        result: Result<Takeover, E>,
    ) -> bool {
        let index = self.wires().find(|it| wire(*it) == attachment).map(|(index, _)| *index);
        let Some(index) = index else { return false };
        let state = state_of(attachment.clone(), result);
        match &state.result {
            Ok(_) => self.wired.insert(index),
            Err(error) => {
                // It may be gone, which the roster tells later.
                tracing::warn!(%error, "a pod is held at its sockets alone: tried again");
                self.refused.insert(index)
            }
        };
        self.attached.insert(attachment, state);
        true
    }

    /// Makes the attachments what is wanted. Says whether a veth of a pod was refused: then the pod
    /// is to be held at its sockets.
    pub(super) fn attach<D: Datapath>(&mut self, datapath: &mut D) -> bool {
        let mut wanted: Vec<Attachment> = self.wanted.keys().cloned().collect();
        if let Some(root) = &self.pods_root {
            let root = Attachment::Socket { cgroup: root.path.clone() };
            if !wanted.contains(&root) {
                wanted.push(root);
            }
        }
        let wires = self.wires().filter(|(index, _)| self.wired.contains(index));
        wanted.extend(wires.map(wire).collect::<Vec<_>>());
        let renewed = std::mem::take(&mut self.renewed);
        if !renewed.is_empty() {
            // What is attached under this name hangs on a place that is gone: let go of it first.
            let others: Vec<Attachment> =
                wanted.iter().filter(|it| !renewed.contains(it)).cloned().collect();
            drop(datapath.attach(&others));
        }
        let results = datapath.attach(&wanted).into_iter();
        let states = results.map(|it| (it.attachment.clone(), state_of(it.attachment, it.result)));
        self.attached = states.collect();
        let refused: BTreeSet<u32> = self
            .wires()
            .filter(|it| self.attached.get(&wire(*it)).is_some_and(|it| it.result.is_err()))
            .map(|(index, _)| *index)
            .collect();
        self.wired.retain(|index| !refused.contains(index));
        let is_any = !refused.is_empty();
        self.refused.extend(refused);
        is_any
    }

    /// Why it failed somewhere. Veths of pods come and go: those that were refused are tried again by
    /// themselves.
    pub(super) fn failure(&self) -> Option<String> {
        let pods: BTreeSet<Attachment> = self.wires().map(wire).collect();
        let mut others = self.attached.values().filter(|it| !pods.contains(&it.attachment));
        others.find_map(|it| it.result.as_ref().err()).cloned()
    }

    /// What came of attaching, last.
    pub(super) fn attachments(&self) -> impl Iterator<Item = &AttachmentState> {
        self.attached.values()
    }

    fn attachment(&self, wanted: &Attachment) -> Option<&AttachmentState> {
        self.attached.get(wanted)
    }

    /// How every workload stands.
    pub(super) fn states(&self, config: &Config, directory: &Directory) -> Vec<WorkloadState> {
        let known: BTreeMap<&WorkloadKey, _> = directory
            .workloads()
            .map(|(id, known)| (&known.key, (Some(id), Some(known.policy))))
            .collect();
        let numbers = |key: &WorkloadKey| known.get(key).copied().unwrap_or_default();
        let configured = self.placed.iter().map(|placed| self.state(config, placed, numbers));
        let root = self.pods_root.as_ref().map(|it| Attachment::Socket { cgroup: it.path.clone() });
        let root = root.and_then(|root| self.attachment(&root));
        let pods = self.pods().map(|pod| self.pod_state(pod, root, numbers(&pod.workload().key)));
        configured.chain(pods).collect()
    }

    fn state(
        &self,
        config: &Config,
        placed: &Placed,
        numbers: impl Fn(&WorkloadKey) -> Numbers,
    ) -> WorkloadState {
        let PlacedWorkload { workload, cgroup_id, ifindex, netns_cookie, .. } = &placed.workload;
        let why = |is_it: fn(&Unplaced) -> bool| {
            placed.missing.iter().find(|it| is_it(it)).map(ToString::to_string)
        };
        let cgroup = config.cgroup_root.as_ref().or(workload.cgroup.as_ref());
        let socket = cgroup
            .and_then(|cgroup| self.attachment(&Attachment::Socket { cgroup: cgroup.clone() }));
        let root_problem = self.root_problem.as_ref().map(ToString::to_string);
        let no_cgroup = cgroup_id.is_none().then(|| why(is_of_cgroup)).flatten().or(root_problem);
        let no_interface = ifindex.is_none().then(|| why(is_of_interface)).flatten();
        let no_netns = netns_cookie.is_none().then(|| why(is_of_netns)).flatten();
        let wire = workload.interface.as_ref().zip(*ifindex).and_then(|(name, ifindex)| {
            self.attachment(&Attachment::Wire { interface: name.clone(), ifindex })
        });
        let (id, policy) = numbers(&workload.key);
        WorkloadState {
            key: workload.key.clone(),
            id,
            policy,
            cgroup: hold(workload.is_held_at_sockets(), no_cgroup.clone().or(no_netns), socket),
            socket: hold(workload.cgroup.is_some(), no_cgroup, socket),
            wire: hold(workload.interface.is_some(), no_interface, wire),
            not_held: not_held(workload),
            is_settling: false,
            is_exempt: workload.is_exempt,
        }
    }

    fn pod_state(
        &self,
        pod: &PodPlace,
        root: Option<&AttachmentState>,
        (id, policy): Numbers,
    ) -> WorkloadState {
        let workload = pod.workload();
        let denied = (!pod.is_released()).then(|| pod.stage.why().to_owned());
        let wire = pod.wire.zip(workload.interface.as_ref()).and_then(|(ifindex, interface)| {
            self.attachment(&Attachment::Wire { interface: interface.clone(), ifindex })
        });
        let is_wired = self.is_wired(pod);
        let is_waiting = pod.wire.is_some() && wire.is_none();
        let waits = is_waiting.then(|| "it is about to be attached to".to_owned());
        WorkloadState {
            key: workload.key.clone(),
            id,
            policy,
            cgroup: hold(!is_wired, denied.clone(), root),
            socket: hold(true, denied.clone(), root),
            wire: hold(pod.wire.is_some(), denied.clone().or(waits), wire),
            not_held: not_held(workload),
            is_settling: denied.is_some() || is_waiting,
            is_exempt: workload.is_exempt,
        }
    }
}

type Numbers = (Option<WorkloadId>, Option<PolicyId>);

fn wire((index, name): (&u32, &String)) -> Attachment {
    Attachment::Wire { interface: name.clone(), ifindex: *index }
}

fn state_of<E: std::error::Error>(
    attachment: Attachment,
    result: Result<Takeover, E>,
) -> AttachmentState {
    let result = result.map_err(|error| format!("attach to {attachment}: {error}"));
    AttachmentState { attachment, result }
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

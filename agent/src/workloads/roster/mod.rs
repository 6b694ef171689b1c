//! The pods of this node, as the API, the cgroup tree and the links tell of them together. Pure: the
//! same sightings make the same roster, in whatever order they came.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use super::{
    PlacedWorkload, Workload,
    kubelet::{
        links::{NsId, Veth},
        tree::Folder,
    },
    place::Cgroup,
    pod::{Pod, Pods},
    uid::PodUid,
};

/// What each source says at the moment.
#[derive(Clone, Debug, Default)]
pub struct Sightings {
    /// The API.
    pub pods: Arc<Pods>,
    /// The cgroup tree.
    pub folders: BTreeMap<PodUid, Folder>,
    /// The processes of pods, and what libcni keeps.
    pub homes: BTreeMap<PodUid, Home>,
    /// The links of the node, by index.
    pub veths: BTreeMap<u32, Veth>,
    /// Cookie of the network namespace of the node.
    pub node_cookie: u64,
    /// Pods are connected by other means than veths, so none is waited for.
    pub is_without_veths: bool,
}

/// The network namespace of a pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Home {
    pub namespace: NsId,
    pub cookie: u64,
}

/// How far the sources agree about one pod. But for the last two, all of its flows are denied.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Stage {
    /// It has a cgroup, and the API has not told of it.
    Unknown,
    /// The API has told of it, and it has no cgroup.
    Absent,
    /// Nobody knows its network namespace.
    Homeless,
    /// No veth leads to its network namespace.
    Unconnected,
    /// Another pod has its network namespace, or its name.
    Contested,
    /// All agree: it is enforced.
    Placed,
    /// It is in the network namespace of the node, and left alone.
    Exempt,
}

/// All pods, and where to attach.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Roster {
    /// Those that the API and the cgroup tree agree about.
    pub pods: BTreeMap<PodUid, Arc<PodPlace>>,
    /// Every veth of a pod by its index, whether the API has told of the pod or not.
    pub wires: BTreeMap<u32, String>,
    pub stages: BTreeMap<PodUid, Stage>,
}

/// A pod with the place where it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PodPlace {
    pub stage: Stage,
    workload: Workload,
    cgroup: Cgroup,
    sidecar_cgroup_id: Option<u64>,
    netns_cookie: Option<u64>,
    /// The host side of its veth.
    pub wire: Option<u32>,
}

/// A pod in the network namespace of the node is enforced if it has this label, with this value.
pub const HOST_NETWORK_LABEL: (&str, &str) = ("exeat.dev/host-network", "enforced");

impl Sightings {
    pub fn roster(&self) -> Roster {
        let told: BTreeMap<PodUid, &Pod> =
            self.pods.values().filter_map(|pod| Some((PodUid::parse(&pod.uid)?, &**pod))).collect();
        let mut residents: BTreeMap<NsId, usize> = BTreeMap::new();
        for home in self.homes_of_folders().map(|(_, home)| home) {
            *residents.entry(home.namespace).or_default() += 1;
        }
        let mut links: BTreeMap<NsId, Vec<u32>> = BTreeMap::new();
        for (index, veth) in &self.veths {
            links.entry(veth.namespace).or_default().push(*index);
        }
        let mut roster = Roster::default();
        for (_, home) in self.homes_of_folders() {
            for index in links.get(&home.namespace).into_iter().flatten() {
                let name = self.veths.get(index).map(|veth| veth.name.clone());
                roster.wires.insert(*index, name.unwrap_or_default());
            }
        }
        for (uid, folder) in &self.folders {
            let Some(pod) = told.get(uid) else {
                roster.stages.insert(*uid, Stage::Unknown);
                continue;
            };
            let home = self.homes.get(uid);
            let wire = home.and_then(|home| links.get(&home.namespace)?.first()).copied();
            let stage = match home {
                _ if pod.is_host_network && !is_opted_in(pod) => Stage::Exempt,
                _ if pod.is_host_network => Stage::Placed,
                None => Stage::Homeless,
                Some(home) if residents.get(&home.namespace) != Some(&1) => Stage::Contested,
                Some(_) if wire.is_none() && !self.is_without_veths => Stage::Unconnected,
                Some(_) => Stage::Placed,
            };
            let place = self.place(pod, folder, home, wire, stage);
            roster.pods.insert(*uid, Arc::new(place));
        }
        roster.contest_names();
        roster.stages.extend(roster.pods.iter().map(|(uid, place)| (*uid, place.stage)));
        let absent = told.keys().filter(|uid| !self.folders.contains_key(uid));
        roster.stages.extend(absent.map(|uid| (*uid, Stage::Absent)));
        roster
    }

    fn homes_of_folders(&self) -> impl Iterator<Item = (&PodUid, &Home)> {
        self.homes.iter().filter(|(uid, _)| self.folders.contains_key(uid))
    }

    fn place(
        &self,
        pod: &Pod,
        folder: &Folder,
        home: Option<&Home>,
        wire: Option<u32>,
        stage: Stage,
    ) -> PodPlace {
        let wire = wire.filter(|_| !pod.is_host_network);
        let name = wire.and_then(|index| self.veths.get(&index)).map(|veth| veth.name.clone());
        let sidecar = pod.sidecar.as_ref().map(|id| folder.containers.get(id).ok_or(id));
        let sidecar_cgroup = sidecar.map(|it| match it {
            Ok(container) => container.path.clone(),
            // It has one, which is not there yet: what would go through it is denied until then.
            Err(id) => folder.path.join(id),
        });
        let netns_cookie =
            if pod.is_host_network { Some(self.node_cookie) } else { home.map(|home| home.cookie) };
        PodPlace {
            stage,
            workload: Workload {
                key: pod.key.clone(),
                labels: pod.labels.clone(),
                cgroup: Some(folder.path.clone()),
                interface: name,
                arrives_past_interface: false,
                netns: None,
                addresses: pod.addresses.clone(),
                sidecar_cgroup,
                is_ambient: pod.is_ambient,
                is_exempt: stage == Stage::Exempt,
            },
            cgroup: folder.cgroup,
            sidecar_cgroup_id: sidecar.and_then(Result::ok).map(|it| it.cgroup_id),
            netns_cookie,
            wire,
        }
    }
}

impl Roster {
    /// The API has one pod of a name at a time; what is left of an earlier one may still be there.
    /// The one with the newer cgroup is meant.
    fn contest_names(&mut self) {
        let mut newest: BTreeMap<_, (u64, PodUid)> = BTreeMap::new();
        for (uid, place) in &self.pods {
            let this = (place.cgroup.id, *uid);
            let meant = newest.entry(place.workload.key.clone()).or_insert(this);
            *meant = this.max(*meant);
        }
        let meant: BTreeSet<PodUid> = newest.into_values().map(|(_, uid)| uid).collect();
        for (uid, place) in &mut self.pods {
            if !meant.contains(uid) {
                let mut contested = PodPlace::clone(place);
                contested.stage = Stage::Contested;
                contested.workload.is_exempt = false;
                *place = Arc::new(contested);
            }
        }
    }
}

impl PodPlace {
    pub const fn workload(&self) -> &Workload {
        &self.workload
    }

    /// Whether its flows are judged, or it is left alone. Otherwise all of them are denied.
    pub const fn is_released(&self) -> bool {
        matches!(self.stage, Stage::Placed | Stage::Exempt)
    }

    /// As the tables have it, if they have it. Until its veth is attached to, it is held where its
    /// sockets send and receive. The veth stands in the tables even so: the programs there see packets as
    /// soon as they are attached, which is before anybody hears of it.
    pub fn placed(&self, is_wired: bool) -> Option<PlacedWorkload> {
        let mut workload = self.workload.clone();
        if !is_wired || self.wire.is_none() {
            workload.interface = None;
            workload.arrives_past_interface = self.wire.is_some();
        }
        self.is_released().then_some(PlacedWorkload {
            workload,
            cgroup_id: Some(self.cgroup.id),
            cgroup_depth: Some(self.cgroup.depth),
            ifindex: self.wire,
            netns_cookie: self.netns_cookie,
            sidecar_cgroup_id: self.sidecar_cgroup_id,
        })
    }
}

impl Stage {
    /// Metric label, and why the pod is not enforced.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Absent => "absent",
            Self::Homeless => "no-namespace",
            Self::Unconnected => "no-veth",
            Self::Contested => "contested",
            Self::Placed => "placed",
            Self::Exempt => "exempt",
        }
    }

    /// What is missing, as a sentence.
    pub const fn why(self) -> &'static str {
        match self {
            Self::Unknown => "the API server has not told of it",
            Self::Absent => "it has no cgroup",
            Self::Homeless => "its network namespace is not known yet",
            Self::Unconnected => "no veth leads to its network namespace",
            Self::Contested => "another pod has its network namespace or its name",
            Self::Placed => "nothing is missing",
            Self::Exempt => "it is in the network namespace of the node",
        }
    }
}

fn is_opted_in(pod: &Pod) -> bool {
    let (key, value) = HOST_NETWORK_LABEL;
    pod.labels.get(key).is_some_and(|given| given == value)
}

/// The folder below which all pods are, as the kernel knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Root {
    pub path: PathBuf,
    pub cgroup: Cgroup,
}

#[cfg(test)]
mod tests;

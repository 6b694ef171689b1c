//! Sightings in every order.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use proptest::{collection::vec, prelude::*};

use super::{HOST_NETWORK_LABEL, Home, PodPlace, Roster, Sightings, Stage};
use crate::workloads::{
    WorkloadKey,
    kubelet::{
        links::{NsId, Veth},
        tree::{Container, Folder},
    },
    place::Cgroup,
    pod::Pod,
    uid::PodUid,
};

const PODS: u8 = 4;

fn uid(pod: u8) -> PodUid {
    PodUid::parse(&text(pod)).expect("a uid")
}

fn text(pod: u8) -> String {
    format!("0000000{pod}-0000-4000-8000-000000000000")
}

fn pod(pod: u8) -> Pod {
    Pod {
        uid: text(pod),
        // The last two have one name: the one takes the place of the other.
        key: WorkloadKey { namespace: "shop".into(), name: format!("p{}", pod.min(PODS - 2)) },
        labels: BTreeMap::new(),
        addresses: Vec::new(),
        is_host_network: false,
        sidecar: None,
        is_ambient: false,
    }
}

fn folder(pod: u8) -> Folder {
    Folder {
        path: PathBuf::from(format!("/kubepods/pod{pod}")),
        cgroup: Cgroup { id: 100 + u64::from(pod), depth: 2 },
        containers: BTreeMap::new(),
    }
}

/// What a source says.
#[derive(Clone, Debug)]
enum Sighting {
    Told(u8, bool),
    Folder(u8, bool),
    /// A namespace, or none.
    Home(u8, Option<i32>),
    /// Index, and the namespace of the other end if it is there.
    Veth(u32, Option<i32>),
}

impl Sighting {
    const fn source(&self) -> usize {
        match self {
            Self::Told(..) => 0,
            Self::Folder(..) => 1,
            Self::Home(..) => 2,
            Self::Veth(..) => 3,
        }
    }

    fn apply(&self, sightings: &mut Sightings) {
        match *self {
            Self::Told(number, true) => {
                let mut told = pod(number);
                if number == 1 {
                    told.is_host_network = true;
                }
                Arc::make_mut(&mut sightings.pods).insert(text(number), Arc::new(told));
            }
            Self::Told(number, false) => {
                Arc::make_mut(&mut sightings.pods).remove(&text(number));
            }
            Self::Folder(number, true) => {
                sightings.folders.insert(uid(number), folder(number));
            }
            Self::Folder(number, false) => {
                sightings.folders.remove(&uid(number));
            }
            Self::Home(number, Some(id)) => {
                let home =
                    Home { namespace: NsId(id), cookie: 1000 + u64::from(id.unsigned_abs()) };
                sightings.homes.insert(uid(number), home);
            }
            Self::Home(number, None) => {
                sightings.homes.remove(&uid(number));
            }
            Self::Veth(index, Some(id)) => {
                let veth = Veth { name: format!("veth{index}"), namespace: NsId(id) };
                sightings.veths.insert(index, veth);
            }
            Self::Veth(index, None) => {
                sightings.veths.remove(&index);
            }
        }
    }
}

fn sighting() -> impl Strategy<Value = Sighting> {
    let maybe = || prop::option::weighted(0.7, 0..3_i32);
    prop_oneof![
        (0..PODS, prop::bool::weighted(0.7)).prop_map(|(pod, is)| Sighting::Told(pod, is)),
        (0..PODS, prop::bool::weighted(0.7)).prop_map(|(pod, is)| Sighting::Folder(pod, is)),
        (0..PODS, maybe()).prop_map(|(pod, id)| Sighting::Home(pod, id)),
        (5..8_u32, maybe()).prop_map(|(index, id)| Sighting::Veth(index, id)),
    ]
}

/// Everything that is released agrees with every source.
fn check(sightings: &Sightings, roster: &Roster) -> Result<(), TestCaseError> {
    for (uid, place) in roster.pods.iter().filter(|(_, place)| place.is_released()) {
        let told = sightings.pods.values().find(|pod| PodUid::parse(&pod.uid) == Some(*uid));
        let told = told.expect("the API told of it");
        let folder = sightings.folders.get(uid).expect("it has a cgroup");
        prop_assert_eq!(&place.workload.key, &told.key);
        prop_assert_eq!(place.cgroup, folder.cgroup);
        prop_assert_eq!(place.stage == Stage::Exempt, told.is_host_network);
        if place.stage == Stage::Placed {
            let home = sightings.homes.get(uid).expect("it has a namespace");
            let veth = &sightings.veths[&place.wire.expect("it has a veth")];
            prop_assert_eq!(veth.namespace, home.namespace);
            prop_assert_eq!(place.netns_cookie, Some(home.cookie));
        }
        let twins = roster.pods.values().filter(|it| it.is_released());
        let twins: Vec<&Arc<PodPlace>> =
            twins.filter(|it| it.workload.key == place.workload.key).collect();
        prop_assert_eq!(twins.len(), 1, "one pod of a name");
        let on_wire = roster.pods.values().filter(|it| it.is_released() && it.wire.is_some());
        let wires = on_wire.filter(|it| it.wire == place.wire).count();
        prop_assert!(wires <= 1, "one pod on a veth");
    }
    for (index, name) in &roster.wires {
        let veth = &sightings.veths[index];
        prop_assert_eq!(&veth.name, name);
        let lives_there = |(uid, home): (&PodUid, &Home)| {
            home.namespace == veth.namespace && sightings.folders.contains_key(uid)
        };
        prop_assert!(sightings.homes.iter().any(lives_there), "only veths of pods are attached to");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_first_the_end_is_the_same_and_nothing_is_released_before_all_agree(
        sightings in vec(sighting(), 0..30),
        turns in vec(0..4_usize, 0..60),
    ) {
        let mut whole = Sightings::default();
        for sighting in &sightings {
            sighting.apply(&mut whole);
            check(&whole, &whole.roster())?;
        }
        // The sources keep their own order, and are heard in another one.
        let mut queues: [Vec<&Sighting>; 4] = [const { Vec::new() }; 4];
        for sighting in sightings.iter().rev() {
            queues[sighting.source()].push(sighting);
        }
        let mut mixed = Sightings::default();
        for turn in turns.into_iter().chain((0..4).cycle().take(4 * sightings.len())) {
            if let Some(sighting) = queues[turn].pop() {
                sighting.apply(&mut mixed);
                check(&mixed, &mixed.roster())?;
            }
        }
        prop_assert_eq!(mixed.roster(), whole.roster());
    }
}

fn sighted(sightings: &[Sighting]) -> Sightings {
    let mut all = Sightings { node_cookie: 7, ..Sightings::default() };
    for sighting in sightings {
        sighting.apply(&mut all);
    }
    all
}

#[test]
fn the_stages_of_a_pod() {
    let steps = [
        (Sighting::Folder(0, true), Stage::Unknown),
        (Sighting::Told(0, true), Stage::Homeless),
        (Sighting::Home(0, Some(2)), Stage::Unconnected),
        (Sighting::Veth(5, Some(2)), Stage::Placed),
        (Sighting::Folder(3, true), Stage::Placed),
        (Sighting::Home(3, Some(2)), Stage::Contested),
        (Sighting::Folder(3, false), Stage::Placed),
        (Sighting::Told(0, false), Stage::Unknown),
        (Sighting::Told(0, true), Stage::Placed),
        (Sighting::Folder(0, false), Stage::Absent),
    ];
    let mut sightings = Sightings::default();
    for (sighting, stage) in steps {
        sighting.apply(&mut sightings);
        assert_eq!(sightings.roster().stages.get(&uid(0)), Some(&stage), "after {sighting:?}");
    }
}

#[test]
fn a_veth_is_attached_to_before_the_api_tells_of_its_pod() {
    let seen = [Sighting::Folder(0, true), Sighting::Home(0, Some(2)), Sighting::Veth(5, Some(2))];
    let roster = sighted(&seen).roster();
    assert_eq!(roster.wires, BTreeMap::from([(5, "veth5".to_owned())]));
    assert!(roster.pods.is_empty());
}

#[test]
fn a_pod_in_the_namespace_of_the_node_is_left_alone_unless_it_wants_otherwise() {
    let mut sightings = sighted(&[Sighting::Folder(1, true), Sighting::Told(1, true)]);
    let exempt = sightings.roster().pods[&uid(1)].placed(false).expect("released");
    assert!(exempt.workload.is_exempt);

    let mut told = pod(1);
    told.is_host_network = true;
    let (key, value) = HOST_NETWORK_LABEL;
    told.labels.insert(key.to_owned(), value.to_owned());
    Arc::make_mut(&mut sightings.pods).insert(text(1), Arc::new(told));
    let placed = sightings.roster().pods[&uid(1)].placed(false).expect("released");
    assert!(!placed.workload.is_exempt && placed.workload.is_held_at_sockets());
    assert_eq!(placed.netns_cookie, Some(7));
}

#[test]
fn until_its_veth_is_attached_to_a_pod_is_held_at_its_sockets() {
    let seen = [
        Sighting::Told(0, true),
        Sighting::Folder(0, true),
        Sighting::Home(0, Some(2)),
        Sighting::Veth(5, Some(2)),
    ];
    let roster = sighted(&seen).roster();
    let place = &roster.pods[&uid(0)];
    let before = place.placed(false).expect("released");
    assert!(before.workload.is_held_at_sockets());
    // The programs at the veth know the pod from their first packet on, and leave what arrives to its sockets.
    assert_eq!((before.ifindex, before.workload.arrives_past_interface), (Some(5), true));
    assert_eq!(before.netns_cookie, Some(1002));
    let after = place.placed(true).expect("released");
    assert!(!after.workload.is_held_at_sockets());
    assert_eq!((after.ifindex, after.workload.interface.as_deref()), (Some(5), Some("veth5")));
}

#[test]
fn a_sidecar_is_known_by_its_container() {
    let seen = [Sighting::Folder(0, true), Sighting::Home(0, Some(2)), Sighting::Veth(5, Some(2))];
    let mut sightings = sighted(&seen);
    let id = "a1".repeat(32);
    let told = Pod { sidecar: Some(id.clone()), ..pod(0) };
    Arc::make_mut(&mut sightings.pods).insert(text(0), Arc::new(told));
    let before = sightings.roster().pods[&uid(0)].placed(true).expect("released");
    assert!(before.workload.sidecar_cgroup.is_some(), "it has one");
    assert_eq!(before.sidecar_cgroup_id, None, "which is not there yet");

    let path = PathBuf::from("/kubepods/pod0/cri-containerd-a1.scope");
    let container = Container { path: path.clone(), cgroup_id: 55 };
    let folder = sightings.folders.get_mut(&uid(0)).expect("the pod");
    folder.containers.insert(id, container);
    let after = sightings.roster().pods[&uid(0)].placed(true).expect("released");
    assert_eq!(after.workload.sidecar_cgroup, Some(path));
    assert_eq!(after.sidecar_cgroup_id, Some(55));
}

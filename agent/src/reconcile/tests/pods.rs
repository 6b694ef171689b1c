//! Pods beside configured workloads, on a kernel in memory.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use exeat_common::abi::workload_flag;
use tokio::sync::watch;

use super::{Agent, Scene, desk, is_ready, scene};
use crate::{
    datapath::Attachment,
    reconcile::{Hold, State, exempt_own_pod},
    workloads::{
        WorkloadKey,
        kubelet::{
            links::{NsId, Veth},
            tree::Folder,
        },
        place::Cgroup,
        pod::Pod,
        roster::{Home, Root, Roster, Sightings},
        uid::PodUid,
    },
};

const UID: &str = "0123abcd-89ab-4def-8123-456789abcdef";
const IFINDEX: u32 = 70;
const CGROUP_ID: u64 = 700;

fn uid() -> PodUid {
    PodUid::parse(UID).expect("a uid")
}

/// A pod as it is when all sources have told of it.
fn sightings() -> Sightings {
    let pod = Pod {
        uid: UID.to_owned(),
        key: WorkloadKey { namespace: "shop".into(), name: "pod".into() },
        labels: BTreeMap::new(),
        addresses: Vec::new(),
        is_host_network: false,
        sidecar: None,
        is_ambient: false,
    };
    let folder = Folder {
        path: PathBuf::from("/cg/kubepods/pod"),
        cgroup: Cgroup { id: CGROUP_ID, depth: 3 },
        containers: BTreeMap::new(),
    };
    let veth = Veth { name: "veth-pod".into(), namespace: NsId(5) };
    Sightings {
        pods: Arc::new(BTreeMap::from([(UID.to_owned(), Arc::new(pod))])),
        folders: BTreeMap::from([(uid(), folder)]),
        homes: BTreeMap::from([(uid(), Home { namespace: NsId(5), cookie: 55 })]),
        veths: BTreeMap::from([(IFINDEX, veth)]),
        ..Sightings::default()
    }
}

fn wire() -> Attachment {
    Attachment::Wire { interface: "veth-pod".into(), ifindex: IFINDEX }
}

fn root() -> Root {
    Root { path: PathBuf::from("/cg/kubepods"), cgroup: Cgroup { id: 9, depth: 1 } }
}

async fn start(scene: &Scene, first: Roster) -> (Agent, watch::Sender<Arc<Roster>>) {
    let (publish, roster) = watch::channel(Arc::new(first));
    let agent = scene.try_start_as(desk().0, |it| it.with_pods(root(), roster)).await;
    (agent.expect("it starts"), publish)
}

fn wire_of_pod(state: &State) -> Option<&Hold> {
    let pod = state.workloads.iter().find(|workload| workload.key.name == "pod");
    pod.map(|workload| &workload.wire)
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_comes_is_held_and_one_that_goes_leaves_nothing() {
    let scene = scene();
    let (mut agent, publish) = start(&scene, Roster::default()).await;
    let socket = Attachment::Socket { cgroup: root().path };
    assert!(scene.kernel.look().attached.contains(&socket), "once for all pods");

    // A veth is attached to before the API tells of its pod, which stays unknown until then.
    let mut seen = Sightings { pods: Arc::default(), ..sightings() };
    publish.send_replace(Arc::new(seen.roster()));
    agent.until(|state| state.attachments.iter().any(|it| it.attachment == wire())).await;
    assert!(scene.kernel.look().attached.contains(&wire()));
    assert!(!scene.kernel.look().image.by_cgroup.contains_key(&CGROUP_ID));
    assert!(!scene.kernel.look().image.by_ifindex.contains_key(&IFINDEX));

    seen.pods = sightings().pods;
    publish.send_replace(Arc::new(seen.roster()));
    let state = agent.until(|state| wire_of_pod(state) == Some(&Hold::Enforced)).await;
    assert!(is_ready(&state));
    {
        let kernel = scene.kernel.look();
        let (by_cgroup, by_ifindex) =
            (kernel.image.by_cgroup[&CGROUP_ID], kernel.image.by_ifindex[&IFINDEX]);
        assert_eq!(by_cgroup, by_ifindex);
        assert!(by_cgroup.flags & workload_flag::ON_WIRE != 0);
        assert_eq!(by_cgroup.policy, kernel.image.by_ifindex[&7].policy, "as others of its kind");
        assert!(kernel.image.settings.expect("settings").cgroup_depths.starts_with(&[3, 2]));
    }
    publish.send_replace(Arc::default());
    agent.until(|state| wire_of_pod(state).is_none()).await;
    // What it was attached to is let go of after the tables.
    agent.stop().await;
    let kernel = scene.kernel.look();
    assert!(!kernel.image.by_cgroup.contains_key(&CGROUP_ID));
    assert!(!kernel.attached.contains(&wire()) && kernel.attached.contains(&socket));
    assert_eq!(kernel.image.settings.expect("settings").cgroup_depths, [2, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_veth_is_refused_is_held_at_its_sockets_and_tried_again() {
    let scene = scene();
    scene.kernel.look().fail.attach.insert(wire());
    let (mut agent, _publish) = start(&scene, sightings().roster()).await;
    let state = agent.state();
    assert!(matches!(wire_of_pod(&state), Some(Hold::Failed { .. })), "{state:?}");
    assert!(!is_ready(&state));
    {
        let kernel = scene.kernel.look();
        let value = kernel.image.by_cgroup[&CGROUP_ID];
        let at_sockets = (workload_flag::PAST_WIRE, 55);
        assert_eq!((value.flags, value.netns_cookie), at_sockets, "held where its sockets send");
        // So that its first packet there is no stranger's.
        assert_eq!(kernel.image.by_ifindex.get(&IFINDEX), Some(&value));
    }
    scene.kernel.look().fail.attach.clear();
    agent.until(|state| wire_of_pod(state) == Some(&Hold::Enforced) && is_ready(state)).await;
    assert_eq!(scene.kernel.look().image.by_ifindex[&IFINDEX].flags, workload_flag::ON_WIRE);
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn pods_that_an_earlier_agent_held_stay_as_they_are() {
    let scene = scene();
    let (agent, _publish) = start(&scene, sightings().roster()).await;
    agent.stop().await;
    let (image, writes) = {
        let kernel = scene.kernel.look();
        (kernel.image.clone(), kernel.history.len())
    };
    assert!(image.by_ifindex.contains_key(&IFINDEX), "it was there at the start");
    let (agent, _publish) = start(&scene, sightings().roster()).await;
    assert_eq!(scene.kernel.look().history.len(), writes, "no operation was needed");
    assert_eq!(scene.kernel.look().image, image);
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_agents_own_pod_is_let_out_where_an_earlier_agent_enforces() {
    let scene = scene();
    let mut datapath = scene.kernel.datapath();
    let own = Cgroup { id: 4711, depth: 9 };
    exempt_own_pod(&mut datapath, own).expect("nothing to do");
    assert!(scene.kernel.look().image.by_cgroup.is_empty(), "nobody enforces");

    scene.start().await.stop().await;
    exempt_own_pod(&mut datapath, own).expect("written");
    let image = scene.kernel.look().image.clone();
    let value = image.by_cgroup[&4711];
    assert_eq!(value.flags, workload_flag::EXEMPT);
    assert_eq!(image.by_cgroup.values().filter(|it| it.id == value.id).count(), 1);
    assert!(image.settings.expect("settings").cgroup_depths.contains(&9));
    let history = scene.kernel.look().history.len();
    exempt_own_pod(&mut datapath, own).expect("once is enough");
    assert_eq!(scene.kernel.look().history.len(), history);
}

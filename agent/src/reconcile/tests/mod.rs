//! Reconcile on a kernel in memory and a node that a test arranges, with a paused clock.

#![expect(clippy::disallowed_methods, reason = "each test awaits the task it starts")]

mod pods;
mod preseed;

use std::{
    collections::BTreeMap,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use exeat_common::{
    flow::protocol::TCP,
    id::SubjectId,
    reason::{Reason, Verdict},
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Handle, Parts, Reconcile, ReconcileError, State};
use crate::{
    config::Config,
    datapath::{
        Attachment,
        fake::{FakeDatapath, FakeKernel},
    },
    metrics::{Preseeded, Timings},
    policy::image::MapOp,
    preseed::desk::{Asker, desk},
    ready,
    registry::{
        file::Snapshot,
        load::{Loaded, load},
    },
    workloads::{
        Workload,
        place::{Cgroup, Node, Unplaced},
        sockets::Sockets,
    },
};

/// Cgroups and interfaces by name, and open sockets; shared, so that a test can change them.
#[derive(Clone, Debug, Default)]
struct FakeNode(Arc<Mutex<Places>>);

#[derive(Debug, Default)]
struct Places {
    numbers: BTreeMap<String, u32>,
    sockets: Sockets,
}

impl FakeNode {
    fn look(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, name: &str, number: u32) {
        self.look().numbers.insert(name.to_owned(), number);
    }

    fn remove(&self, name: &str) {
        self.look().numbers.remove(name);
    }

    fn find(&self, name: &str) -> Option<u32> {
        self.look().numbers.get(name).copied()
    }
}

impl Node for FakeNode {
    fn cgroup(&self, path: &Path) -> Result<Cgroup, Unplaced> {
        let id = self.find(&path.display().to_string()).map(u64::from);
        id.map(|id| Cgroup { id, depth: 2 })
            .ok_or_else(|| Unplaced::NoCgroup { path: path.to_owned() })
    }

    fn interface(&self, name: &str) -> Result<u32, Unplaced> {
        self.find(name).ok_or_else(|| Unplaced::NoInterface { name: name.to_owned() })
    }

    fn netns(&self, _: &Workload) -> Result<u64, Unplaced> {
        Ok(1)
    }

    fn sockets(&self, _: &Path) -> io::Result<Sockets> {
        Ok(self.look().sockets.clone())
    }
}

/// A node with one workload, and a registry folder.
struct Scene {
    kernel: FakeKernel,
    node: FakeNode,
    config: Arc<Config>,
    folder: tempfile::TempDir,
}

struct Agent {
    handle: Handle,
    registry: watch::Sender<Arc<Snapshot>>,
    preseeded: Preseeded,
    stop: CancellationToken,
    task: JoinHandle<Result<(), ReconcileError>>,
}

const CGROUP: &str = "/cg/pods/web";
const IN_TIME: Duration = Duration::from_mins(10);

fn scene() -> Scene {
    let node = FakeNode::default();
    node.set(CGROUP, 100);
    node.set("veth-web", 7);
    let config =
        "workloads: [{namespace: shop, name: web, cgroup: /cg/pods/web, interface: veth-web}]";
    let scene = Scene {
        kernel: FakeKernel::default(),
        node,
        config: Arc::new(Config::parse(config).expect("valid")),
        folder: tempfile::tempdir().expect("a folder"),
    };
    scene.put("a", "192.0.2.1");
    scene
}

/// What a test holds of a reconcile.
struct Made {
    registry: watch::Sender<Arc<Snapshot>>,
    preseeded: Preseeded,
    stop: CancellationToken,
}

impl Scene {
    fn put(&self, name: &str, address: &str) {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
             metadata: {{name: {name}, namespace: shop}}\n\
             spec: {{hosts: [{name}.example.com], addresses: [{address}], \
             ports: [{{number: 80, name: http, protocol: HTTP}}]}}\n"
        );
        fs::write(self.folder.path().join(format!("{name}.yaml")), text).expect("write");
    }

    fn load(&self, previous: Option<&Loaded>) -> Loaded {
        load(&[self.folder.path().to_owned()], previous)
    }

    /// Reconcile before its start, with its handle, the source of its registry, and what stops it.
    fn make(&self, asker: Asker) -> (Reconcile<FakeDatapath>, Handle, Made) {
        let (registry, receiver) = watch::channel(Arc::new(Snapshot::started(self.load(None))));
        let made =
            Made { registry, preseeded: Preseeded::default(), stop: CancellationToken::new() };
        let parts = Parts {
            config: Arc::clone(&self.config),
            datapath: self.kernel.datapath(),
            node: Box::new(self.node.clone()),
            registry: receiver,
            timings: Timings::default(),
            preseeded: made.preseeded.clone(),
            stop: made.stop.clone(),
        };
        let (reconcile, handle) = Reconcile::new(parts, asker);
        (reconcile, handle, made)
    }

    /// An agent for which nobody resolves names.
    async fn try_start(&self) -> Result<Agent, ReconcileError> {
        let (asker, _) = desk();
        self.try_start_with(asker).await
    }

    async fn try_start_with(&self, asker: Asker) -> Result<Agent, ReconcileError> {
        self.try_start_as(asker, |reconcile| reconcile).await
    }

    async fn try_start_as(
        &self,
        asker: Asker,
        with: impl FnOnce(Reconcile<FakeDatapath>) -> Reconcile<FakeDatapath>,
    ) -> Result<Agent, ReconcileError> {
        let (reconcile, handle, Made { registry, preseeded, stop }) = self.make(asker);
        let mut reconcile = with(reconcile);
        reconcile.start().await?;
        let task = tokio::spawn(reconcile.run());
        Ok(Agent { handle, registry, preseeded, stop, task })
    }

    async fn start(&self) -> Agent {
        let agent = self.try_start().await.expect("it starts");
        assert_eq!(ready::missing(&agent.state()), [""; 0]);
        agent
    }

    fn verdict(&self, to: &str) -> (Verdict, Reason) {
        let to: IpAddr = to.parse().expect("an address");
        let decision = self.kernel.judge(7, to, 80, TCP);
        (decision.verdict, decision.reason)
    }

    fn wire(&self) -> Option<u32> {
        let kernel = self.kernel.look();
        kernel.attached.iter().find_map(|attachment| match attachment {
            Attachment::Wire { ifindex, .. } => Some(*ifindex),
            Attachment::Socket { .. } => None,
        })
    }
}

impl Agent {
    fn state(&self) -> Arc<State> {
        Arc::clone(&self.handle.state.borrow())
    }

    async fn until(&mut self, wanted: impl Fn(&State) -> bool) -> Arc<State> {
        let change = self.handle.state.wait_for(|state| wanted(state));
        let found = timeout(IN_TIME, change).await.expect("in time");
        Arc::clone(&found.expect("reconcile runs"))
    }

    fn publish(&self, loaded: Loaded) {
        self.registry.send_replace(Arc::new(Snapshot::started(loaded)));
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("no error");
    }
}

fn is_ready(state: &State) -> bool {
    ready::missing(state).is_empty()
}

#[tokio::test(start_paused = true)]
async fn the_registry_is_enforced_when_it_is_ready() {
    let scene = scene();
    let agent = scene.start().await;
    assert_eq!(scene.verdict("192.0.2.1"), (Verdict::Allow, Reason::Registered));
    assert_eq!(scene.verdict("192.0.2.2"), (Verdict::Deny, Reason::NotRegistered));
    let socket = Attachment::Socket { cgroup: PathBuf::from(CGROUP) };
    assert!(scene.kernel.look().attached.contains(&socket));
    assert_eq!(scene.wire(), Some(7));
    let state = agent.state();
    assert!(state.workloads[0].is_enforced() && state.workloads[0].id.is_some());
    agent.stop().await;
    assert_eq!(scene.wire(), Some(7), "stopping leaves everything in place");
}

#[tokio::test(start_paused = true)]
async fn a_restart_changes_nothing_that_is_as_wanted() {
    let scene = scene();
    scene.start().await.stop().await;
    let (image, writes) = {
        let kernel = scene.kernel.look();
        (kernel.image.clone(), kernel.history.len())
    };
    let agent = scene.start().await;
    assert_eq!(scene.kernel.look().history.len(), writes, "no operation was needed");
    assert_eq!(scene.kernel.look().image, image);
    agent.stop().await;

    // What changed while there was no agent is in force when the next one is ready.
    fs::remove_file(scene.folder.path().join("a.yaml")).expect("remove");
    scene.put("b", "192.0.2.2");
    let agent = scene.start().await;
    assert_eq!(scene.verdict("192.0.2.1").0, Verdict::Deny);
    assert_eq!(scene.verdict("192.0.2.2").0, Verdict::Allow);
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn numbers_that_facts_name_are_not_given_to_other_names() {
    let scene = scene();
    let highest = SubjectId::pattern(500, true, 3);
    scene.kernel.look().subjects.insert(highest);
    let agent = scene.start().await;
    let image = scene.kernel.look().image.clone();
    let serials = image.names.values().filter(|it| it.exact.is_some());
    let lowest = serials.map(|it| it.exact.serial()).min();
    assert!(lowest > Some(500), "{lowest:?}");
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_start_says_why() {
    let scene = scene();
    scene.kernel.look().fail.dump = true;
    assert!(matches!(scene.try_start().await.err(), Some(ReconcileError::Dump(_))));
    scene.kernel.look().fail.dump = false;
    let wire = Attachment::Wire { interface: "veth-web".into(), ifindex: 7 };
    scene.kernel.look().fail.attach.insert(wire);
    let error = scene.try_start().await.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("interface veth-web"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again_and_the_rest_stays_in_force() {
    let scene = scene();
    let mut agent = scene.start().await;
    scene.put("b", "192.0.2.2");
    scene.kernel.look().fail.apply_at = Some(0);
    agent.publish(scene.load(None));
    let broken = agent.until(|state| state.problem.is_some()).await;
    assert!(!is_ready(&broken));
    assert_eq!(scene.verdict("192.0.2.1").0, Verdict::Allow, "what was in force stays");
    assert_eq!(scene.verdict("192.0.2.2").0, Verdict::Deny);

    let dumps = scene.kernel.look().dumps;
    scene.kernel.look().fail.apply_at = None;
    agent.until(is_ready).await;
    assert_eq!(scene.verdict("192.0.2.2").0, Verdict::Allow);
    assert!(scene.kernel.look().dumps > dumps, "the tables were read again");
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_file_keeps_the_last_good() {
    let scene = scene();
    let mut agent = scene.start().await;
    fs::write(scene.folder.path().join("a.yaml"), "\"unclosed: [\n").expect("write");
    let good = Arc::clone(&agent.state().source.loaded);
    agent.publish(scene.load(Some(&good)));
    let state = agent.until(|state| !state.source.loaded.errors.is_empty()).await;
    assert!(is_ready(&state), "enforcement is as it should be");
    assert_eq!(scene.verdict("192.0.2.1").0, Verdict::Allow);
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_interface_made_anew_is_held_again() {
    let scene = scene();
    let mut agent = scene.start().await;
    scene.node.remove("veth-web");
    let gone = agent.until(|state| !is_ready(state)).await;
    assert_eq!(gone.workloads[0].label(), "partial");
    assert_eq!((scene.wire(), scene.kernel.look().image.by_ifindex.len()), (None, 0));

    scene.node.set("veth-web", 9);
    agent.until(is_ready).await;
    assert_eq!(scene.wire(), Some(9));
    assert!(scene.kernel.look().image.by_ifindex.contains_key(&9));
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cgroup_made_anew_between_two_looks_is_attached_anew() {
    let scene = scene();
    let mut agent = scene.start().await;
    let id = agent.state().workloads[0].id;
    scene.node.set(CGROUP, 101);
    let is_fresh = |state: &State| {
        state.attachments.iter().any(|it| {
            matches!(it.attachment, Attachment::Socket { .. })
                && it.result == Ok(crate::datapath::Takeover::Fresh)
        })
    };
    agent.handle.state.mark_unchanged();
    agent.handle.state.changed().await.expect("reconcile runs");
    let state = agent.until(is_fresh).await;
    assert!(scene.kernel.look().image.by_cgroup.contains_key(&101));
    assert!(!scene.kernel.look().image.by_cgroup.contains_key(&100));
    assert_ne!((state.workloads[0].id, id), (None, None));
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_vanished_leaves_nothing_behind() {
    let scene = scene();
    let mut agent = scene.start().await;
    scene.node.remove("veth-web");
    scene.node.remove(CGROUP);
    let state = agent.until(|state| !is_ready(state)).await;
    assert_eq!(state.workloads[0].label(), "absent");
    agent.stop().await;
    let kernel = scene.kernel.look();
    assert!(kernel.attached.is_empty() && kernel.image.by_cgroup.is_empty());
    assert!(kernel.history.iter().any(|it| matches!(it, MapOp::RemoveWorkloadByCgroup(100))));
}

#[tokio::test(start_paused = true)]
async fn samples_are_given_and_errors_told() {
    let scene = scene();
    let agent = scene.start().await;
    for should_fail in [false, true] {
        scene.kernel.look().fail.counters = should_fail;
        let (reply, answer) = oneshot::channel();
        agent.handle.samples.send(reply).await.expect("reconcile runs");
        assert_eq!(answer.await.expect("an answer").is_err(), should_fail);
    }
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_source_is_a_fault() {
    let scene = scene();
    let Agent { registry, task, .. } = scene.start().await;
    drop(registry);
    assert!(matches!(task.await.expect("no panic"), Err(ReconcileError::SourceEnded)));
}

/// Else an empty registry would be enforced.
#[tokio::test(start_paused = true)]
async fn a_source_that_ends_before_it_said_anything_begins_nothing() {
    let scene = scene();
    let (mut reconcile, _handle, made) = scene.make(desk().0);
    made.registry.send_replace(Arc::default());
    let begins = timeout(Duration::from_mins(1), reconcile.await_registry()).await;
    assert!(begins.is_ok(), "it was said what is declared");
    drop(made.registry);
    let begins = timeout(Duration::from_mins(1), reconcile.await_registry()).await;
    assert!(begins.is_err(), "nobody says what is declared");
}

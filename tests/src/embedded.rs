//! The agent's core in this process, with the real programs: the census of pods and reconcile, fed
//! with what an API server would tell. Notes when each pod was first enforced.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use exeat_agent::config::Config;
use exeat_agent::datapath;
use exeat_agent::metrics::{Preseeded, Timings};
use exeat_agent::preseed::desk::desk;
use exeat_agent::reconcile::{Hold, Parts, Reconcile, Sample, SampleRequest, State};
use exeat_agent::registry::file::load_first;
use exeat_agent::workloads::WorkloadKey;
use exeat_agent::workloads::census::{Census, Site};
use exeat_agent::workloads::kubelet::root;
use exeat_agent::workloads::place::SystemNode;
use exeat_agent::workloads::pod::{Pod, Pods};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::node::Node;
use crate::registry::Entry;
use crate::wait;

/// From nothing to the first state.
const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// When a pod was first held.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Its flows are judged.
    pub enforced: Instant,
    /// All its frames are.
    pub wired: Option<Instant>,
}

type Noted = Arc<Mutex<BTreeMap<WorkloadKey, Held>>>;

/// Ends the agent's tasks when dropped; links and tables stay until the run's bpffs goes.
#[derive(Debug)]
pub struct Embedded {
    told: watch::Sender<Arc<Pods>>,
    stop: CancellationToken,
    thread: Option<JoinHandle<Result<()>>>,
    // Held for one look.
    noted: Noted,
    state: watch::Receiver<Arc<State>>,
    samples: mpsc::Sender<SampleRequest>,
    links: PathBuf,
}

/// What the thread hands out.
type Handles = (watch::Receiver<Arc<State>>, mpsc::Sender<SampleRequest>);

impl Embedded {
    /// Enforces the pods below `pods`, of which the API knows `told` at the beginning.
    pub fn start(
        node: &Node,
        pods: PathBuf,
        results: PathBuf,
        entries: &[Entry],
        told: Pods,
    ) -> Result<Self> {
        let registry = node.run().dir().join("registry.d");
        fs::create_dir_all(&registry)?;
        for entry in entries {
            fs::write(registry.join(entry.file()), entry.manifest())?;
        }
        let mut config = Config::offline();
        config.registry.files = vec![registry];
        config.pin_path = node.run().bpffs().join("exeat");
        config.dns.resolvers = vec![(crate::node::RESOLVER_V4, 53).into()];
        let links = datapath::pins::version_folder(&config.pin_path).join("links");
        let (told, receiver) = watch::channel(Arc::new(told));
        let stop = CancellationToken::new();
        let noted = Noted::default();
        let (give, take) = std::sync::mpsc::channel();
        let (netns, token, notes) = (node.netns().clone(), stop.clone(), Arc::clone(&noted));
        let thread = std::thread::Builder::new().name("agent".to_owned()).spawn(move || {
            netns.enter()?;
            let runtime = Builder::new_multi_thread()
                .worker_threads(2)
                .on_thread_start(move || netns.enter().expect("invariant: the node is there"))
                .enable_all()
                .build()?;
            runtime.block_on(serve(config, pods, results, receiver, token, notes, give))
        })?;
        let Ok((state, samples)) = take.recv_timeout(STARTS_WITHIN) else {
            stop.cancel();
            let error = thread.join().map_err(|_| anyhow!("the agent panicked"))?.err();
            return Err(error.unwrap_or_else(|| anyhow!("the agent did not start")));
        };
        Ok(Self { told, stop, thread: Some(thread), noted, state, samples, links })
    }

    /// As the API server would tell of a pod that is new or other than before.
    pub fn tell(&self, pod: &Pod) {
        self.told.send_modify(|pods| {
            Arc::make_mut(pods).insert(pod.uid.clone(), Arc::new(pod.clone()));
        });
    }

    /// As the API server would tell that a pod is gone.
    pub fn tell_gone(&self, uid: &str) {
        self.told.send_modify(|pods| {
            Arc::make_mut(pods).remove(uid);
        });
    }

    pub fn held(&self, key: &WorkloadKey) -> Option<Held> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    /// Waits until all frames of the pod are judged.
    pub fn wait_until_wired(&self, key: &WorkloadKey, deadline: Duration) -> Result<Held> {
        let held = wait::until(deadline, || self.held(key).filter(|held| held.wired.is_some()));
        held.with_context(|| format!("{key} is not held: {:#?}", self.state_of(key)))
    }

    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.borrow())
    }

    fn state_of(&self, key: &WorkloadKey) -> Vec<String> {
        let state = self.state();
        let workloads = state.workloads.iter().filter(|it| it.key == *key);
        workloads.map(|it| format!("{it:?}")).collect()
    }

    /// What the kernel tables hold.
    pub fn sample(&self) -> Result<Sample> {
        let (reply, sampled) = oneshot::channel();
        self.samples.blocking_send(reply).ok().context("the agent is gone")?;
        sampled.blocking_recv().context("the agent is gone")?.map_err(|error| anyhow!(error))
    }

    /// Pinned links, by name.
    pub fn links(&self) -> Result<Vec<String>> {
        let names = fs::read_dir(&self.links)?.map(|it| Ok(it?.file_name().into_string()));
        let names: Result<Vec<_>> = names.collect();
        Ok(names?.into_iter().flatten().collect())
    }

    /// Ends the agent; says how it ended.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.stop.cancel();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(anyhow!("the agent panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("exeat-tests: the agent failed: {error:#}");
        }
    }
}

async fn serve(
    config: Config,
    pods: PathBuf,
    results: PathBuf,
    told: watch::Receiver<Arc<Pods>>,
    stop: CancellationToken,
    noted: Noted,
    give: std::sync::mpsc::Sender<Handles>,
) -> Result<()> {
    let root = root::find(Some(&pods))?;
    let registry = load_first(&config.registry.files).map_err(|errors| anyhow!("{errors:?}"))?;
    let (kernel, _events) = datapath::aya::open(&config)?;
    let site = Site { root: root.clone(), cni_cache: results, is_without_veths: false };
    let (census, roster) = Census::open(site, told)?;
    let (_publish, registry) = watch::channel(Arc::new(registry));
    let parts = Parts {
        config: Arc::new(config),
        datapath: kernel,
        node: Box::new(SystemNode),
        registry,
        timings: Timings::default(),
        preseeded: Preseeded::default(),
        stop: stop.clone(),
    };
    // Nobody resolves names ahead.
    let (asker, _) = desk();
    let (reconcile, handle) = Reconcile::new(parts, asker);
    let mut reconcile = reconcile.with_pods(root, roster);
    reconcile.start().await?;
    let state = handle.state.clone();
    give.send((handle.state, handle.samples)).ok().context("nobody waits for the agent")?;
    let mut tasks: JoinSet<Result<()>> = JoinSet::new();
    tasks.spawn(note(state, noted));
    let token = stop.clone();
    tasks.spawn(async move { Ok(census.run(token).await?) });
    tasks.spawn(async move { Ok(reconcile.run().await?) });
    let first = tasks.join_next().await.context("no task")??;
    ensure!(stop.is_cancelled(), "a task ended by itself: {first:?}");
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// Notes when each pod was first held, until reconcile ends.
async fn note(mut state: watch::Receiver<Arc<State>>, noted: Noted) -> Result<()> {
    while state.changed().await.is_ok() {
        let now = Instant::now();
        let state = Arc::clone(&state.borrow_and_update());
        let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
        // Who is gone may come again under its name.
        noted.retain(|key, _| state.workloads.iter().any(|workload| workload.key == *key));
        let is_held = |hold: &Hold| matches!(hold, Hold::Enforced | Hold::Unwanted);
        for workload in &state.workloads {
            if workload.id.is_some() && is_held(&workload.socket) && is_held(&workload.cgroup) {
                let key = workload.key.clone();
                let held = noted.entry(key).or_insert(Held { enforced: now, wired: None });
                if workload.wire == Hold::Enforced {
                    held.wired.get_or_insert(now);
                }
            }
        }
    }
    Ok(())
}

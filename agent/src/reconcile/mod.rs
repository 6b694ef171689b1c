//! The owner of what is wanted and of the datapath: the only writer of the kernel's tables.

pub mod deferred;
mod newcomers;
mod places;
mod pods;
mod state;
#[cfg(test)]
mod tests;

use std::{error::Error, ops::ControlFlow, sync::Arc, time::Duration};

pub use state::{AttachmentState, Hold, Sample, State, WORKLOAD_LABELS, WorkloadState};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    datapath::Datapath,
    endpoints::{self, Known, Reader, Wanted},
    metrics::{Preseeded, Timings},
    policy::{
        answers::Answers,
        compile::{Change, Compiler, Input},
        diff::diff,
        image::Image,
        virtual_addresses::VirtualAddresses,
    },
    preseed::{
        Told,
        desk::{Asker, Reply},
    },
    ready,
    registry::{
        file::{Snapshot, tell_reports},
        report::Report,
    },
    workloads::{
        place::Node,
        roster::{Root, Roster},
    },
};
use deferred::{Late, Waiting};
use newcomers::{Newcomer, Preseed};
use places::Places;
pub use places::missing_places;
pub use pods::exempt_own_pod;
use pods::{Wired, changed, wired};

/// How often workloads are looked for again.
pub const TICK: Duration = Duration::from_secs(2);
/// How often expired facts and idle flows are removed.
const COLLECT: Duration = Duration::from_secs(10);
/// First and longest wait before something that failed is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// Asks for what the kernel measured.
pub type SampleRequest = oneshot::Sender<Result<Sample, String>>;

/// What reconcile is given.
pub struct Parts<D> {
    pub config: Arc<Config>,
    pub datapath: D,
    pub node: Box<dyn Node>,
    pub registry: watch::Receiver<Arc<Snapshot>>,
    pub timings: Timings,
    pub preseeded: Preseeded,
    pub stop: CancellationToken,
}

/// How others see reconcile.
#[derive(Clone, Debug)]
pub struct Handle {
    pub state: watch::Receiver<Arc<State>>,
    /// When the loop last came round.
    pub heartbeat: watch::Receiver<Instant>,
    pub samples: mpsc::Sender<SampleRequest>,
}

/// The loop. Made by [`Reconcile::new`], started by [`Reconcile::start`], then [`Reconcile::run`].
pub struct Reconcile<D: Datapath> {
    parts: Parts<D>,
    output: watch::Sender<Arc<State>>,
    heartbeat: watch::Sender<Instant>,
    requests: mpsc::Receiver<SampleRequest>,
    compiler: Compiler,
    /// What was compiled last, beside the workloads.
    source: Arc<Snapshot>,
    answers: Answers,
    virtual_addresses: VirtualAddresses,
    installed: Installed,
    places: Places,
    preseed: Preseed,
    waiting: Waiting,
    endpoints: Reader,
    /// The pods of this node, where there is a kubelet.
    roster: Option<watch::Receiver<Arc<Roster>>>,
    pods_root: Option<Root>,
    /// The veth that is being attached to.
    wiring: Option<JoinHandle<Wired<D::Error>>>,
    /// Whether [`Self::start`] has been through.
    is_started: bool,
    is_ready: bool,
    retry: Option<Retry>,
    tick: Interval,
    collect: Interval,
}

/// What the tables of the kernel hold.
#[derive(Debug, Default)]
enum Installed {
    /// Something failed in between.
    #[default]
    Unknown,
    /// What an earlier agent left.
    Found(Box<Image>),
    /// What was compiled last.
    Compiled,
}

#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Instant,
    wait: Duration,
}

/// All that can happen.
#[derive(Debug)]
enum Event<E> {
    Collect,
    /// Endpoints have other addresses.
    Endpoints,
    Late(Late),
    Name(Reply),
    Registry,
    Retry,
    Roster,
    Sample(SampleRequest),
    SourceEnded,
    Stop,
    Tick,
    Wired(Wired<E>),
}

/// Why the kernel could not be brought to what is wanted.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error("read the kernel tables: {0}")]
    Dump(#[source] BoxError),
    #[error("write the kernel tables: {0}")]
    Apply(#[source] BoxError),
    #[error("remove expired facts and idle flows: {0}")]
    Collect(#[source] BoxError),
    #[error("{0}")]
    Attach(String),
    #[error("the source of the registry ended (this is a bug of exeat)")]
    SourceEnded,
}

type BoxError = Box<dyn Error + Send + Sync>;

impl<D: Datapath> Reconcile<D> {
    /// Names of workloads that ran before they were enforced are asked of `asker`.
    pub fn new(parts: Parts<D>, asker: Asker) -> (Self, Handle) {
        let (output, state) = watch::channel(Arc::default());
        let (heartbeat, beats) = watch::channel(Instant::now());
        let (samples, requests) = mpsc::channel(16);
        let preseed = Preseed::new(asker, parts.preseeded.clone());
        let reconcile = Self {
            parts,
            output,
            heartbeat,
            requests,
            compiler: Compiler::default(),
            source: Arc::default(),
            answers: Answers::default(),
            virtual_addresses: VirtualAddresses::default(),
            installed: Installed::default(),
            places: Places::default(),
            preseed,
            waiting: Waiting::default(),
            // Nobody resolves until told otherwise.
            endpoints: endpoints::pair().0,
            roster: None,
            pods_root: None,
            wiring: None,
            is_started: false,
            is_ready: false,
            retry: None,
            tick: every(TICK),
            collect: every(COLLECT),
        };
        (reconcile, Handle { state, heartbeat: beats, samples })
    }

    /// Waits for the first registry. What an earlier agent left stays in force as it is meanwhile. If
    /// the source ends there is none, and this waits for ever: an empty one would deny everything.
    pub async fn await_registry(&mut self) {
        loop {
            self.heartbeat.send_replace(Instant::now());
            tokio::select! {
                changed = self.parts.registry.changed() => match changed {
                    Ok(()) => return,
                    Err(_) => std::future::pending().await,
                },
                _ = self.tick.tick() => {}
                Some(reply) = self.requests.recv() => {
                    // Whoever asked may be gone.
                    drop(reply.send(self.sample()));
                }
            }
        }
    }

    /// Sends flows to what the names of endpoints are resolved to.
    #[must_use]
    pub fn with_endpoints(mut self, endpoints: Reader) -> Self {
        self.endpoints = endpoints;
        self
    }

    /// Takes over what an earlier agent left and brings it to what is wanted. Waits a moment for
    /// the names of workloads that nobody enforced until now.
    pub async fn start(&mut self) -> Result<(), ReconcileError> {
        let installed = self.parts.datapath.dump().map_err(|it| ReconcileError::Dump(it.into()))?;
        self.compiler = Compiler::seeded(&installed);
        self.virtual_addresses = VirtualAddresses::seeded(&installed);
        self.places = Places::look(&self.parts.config, self.parts.node.as_ref());
        if let Some(root) = &self.pods_root {
            self.places.set_pods_root(root.clone());
        }
        if let Some(roster) = &mut self.roster {
            drop(self.places.take_roster(Arc::clone(&roster.borrow_and_update())));
            self.places.want_all_wires();
        }
        self.preseed.found(&installed, &self.places, &self.parts.datapath);
        self.installed = Installed::Found(Box::new(installed));
        let collected = self
            .parts
            .datapath
            .collect_garbage()
            .map_err(|it| ReconcileError::Collect(it.into()))?;
        // Facts may name patterns that the tables no longer hold: their numbers stay theirs.
        let patterns = collected.subjects.iter().filter(|subject| !subject.is_prefix());
        if let Some(highest) = patterns.map(|subject| subject.serial()).max() {
            self.compiler.raise_pattern_floor(highest);
        }
        if !self.parts.config.dns.resolvers.is_empty() {
            let wanted = self.endpoint_names();
            self.parts.stop.clone().run_until_cancelled(self.endpoints.settle(wanted)).await;
        }
        let (source, change) = self.compile();
        let newcomers = self.newcomers();
        let told = if self.ask(&newcomers) {
            self.preseed.wait(&self.parts.stop).await
        } else {
            Vec::new()
        };
        let result = self.enforce(source, change, &newcomers, &told);
        self.is_started = true;
        result
    }

    /// Follows changes until told to stop. The kernel side stays as it is then.
    pub async fn run(mut self) -> Result<(), ReconcileError> {
        loop {
            let event = self.next_event().await;
            self.heartbeat.send_replace(Instant::now());
            if let ControlFlow::Break(result) = self.handle_event(event) {
                return result;
            }
        }
    }

    async fn next_event(&mut self) -> Event<D::Error> {
        let retry = self.retry.map(|retry| retry.at);
        tokio::select! {
            biased;
            () = self.parts.stop.cancelled() => Event::Stop,
            changed = changed(&mut self.roster) => match changed {
                Ok(()) => Event::Roster,
                Err(_) => Event::SourceEnded,
            },
            changed = self.parts.registry.changed() => match changed {
                Ok(()) => Event::Registry,
                Err(_) => Event::SourceEnded,
            },
            () = sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => Event::Retry,
            wired = wired(&mut self.wiring) => Event::Wired(wired),
            late = self.waiting.next() => Event::Late(late),
            () = self.endpoints.changed() => Event::Endpoints,
            reply = self.preseed.reply() => Event::Name(reply),
            _ = self.tick.tick() => Event::Tick,
            _ = self.collect.tick() => Event::Collect,
            Some(reply) = self.requests.recv() => Event::Sample(reply),
        }
    }

    fn handle_event(&mut self, event: Event<D::Error>) -> ControlFlow<Result<(), ReconcileError>> {
        match event {
            Event::Collect => self.collect_garbage(),
            Event::Late(late) => self.handle_late(late),
            Event::Name(Reply::Told(told)) => drop(self.learn(&[told])),
            Event::Name(Reply::Pass { unresolved, is_over }) => {
                self.preseed.passed(unresolved, is_over);
            }
            Event::Registry | Event::Endpoints | Event::Retry => self.sync_or_retry(),
            Event::Roster => self.handle_roster(),
            Event::Wired(wired) => self.handle_wired(wired),
            Event::Sample(reply) => {
                // Whoever asked may be gone.
                drop(reply.send(self.sample()));
            }
            Event::Tick => {
                let places = Places::look(&self.parts.config, self.parts.node.as_ref());
                if self.places.replace(places) {
                    self.sync_or_retry();
                }
            }
            Event::SourceEnded => return ControlFlow::Break(Err(ReconcileError::SourceEnded)),
            Event::Stop => return ControlFlow::Break(Ok(())),
        }
        self.wire_next();
        ControlFlow::Continue(())
    }

    /// Tries, and tries again later if it fails: what is in force stays in force until then.
    fn sync_or_retry(&mut self) {
        let before = self.retry.take();
        let Err(error) = self.sync() else { return };
        let wait = before.map_or(BACKOFF.0, |retry| (retry.wait * 2).min(BACKOFF.1));
        self.retry = Some(Retry { at: Instant::now() + wait, wait });
        tracing::error!(%error, retry_seconds = wait.as_secs(), "not enforced as wanted");
        self.publish_problem(error.to_string());
    }

    /// Compiles, writes what differs, attaches, publishes.
    fn sync(&mut self) -> Result<(), ReconcileError> {
        let (source, change) = self.compile();
        let newcomers = self.newcomers();
        // What is found comes when it comes: an open workload is closed at once.
        self.ask(&newcomers);
        self.enforce(source, change, &newcomers, &[])
    }

    fn enforce(
        &mut self,
        source: Arc<Snapshot>,
        change: Change,
        newcomers: &[Newcomer],
        told: &[Told],
    ) -> Result<(), ReconcileError> {
        let started = Instant::now();
        let changes = self.write_tables(change)?;
        let facts = self.learn(told);
        // After the tables: what is attached finds its rules, what is detached lost them before.
        if self.attach(newcomers, &facts) {
            // Whose veth was refused is held at its sockets.
            let change = self.compile_places();
            self.write_tables(change)?;
        }
        let failed = self.places.failure();
        self.parts.timings.reconciled(started.elapsed(), source.noticed.map(|it| it.elapsed()));
        if changes > 0 {
            tracing::info!(changes, "tables written");
        }
        self.publish(source, failed.clone());
        failed.map_or(Ok(()), |why| Err(ReconcileError::Attach(why)))
    }

    fn compile(&mut self) -> (Arc<Snapshot>, Change) {
        self.source = Arc::clone(&self.parts.registry.borrow_and_update());
        let registry = &self.source.loaded.registry;
        let virtual_addresses = self.virtual_addresses.update(registry);
        let known = self.endpoints.read(endpoints::wanted(registry, &self.parts.config));
        self.answers = Answers { resolved: Known::clone(&known), virtual_addresses };
        (Arc::clone(&self.source), self.compile_places())
    }

    /// Compiles what was compiled last, for the workloads there are now.
    fn compile_places(&mut self) -> Change {
        let workloads = self.places.workloads();
        let input = Input {
            registry: &self.source.loaded.registry,
            config: &self.parts.config,
            workloads: &workloads,
            answers: &self.answers,
        };
        self.compiler.update(&input)
    }

    fn endpoint_names(&self) -> Wanted {
        let source = self.parts.registry.borrow();
        endpoints::wanted(&source.loaded.registry, &self.parts.config)
    }

    /// Returns how many entries changed.
    fn write_tables(&mut self, change: Change) -> Result<usize, ReconcileError> {
        let datapath = &mut self.parts.datapath;
        let Some(desired) = self.compiler.image() else {
            return Ok(0);
        };
        // Taken out: if writing fails in the middle, nobody knows what is installed.
        let operations = match (std::mem::take(&mut self.installed), change) {
            (Installed::Compiled, Change::Steps(operations)) => operations,
            (Installed::Compiled, Change::Whole(Some(before))) => diff(&before, desired),
            (Installed::Found(found), _) => diff(&found, desired),
            (Installed::Unknown | Installed::Compiled, _) => {
                let found = datapath.dump().map_err(|it| ReconcileError::Dump(it.into()))?;
                diff(&found, desired)
            }
        };
        if !operations.is_empty() {
            datapath.apply(&operations).map_err(|it| ReconcileError::Apply(it.into()))?;
        }
        self.installed = Installed::Compiled;
        Ok(operations.len())
    }

    fn collect_garbage(&mut self) {
        match self.parts.datapath.collect_garbage() {
            Ok(collected) => {
                self.settle();
                if let Installed::Compiled = self.installed {
                    let in_use = |subject| collected.subjects.contains(&subject);
                    self.compiler.forget_retired(in_use);
                }
            }
            Err(error) => tracing::warn!(%error, "remove expired facts and idle flows"),
        }
    }

    fn sample(&mut self) -> Result<Sample, String> {
        let datapath = &mut self.parts.datapath;
        let read = |error: D::Error| format!("read counters from the kernel: {error}");
        Ok(Sample {
            counters: datapath.counters().map_err(read)?,
            wildcards: datapath.wildcards().map_err(read)?,
            usage: datapath.usage().map_err(read)?,
            programs: datapath.programs().map_err(read)?,
        })
    }

    fn publish(&mut self, source: Arc<Snapshot>, problem: Option<String>) {
        let known = Arc::clone(&self.output.borrow());
        let (reports, directory) = (self.compiler.reports(), self.compiler.directory());
        // Both are sorted.
        let is_new = |report: &&Report| known.reports.binary_search(report).is_err();
        tell_reports(reports.iter().filter(is_new));
        self.output.send_replace(Arc::new(State {
            is_synced: true,
            problem,
            workloads: self.places.states(&self.parts.config, &directory),
            attachments: self.places.attachments().cloned().collect(),
            source,
            reports: reports.into(),
            directory: Arc::new(directory),
        }));
        self.tell_readiness();
    }

    /// The rest stays as it was published last, because it is still in force.
    fn publish_problem(&mut self, problem: String) {
        let state = State { problem: Some(problem), ..State::clone(&self.output.borrow()) };
        self.output.send_replace(Arc::new(state));
        self.tell_readiness();
    }

    fn tell_readiness(&mut self) {
        let missing = ready::missing(&self.output.borrow());
        let is_ready = missing.is_empty();
        if is_ready && !self.is_ready {
            tracing::info!(workloads = self.output.borrow().workloads.len(), "ready");
        } else if !is_ready && self.is_ready {
            tracing::error!(missing = missing.join("; "), "no longer ready");
        }
        self.is_ready = is_ready;
    }
}

/// An interval whose first tick is one period away, and that skips what it missed.
fn every(period: Duration) -> Interval {
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

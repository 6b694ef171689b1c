//! The source task for a cluster: follows all there is to follow, and publishes what it says.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use futures_util::{
    FutureExt as _, Stream, StreamExt as _,
    stream::{AbortHandle, SelectAll, abortable},
};
use kube::{
    core::ApiResource,
    runtime::watcher::{self, Event},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Declared,
    client::Cluster,
    discovery::{Schedule, Served, is_awaited, look},
    fetched::Fetched,
    follow::{follow, status},
    health::Health,
    library::{Changed, Library},
    source::Source,
};
use crate::workloads::pod::Pods;

/// How long changes of the registry are gathered before they are published as one. Much shorter
/// would compile each of many changes on its own; much longer would be felt.
const GATHER: Duration = Duration::from_millis(25);
/// How long kinds that are defined and not served are waited for at the start: a server that has
/// just come up does not know all of its own kinds yet.
const AWAIT_KINDS: Duration = Duration::from_secs(10);
/// Events that are taken in before anything is published.
const BATCH: usize = 512;

/// What the task is given.
pub struct Parts {
    pub cluster: Cluster,
    pub health: Health,
    pub pods: watch::Sender<Arc<Pods>>,
    /// None until everything was listed once.
    pub declared: watch::Sender<Option<Arc<Declared>>>,
}

/// The task: [`Sources::run`].
pub struct Sources {
    parts: Parts,
    streams: SelectAll<Events>,
    following: BTreeMap<Source, Following>,
    library: Library,
    looks: Looks,
    started: Instant,
    /// All was listed once, and published.
    is_synced: bool,
    pods_changed: bool,
    /// When the first change was noticed that is not published.
    registry_changed: Option<Instant>,
}

type Outcome = Result<Event<Fetched>, watcher::Error>;
type Events = Pin<Box<dyn Stream<Item = (Source, Outcome)> + Send>>;
type Look = Pin<Box<dyn Future<Output = Result<Served, kube::Error>> + Send>>;

struct Following {
    resource: ApiResource,
    stream: AbortHandle,
}

/// Looks for kinds of others.
struct Looks {
    schedule: Schedule,
    /// The one that is being taken.
    running: Option<Look>,
    /// What the last one found; none: none succeeded yet.
    served: Option<Served>,
    /// Definitions may not be watched: looks alone tell.
    is_blind: bool,
    has_told: bool,
}

enum Wakeup {
    Stop,
    Publish,
    Look,
    Looked(Result<Served, kube::Error>),
    Outcome(Source, Box<Outcome>),
}

impl Sources {
    pub fn new(parts: Parts) -> Self {
        let now = Instant::now();
        Self {
            parts,
            streams: SelectAll::new(),
            following: BTreeMap::new(),
            library: Library::default(),
            looks: Looks {
                schedule: Schedule::new(now),
                running: None,
                served: None,
                is_blind: false,
                has_told: false,
            },
            started: now,
            is_synced: false,
            pods_changed: true,
            registry_changed: None,
        }
    }

    /// Runs until `stop`. Nothing that the API server does or says ends it.
    pub async fn run(mut self, stop: CancellationToken) {
        for source in Source::always(self.parts.cluster.mesh.is_some()) {
            self.begin(source, None);
        }
        loop {
            match self.next(&stop).await {
                Wakeup::Stop => return,
                Wakeup::Publish => self.publish_registry(),
                Wakeup::Look => {
                    self.looks.running = Some(look(self.parts.cluster.client.clone()).boxed());
                }
                Wakeup::Looked(result) => self.looked(result),
                Wakeup::Outcome(source, outcome) => {
                    self.take_in(&source, *outcome);
                    self.take_in_what_is_there();
                }
            }
            self.publish();
        }
    }

    async fn next(&mut self, stop: &CancellationToken) -> Wakeup {
        let publish = self.registry_changed.filter(|_| self.is_synced).map(|since| since + GATHER);
        let look = self.looks.schedule.next();
        let is_looking = self.looks.running.is_some();
        let looked = async {
            match &mut self.looks.running {
                Some(look) => look.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => Wakeup::Stop,
            () = sleep_until(publish.unwrap_or(look)), if publish.is_some() => Wakeup::Publish,
            result = looked => Wakeup::Looked(result),
            () = sleep_until(look), if !is_looking => Wakeup::Look,
            Some((source, outcome)) = self.streams.next() => {
                Wakeup::Outcome(source, Box::new(outcome))
            }
        }
    }

    /// Takes in what has arrived already, so that a burst is published as one.
    fn take_in_what_is_there(&mut self) {
        for _ in 0..BATCH {
            match self.streams.next().now_or_never() {
                Some(Some((source, outcome))) => self.take_in(&source, outcome),
                Some(None) | None => break,
            }
        }
    }

    /// Begins to follow a source. `found` is what it is called, if that had to be found.
    fn begin(&mut self, source: Source, found: Option<ApiResource>) {
        let Some(resource) = found.or_else(|| source.resource()) else { return };
        let mesh = self.parts.cluster.mesh.as_ref();
        let subject = source.subject(&self.parts.cluster.client, &resource, mesh);
        let selection = source.selection(&self.parts.cluster.node, mesh);
        let (events, stream) = abortable(follow(subject, selection));
        let named = source.clone();
        self.streams.push(events.map(move |outcome| (named.clone(), outcome)).boxed());
        self.parts.health.begin(&source);
        self.following.insert(source, Following { resource, stream });
    }

    /// Ends following a source. What it held is gone.
    fn end(&mut self, source: &Source) {
        let Some(following) = self.following.remove(source) else { return };
        following.stream.abort();
        self.library.forget(source);
        self.parts.health.end(source);
        self.changed(Changed { registry: true, ..Changed::default() });
    }

    fn take_in(&mut self, source: &Source, outcome: Outcome) {
        let Some(following) = self.following.get(source) else {
            // It was ended with this on its way.
            return;
        };
        let event = match outcome {
            Ok(event) => event,
            Err(error) => return self.failed(source, &error),
        };
        let is_complete = matches!(event, Event::InitDone);
        let changed = self.library.apply(source, &following.resource, event);
        let (objects, is_synced) = self.library.holds(source);
        self.parts.health.holds(source, objects, is_synced);
        if is_complete {
            if *source == Source::Definitions {
                self.looks.is_blind = false;
            }
            if let Some(outage) = self.parts.health.listed(source) {
                let seconds = outage.as_secs();
                tracing::info!(%source, objects, seconds, "kubernetes: followed again");
                self.changed(Changed { registry: true, ..Changed::default() });
            } else {
                tracing::debug!(%source, objects, "kubernetes: listed");
            }
        }
        self.changed(changed);
    }

    fn failed(&mut self, source: &Source, error: &watcher::Error) {
        let code = status(error).map_or(0, |status| status.code);
        if *source == Source::Definitions && code == 403 {
            self.looks.is_blind = true;
        }
        if code == 404 {
            // Its definition may be gone.
            self.looks.schedule.soon(Instant::now());
        }
        let why = if code == 403 {
            format!("{} (grant `get`, `list` and `watch`)", reason(error))
        } else {
            reason(error)
        };
        if self.parts.health.failed(source, why.clone()) {
            tracing::warn!(%source, "kubernetes: {why}; what it said before stays in force");
            self.changed(Changed { registry: true, ..Changed::default() });
        }
    }

    fn changed(&mut self, changed: Changed) {
        let now = Instant::now();
        self.pods_changed |= changed.pods;
        if changed.definitions {
            self.looks.schedule.soon(now);
        }
        if changed.registry {
            self.registry_changed.get_or_insert(now);
        }
    }

    fn looked(&mut self, result: Result<Served, kube::Error>) {
        self.looks.running = None;
        let now = Instant::now();
        match result {
            Ok(served) => {
                self.looks.schedule.taken(now);
                self.looks.has_told = false;
                self.follow_what_is_served(&served);
                self.looks.served = Some(served);
            }
            Err(error) => {
                self.looks.schedule.failed(now);
                if !std::mem::replace(&mut self.looks.has_told, true) {
                    tracing::warn!("kubernetes: ask which kinds there are: {error}");
                }
            }
        }
    }

    fn follow_what_is_served(&mut self, served: &Served) {
        for (kind, resource) in served {
            let source = Source::Objects(*kind);
            match self.following.get(&source) {
                Some(following) if following.resource == *resource => continue,
                // It moved: what is held of it stays until the new list is complete.
                Some(following) => following.stream.abort(),
                None => tracing::info!(%source, version = resource.version, "kubernetes: followed"),
            }
            self.begin(source, Some(resource.clone()));
        }
        let gone: Vec<Source> = self
            .following
            .iter()
            .filter_map(|(source, following)| {
                let Source::Objects(kind) = source else { return None };
                let is_custom = source.resource().is_none() && !served.contains_key(kind);
                (is_custom && self.is_undefined(source, &following.resource))
                    .then(|| source.clone())
            })
            .collect();
        for source in gone {
            tracing::info!(%source, "kubernetes: the kind is gone, and its objects with it");
            self.end(&source);
        }
    }

    /// Whether the definition of a kind is gone, and not only unserved for a moment.
    fn is_undefined(&self, source: &Source, resource: &ApiResource) -> bool {
        let name = format!("{}.{}", resource.plural, resource.group);
        match self.library.definitions() {
            Some(mut names) if !self.looks.is_blind => !names.any(|it| it == name),
            _ => self.parts.health.is_failing(source),
        }
    }

    /// Follows the pods of namespaces whose entries select some, and no others.
    fn follow_selected_pods(&mut self) {
        let selecting = self.library.selecting();
        let mut followed: Vec<Box<str>> = Vec::new();
        for source in self.following.keys() {
            if let Source::PodsOf(namespace) = source {
                followed.push(namespace.clone());
            }
        }
        for namespace in followed.iter().filter(|it| !selecting.contains(*it)) {
            self.end(&Source::PodsOf(namespace.clone()));
        }
        for namespace in selecting.into_iter().filter(|it| !followed.contains(it)) {
            self.begin(Source::PodsOf(namespace), None);
        }
    }

    /// Publishes what must not wait: the first state, and pods.
    fn publish(&mut self) {
        if !self.is_synced && self.is_complete() {
            self.is_synced = true;
            self.registry_changed = None;
            tracing::info!(pods = self.library.pods().len(), "kubernetes: all was listed");
            self.publish_pods();
            self.publish_declared(None);
        }
        if self.is_synced && self.pods_changed {
            self.publish_pods();
        }
    }

    fn publish_pods(&mut self) {
        self.pods_changed = false;
        let pods = self.library.pods();
        self.parts.pods.send_if_modified(|published| {
            let is_news = **published != pods;
            if is_news {
                *published = Arc::new(pods);
            }
            is_news
        });
    }

    fn publish_registry(&mut self) {
        let noticed = self.registry_changed.take();
        self.follow_selected_pods();
        self.publish_declared(noticed);
    }

    fn publish_declared(&mut self, noticed: Option<Instant>) {
        let stale_since = self.parts.health.failing_since();
        let reads = self.library.declared();
        let refused = self.library.refused(&reads);
        self.parts.declared.send_modify(|published| {
            let waiting = published.as_ref().and_then(|before| before.waiting());
            let noticed = waiting.or(noticed);
            let declared = Declared { reads, refused, stale_since, noticed, ..Declared::default() };
            *published = Some(Arc::new(declared));
        });
    }

    /// Whether everything that there is was listed.
    fn is_complete(&mut self) -> bool {
        let Some(served) = &self.looks.served else { return false };
        let is_awaiting = match self.library.definitions() {
            Some(mut names) => names.any(|name| is_awaited(name, served)),
            // They will come, unless they may not be looked at.
            None if self.looks.is_blind => false,
            None => return false,
        };
        if is_awaiting && self.started.elapsed() < AWAIT_KINDS {
            if self.looks.schedule.is_quiet() {
                self.looks.schedule.soon(Instant::now());
            }
            return false;
        }
        self.follow_selected_pods();
        let is_listed =
            |source: &Source| *source == Source::Definitions || self.library.holds(source).1;
        self.following.keys().all(is_listed)
    }
}

/// What went wrong, without the chain of who called whom.
fn reason(error: &watcher::Error) -> String {
    let mut error: &dyn std::error::Error = error;
    let mut text = error.to_string();
    while let Some(source) = error.source() {
        error = source;
        let inner = error.to_string();
        if !text.contains(&inner) {
            text = format!("{text}: {inner}");
        }
    }
    text
}

//! All channels and all tasks of the agent, and the order in which it ends.

use std::{sync::Arc, time::SystemTime};

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{self, Pages},
    config::Config,
    datapath::{Datapath, EventSource},
    endpoints::{self, book::Book, keeper::Keeper, memory::Memory},
    flows::FlowLog,
    kubernetes::client::Cluster,
    metrics::Metrics,
    observer::{self, Observer, pump},
    preseed::{Hickory, desk::desk},
    reconcile::{
        Parts, Reconcile,
        deferred::{self, Deferrals},
    },
    registry::file::{Snapshot, tell_reports},
    shutdown,
    sources::{self, Origin, Said},
    tasks::Tasks,
    workloads::{
        census::{Census, Site},
        place::Node,
    },
};

/// What the agent runs on. The caller has checked the node and holds the lock.
pub struct Ground<D, S> {
    pub config: Config,
    pub datapath: D,
    pub events: S,
    pub node: Box<dyn Node>,
    pub registry: Snapshot,
    /// None: files alone are the registry.
    pub cluster: Option<Cluster>,
    /// Where the pods of the cluster are on this node; none: they are not enforced.
    pub site: Option<Site>,
    pub stop: CancellationToken,
}

/// Runs the agent until `stop`. A task that ends by itself, fails or panics ends the agent;
/// enforcement goes on without it.
pub async fn run<D, S>(ground: Ground<D, S>) -> anyhow::Result<()>
where
    D: Datapath + 'static,
    S: EventSource,
{
    let Ground { config, datapath, events, node, registry, cluster, site, stop } = ground;
    // Whatever ends this function ends the tasks.
    let stopper = stop.clone().drop_guard();
    let config = Arc::new(config);
    let metrics = Metrics::default();
    let flows = FlowLog::default();

    let http = admin::bind(config.metrics_listen).await?;
    let socket = admin::bind_socket(&config.socket)?;
    tell_reports(registry.loaded.reports.iter());
    let mut tasks = Tasks::default();
    let has_cluster = cluster.is_some();
    let tells = config.kubernetes.as_ref().is_some_and(|kubernetes| kubernetes.events);
    let files = config.registry.clone();
    let origin = Origin { files, first: registry, cluster, flows: tells.then(|| flows.clone()) };
    let Said { registry, pods } =
        sources::spawn(&mut tasks, origin, metrics.cluster.clone(), &stop);
    let (asker, names) = desk();
    let parts = Parts {
        config: Arc::clone(&config),
        datapath,
        node,
        registry,
        timings: metrics.timings.clone(),
        preseeded: metrics.preseeded.clone(),
        stop: stop.clone(),
    };
    let (reconcile, handle) = Reconcile::new(parts, asker);
    let (late_asker, late_desk) = desk();
    let (deferred, events_deferred) = mpsc::channel(deferred::QUEUE);
    let deferrals = Deferrals { events: events_deferred, asker: late_asker };
    let (reader, endpoints) = endpoints::pair();
    let mut reconcile = reconcile.with_deferred(deferrals).with_endpoints(reader);
    let resolver = Hickory::new(&config.dns.resolvers).context("set the resolver library up")?;
    let resolver = Arc::new(resolver);
    tasks.spawn_infallible("names", names.run(Arc::clone(&resolver), stop.clone()));
    tasks.spawn_infallible("late names", late_desk.run(Arc::clone(&resolver), stop.clone()));
    let memory = Memory::beside(&config.socket);
    let keeper = Keeper {
        desk: endpoints,
        resolver,
        book: Book::new(memory.read(), config.dns.minimum_ttl),
        memory: Some(memory),
        counts: metrics.endpoints.clone(),
    };
    tasks.spawn_infallible("endpoints", keeper.run(stop.clone()));
    if !has_cluster {
        reconcile.start().await.context("start enforcement")?;
    }

    let (queue, queued) = mpsc::channel(observer::QUEUE);
    let name = node_name();
    let observer = Observer::new(name.clone(), handle.state.clone(), flows.clone());
    let lost = metrics.lost.clone();
    let pages = Pages {
        reconcile: handle,
        metrics,
        flows,
        node: name,
        started: SystemTime::now(),
        stop: stop.clone(),
    };

    tasks.spawn("admin pages", admin::serve(http, pages.clone()));
    tasks.spawn("admin socket", admin::serve_socket(socket, pages));
    // It may take long until the API server answers: until then the pages say what is missing.
    let ended = tokio::select! {
        biased;
        ended = tasks.supervise(&stop), if has_cluster => Some(ended),
        () = reconcile.await_registry(), if has_cluster => None,
        else => None,
    };
    let result = if let Some(ended) = ended {
        ended
    } else {
        if let (Some(site), Some(pods)) = (site, pods) {
            let root = site.root.clone();
            // All pods were listed by now, so that none is denied for not being known.
            let (census, roster) = Census::open(site, pods)?;
            reconcile = reconcile.with_pods(root, roster);
            tasks.spawn("pods", census.run(stop.clone()));
        }
        if has_cluster {
            reconcile.start().await.context("start enforcement")?;
        }
        tasks.spawn("reconcile", reconcile.run());
        tasks.spawn("event ring", pump(events, queue, deferred, lost, stop.clone()));
        tasks.spawn_infallible("observer", observer.run(queued, stop.clone()));
        tasks.supervise(&stop).await
    };
    drop(stopper);
    tasks.wind_down(shutdown::DEADLINE).await;
    if let Err(error) = std::fs::remove_file(&config.socket) {
        tracing::debug!(%error, "remove the socket");
    }
    result
}

fn node_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "localhost".to_owned() } else { name.trim().to_owned() }
}

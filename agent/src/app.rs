//! All channels and all tasks of the agent, and the order in which it ends.

use std::{sync::Arc, time::SystemTime};

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{self, Pages},
    config::Config,
    datapath::{Datapath, EventSource},
    endpoints::{self, book::Book, keeper::Keeper, memory::Memory},
    flows::FlowLog,
    metrics::Metrics,
    observer::{self, Observer, pump},
    preseed::{Hickory, desk::desk},
    reconcile::{
        Parts, Reconcile,
        deferred::{self, Deferrals},
    },
    registry::file::{Snapshot, tell_reports, watch_files},
    shutdown,
    tasks::Tasks,
    workloads::place::Node,
};

/// What the agent runs on. The caller has checked the node and holds the lock.
pub struct Ground<D, S> {
    pub config: Config,
    pub datapath: D,
    pub events: S,
    pub node: Box<dyn Node>,
    pub registry: Snapshot,
    pub stop: CancellationToken,
}

/// Runs the agent until `stop`. A task that ends by itself, fails or panics ends the agent;
/// enforcement goes on without it.
pub async fn run<D, S>(ground: Ground<D, S>) -> anyhow::Result<()>
where
    D: Datapath + 'static,
    S: EventSource,
{
    let Ground { config, datapath, events, node, registry, stop } = ground;
    // Whatever ends this function ends the tasks.
    let stopper = stop.clone().drop_guard();
    let config = Arc::new(config);
    let metrics = Metrics::default();
    let flows = FlowLog::default();

    let http = admin::bind(config.metrics_listen).await?;
    let socket = admin::bind_socket(&config.socket)?;
    tell_reports(registry.loaded.reports.iter());
    let (publish, registry) = watch::channel(Arc::new(registry));
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
    let mut tasks = Tasks::default();
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
    reconcile.start().await.context("start enforcement")?;

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

    tasks.spawn("reconcile", reconcile.run());
    tasks.spawn("event ring", pump(events, queue, deferred, lost, stop.clone()));
    tasks.spawn_infallible("observer", observer.run(queued, stop.clone()));
    let (token, files) = (stop.clone(), config.registry.clone());
    tasks.spawn("registry", async move {
        if files.watch {
            return watch_files(files.files, publish, token).await;
        }
        // Kept, because reconcile takes the end of the source for a fault.
        token.cancelled().await;
        drop(publish);
        Ok(())
    });
    tasks.spawn("admin pages", admin::serve(http, pages.clone()));
    tasks.spawn("admin socket", admin::serve_socket(socket, pages));

    let result = tasks.supervise(&stop).await;
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

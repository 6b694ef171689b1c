//! All channels and all tasks of the agent, and the order in which it ends.

use std::{sync::Arc, time::SystemTime};

use anyhow::{Context as _, bail};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{self, Pages},
    config::Config,
    datapath::{Datapath, EventSource},
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
    workloads::{
        census::{Census, Site},
        place::Node,
        pod,
    },
};

/// What the agent runs on. The caller has checked the node and holds the lock.
pub struct Ground<D, S> {
    pub config: Config,
    pub datapath: D,
    pub events: S,
    pub node: Box<dyn Node>,
    pub registry: Snapshot,
    /// Where there is a kubelet.
    pub pods: Option<Pods>,
    pub stop: CancellationToken,
}

/// The pods of this node: where they are found, and who they are by the API. The list is whole by
/// now: pods that are not in it are denied as soon as enforcement begins.
pub struct Pods {
    pub site: Site,
    pub told: watch::Receiver<Arc<pod::Pods>>,
}

/// Runs the agent until `stop`. A task that ends by itself, fails or panics ends the agent;
/// enforcement goes on without it.
pub async fn run<D, S>(ground: Ground<D, S>) -> anyhow::Result<()>
where
    D: Datapath + 'static,
    S: EventSource,
{
    let Ground { config, datapath, events, node, registry, pods, stop } = ground;
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
    let mut reconcile = reconcile.with_deferred(deferrals);
    let mut tasks: JoinSet<(&'static str, anyhow::Result<()>)> = JoinSet::new();
    if let Some(Pods { site, told }) = pods {
        let root = site.root.clone();
        let (census, roster) = Census::open(site, told)?;
        reconcile = reconcile.with_pods(root, roster);
        let token = stop.clone();
        tasks.spawn(async move { ("pods", census.run(token).await.map_err(Into::into)) });
    }
    let resolver = Hickory::new(&config.dns.resolvers).context("set the resolver library up")?;
    let token = stop.clone();
    tasks.spawn(async move {
        names.run(resolver, token).await;
        ("names", Ok(()))
    });
    let resolver = Hickory::new(&config.dns.resolvers).context("set the resolver library up")?;
    let token = stop.clone();
    tasks.spawn(async move {
        late_desk.run(resolver, token).await;
        ("late names", Ok(()))
    });
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

    let token = stop.clone();
    tasks.spawn(async move { ("reconcile", reconcile.run().await.map_err(Into::into)) });
    tasks.spawn(async move {
        ("event ring", pump(events, queue, deferred, lost, token).await.map_err(Into::into))
    });
    let token = stop.clone();
    tasks.spawn(async move {
        observer.run(queued, token).await;
        ("observer", Ok(()))
    });
    let (token, files) = (stop.clone(), config.registry.clone());
    tasks.spawn(async move {
        if files.watch {
            let result = watch_files(files.files, publish, token).await;
            return ("registry", result.map_err(Into::into));
        }
        // Kept, because reconcile takes the end of the source for a fault.
        token.cancelled().await;
        drop(publish);
        ("registry", Ok(()))
    });
    let tcp_pages = pages.clone();
    tasks.spawn(
        async move { ("admin pages", admin::serve(http, tcp_pages).await.map_err(Into::into)) },
    );
    tasks.spawn(async move {
        ("admin socket", admin::serve_socket(socket, pages).await.map_err(Into::into))
    });

    let result = supervise(&mut tasks, &stop).await;
    drop(stopper);
    wind_down(tasks).await;
    if let Err(error) = std::fs::remove_file(&config.socket) {
        tracing::debug!(%error, "remove the socket");
    }
    result
}

/// Waits for the first task to end. Without `stop` that is a fault.
async fn supervise(
    tasks: &mut JoinSet<(&'static str, anyhow::Result<()>)>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        ended = tasks.join_next() => match ended {
            Some(Ok((_, _))) if stop.is_cancelled() => Ok(()),
            Some(Ok((task, Ok(())))) => bail!("the task `{task}` ended (this is a bug of exeat)"),
            Some(Ok((task, Err(error)))) => Err(error.context(format!("the task `{task}` failed"))),
            Some(Err(panic)) => bail!("a task panicked: {panic} (this is a bug of exeat)"),
            None => Ok(()),
        },
    }
}

/// Lets the other tasks end by themselves, up to a deadline.
async fn wind_down(mut tasks: JoinSet<(&'static str, anyhow::Result<()>)>) {
    let deadline = Instant::now() + shutdown::DEADLINE;
    while let Ok(Some(ended)) = timeout_at(deadline, tasks.join_next()).await {
        if let Ok((task, Err(error))) = ended {
            tracing::warn!(task, "while stopping: {error:#}");
        }
    }
    if !tasks.is_empty() {
        tracing::warn!(tasks = tasks.len(), "still busy, ended anyway");
    }
    tasks.shutdown().await;
}

fn node_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "localhost".to_owned() } else { name.trim().to_owned() }
}

//! The tasks that say what is declared and which pods there are: files, and a cluster if there is
//! one.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    config::RegistryConfig,
    flows::FlowLog,
    kubernetes::{
        client::Cluster,
        health::Health,
        join::join,
        sources::{Parts, Sources},
        teller::Teller,
    },
    registry::file::{LoadPanicked, Snapshot, watch_files},
    tasks::Tasks,
    workloads::pod::Pods,
};

/// Where it is said.
pub(crate) struct Origin {
    pub(crate) files: RegistryConfig,
    /// What the files say now.
    pub(crate) first: Snapshot,
    pub(crate) cluster: Option<Cluster>,
    /// What the cluster is told of, if it is to be told anything.
    pub(crate) flows: Option<FlowLog>,
}

/// What is said.
pub(crate) struct Said {
    /// With a cluster, empty until all of it was listed.
    pub(crate) registry: watch::Receiver<Arc<Snapshot>>,
    /// The pods of this node; none without a cluster.
    pub(crate) pods: Option<watch::Receiver<Arc<Pods>>>,
}

/// Starts the tasks.
pub(crate) fn spawn(
    tasks: &mut Tasks,
    origin: Origin,
    health: Health,
    stop: &CancellationToken,
) -> Said {
    let Origin { files, first, cluster, flows } = origin;
    let (publish, by_files) = watch::channel(Arc::new(first));
    let token = stop.clone();
    tasks.spawn("registry", async move {
        if files.watch {
            return watch_files(files.files, publish, token).await;
        }
        // Kept, because the readers take the end of the source for a fault.
        token.cancelled().await;
        drop(publish);
        Ok::<_, LoadPanicked>(())
    });
    let Some(cluster) = cluster else {
        return Said { registry: by_files, pods: None };
    };
    let (declare, declared) = watch::channel(None);
    let (pods, pods_out) = watch::channel(Arc::default());
    let (output, registry) = watch::channel(Arc::default());
    if let Some(flows) = flows {
        let (cluster, declared, pods) = (cluster.clone(), declared.clone(), pods_out.clone());
        let teller = Teller { cluster, declared, pods, flows };
        tasks.spawn_infallible("events of the cluster", teller.run(stop.clone()));
    }
    let sources = Sources::new(Parts { cluster, health, pods, declared: declare });
    tasks.spawn_infallible("kubernetes", sources.run(stop.clone()));
    tasks.spawn("join of the registry", join(by_files, declared, output, stop.clone()));
    Said { registry, pods: Some(pods_out) }
}

//! The task that tells the cluster what was found, as Events. It waits for nobody and nobody waits
//! for it; what it cannot write is lost.

use std::sync::Arc;

use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff,
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::{
    sync::{broadcast::error::RecvError, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Declared,
    client::Cluster,
    notices::{Notice, Notices, Post},
};
use crate::{flows::FlowLog, workloads::pod::Pods};

/// Who says it.
const CONTROLLER: &str = "exeat.dev/agent";

/// What the task is given.
pub struct Teller {
    pub cluster: Cluster,
    pub declared: watch::Receiver<Option<Arc<Declared>>>,
    pub pods: watch::Receiver<Arc<Pods>>,
    pub flows: FlowLog,
}

impl Teller {
    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut notices = Notices::new(Instant::now());
        let (_, mut lines) = self.flows.subscribe();
        let mut has_warned = false;
        loop {
            let posts = tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = self.declared.changed() => {
                    let declared = self.declared.borrow_and_update().clone();
                    let refused = declared.iter().flat_map(|declared| &declared.refused);
                    let faults = refused.flat_map(|(subject, read)| {
                        let reports = read.reports.iter().filter(|it| it.code.refuses());
                        reports.map(move |report| (subject, report))
                    });
                    notices.refused(faults, Instant::now())
                }
                Ok(()) = self.pods.changed() => {
                    notices.keep(&self.pods.borrow_and_update());
                    continue;
                }
                line = lines.recv() => match line {
                    Ok(line) => {
                        let pods = Arc::clone(&self.pods.borrow());
                        notices.denied(&line, &pods, Instant::now()).into_iter().collect()
                    }
                    // There is more than anybody should be told of.
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return stop.cancelled().await,
                },
            };
            for post in posts {
                let result = tokio::select! {
                    () = stop.cancelled() => return,
                    result = self.write(&post) => result,
                };
                if let Err(error) = result
                    && !std::mem::replace(&mut has_warned, true)
                {
                    tracing::warn!(
                        "kubernetes: write an Event: {error} (grant `create` and `patch` on events of events.k8s.io; enforcement does not need it)"
                    );
                }
            }
        }
    }

    async fn write(&self, post: &Post) -> Result<(), kube::Error> {
        let now = MicroTime(jiff::Timestamp::now());
        let (notice, count) = match post {
            Post::Create(notice) => (notice, None),
            Post::Count(notice, count) => (notice, Some(*count)),
        };
        let api: Api<Event> =
            Api::namespaced(self.cluster.client.clone(), &notice.subject.namespace);
        let result = match count {
            None => api.create(&PostParams::default(), &self.event(notice, now)).await,
            Some(count) => {
                let count = i32::try_from(count).unwrap_or(i32::MAX);
                let series = EventSeries { count, last_observed_time: now };
                let patch = Patch::Merge(json!({"series": series}));
                api.patch(&notice.name(), &PatchParams::default(), &patch).await
            }
        };
        match result {
            // Another node was faster; or it is so old that the server has dropped it.
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(()),
            result => result.map(drop),
        }
    }

    fn event(&self, notice: &Notice, now: MicroTime) -> Event {
        let subject = notice.subject.clone();
        Event {
            metadata: ObjectMeta {
                name: Some(notice.name()),
                namespace: Some(subject.namespace.clone()),
                ..ObjectMeta::default()
            },
            regarding: Some(ObjectReference {
                api_version: Some(subject.api_version),
                kind: Some(subject.kind),
                namespace: Some(subject.namespace),
                name: Some(subject.name),
                uid: Some(subject.uid),
                ..ObjectReference::default()
            }),
            action: Some(notice.action.to_owned()),
            reason: Some(notice.reason.to_owned()),
            note: Some(notice.note.clone()),
            type_: Some("Warning".to_owned()),
            event_time: Some(now),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.cluster.node.clone()),
            ..Event::default()
        }
    }
}

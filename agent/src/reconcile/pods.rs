//! Pods in reconcile: the roster is taken in, and veths are attached to beside all else.

use std::sync::Arc;

use exeat_common::{
    abi::{Workload, mode, workload_flag},
    address::Address,
    id::{PolicyId, WorkloadId},
    limits::WORKLOAD_ADDRESSES,
};
use tokio::{sync::watch, task::JoinHandle};

use super::{Reconcile, ReconcileError};
use crate::{
    datapath::{Attachment, Datapath, Takeover},
    policy::image::MapOp,
    workloads::{
        place::Cgroup,
        roster::{Root, Roster},
    },
};

/// What came of attaching to the veth of a pod.
pub(super) type Wired<E> = (Attachment, Result<Takeover, E>);

/// Lets the pod of the agent out before the API can be asked who the pods are. What an earlier agent
/// left would deny it: it is one that nobody knows yet. Nothing is enforced, nothing is to be done.
pub fn exempt_own_pod<D: Datapath>(datapath: &mut D, own: Cgroup) -> Result<(), ReconcileError> {
    let found = datapath.dump().map_err(|it| ReconcileError::Dump(it.into()))?;
    let Some(mut settings) = found.settings.filter(|_| !found.by_cgroup.contains_key(&own.id))
    else {
        return Ok(());
    };
    let known = found.by_cgroup.values().chain(found.by_ifindex.values());
    let highest = known.map(|value| value.id.raw()).max().unwrap_or_default();
    let value = Workload {
        id: WorkloadId::new(highest + 1),
        policy: PolicyId::INTERNAL,
        mode: mode::REGISTRY_ONLY,
        flags: workload_flag::EXEMPT,
        address_count: 0,
        reserved: 0,
        default_target: 0,
        sidecar_cgroup: 0,
        netns_cookie: 0,
        addresses: [Address::default(); WORKLOAD_ADDRESSES],
    };
    let mut operations = vec![MapOp::SetWorkloadByCgroup(own.id, value)];
    if !settings.cgroup_depths.contains(&own.depth)
        && let Some(slot) = settings.cgroup_depths.iter_mut().find(|depth| **depth == 0)
    {
        *slot = own.depth;
        operations.push(MapOp::SetSettings(settings));
    }
    datapath.apply(&operations).map_err(|it| ReconcileError::Apply(it.into()))
}

impl<D: Datapath> Reconcile<D> {
    /// Enforces the pods of the roster too; all of them are below `root`.
    #[must_use]
    pub fn with_pods(mut self, root: Root, roster: watch::Receiver<Arc<Roster>>) -> Self {
        self.pods_root = Some(root);
        self.roster = Some(roster);
        self
    }

    pub(super) fn handle_roster(&mut self) {
        let Some(roster) = &mut self.roster else { return };
        let roster = Arc::clone(&roster.borrow_and_update());
        let gone = self.places.take_roster(roster);
        self.move_pods_or_retry();
        // After the tables: what is still there is denied by now.
        self.parts.datapath.detach(&gone);
    }

    pub(super) fn handle_wired(&mut self, (attachment, result): Wired<D::Error>) {
        self.parts.datapath.conclude(&attachment, result.is_ok());
        if self.places.take_wire(attachment.clone(), result) {
            self.move_pods_or_retry();
        } else {
            // The pod has gone meanwhile.
            self.parts.datapath.detach(&[attachment]);
        }
    }

    /// Attaches to the next veth of a pod, on a thread of its own. A pod is enforced meanwhile, as
    /// far as its sockets go.
    pub(super) fn wire_next(&mut self) {
        if self.wiring.is_some() {
            return;
        }
        let Some(attachment) = self.places.next_wire() else { return };
        let attach = self.parts.datapath.prepare(&attachment);
        self.wiring = Some(tokio::task::spawn_blocking(move || (attachment, attach())));
    }

    /// Brings the pods to where they are now. All else stays as it is, unless something failed before.
    fn move_pods_or_retry(&mut self) {
        if self.retry.is_some() || self.move_pods().is_err() {
            self.sync_or_retry();
        }
    }

    fn move_pods(&mut self) -> Result<(), ReconcileError> {
        let change = self.compile_places();
        // They need nothing, but are known from now on.
        drop(self.newcomers());
        let changes = self.write_tables(change)?;
        tracing::debug!(changes, "pods moved");
        self.publish(Arc::clone(&self.source), None);
        Ok(())
    }

    /// Takes out what stayed behind of pods that are gone, and tries again to attach where it failed.
    pub(super) fn settle(&mut self) {
        self.places.forgive();
        if let Some(image) = self.compiler.image() {
            self.preseed.forget_gone(image);
        }
        if let Some(change) = self.compiler.settle()
            && let Err(error) = self.write_tables(change)
        {
            tracing::warn!(%error, "take out what stayed behind of pods");
            self.sync_or_retry();
        }
    }
}

/// Waits for a change of the roster; for ever where there are no pods.
pub(super) async fn changed(
    roster: &mut Option<watch::Receiver<Arc<Roster>>>,
) -> Result<(), watch::error::RecvError> {
    match roster {
        Some(roster) => roster.changed().await,
        None => std::future::pending().await,
    }
}

/// Waits until a veth is attached to; for ever if none is being.
pub(super) async fn wired<E>(wiring: &mut Option<JoinHandle<Wired<E>>>) -> Wired<E> {
    loop {
        match wiring {
            Some(work) => {
                let result = work.await;
                *wiring = None;
                match result {
                    Ok(wired) => return wired,
                    // It is tried again.
                    Err(error) => tracing::error!(%error, "attach to the veth of a pod"),
                }
            }
            None => std::future::pending().await,
        }
    }
}

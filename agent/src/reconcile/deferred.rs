//! Answers that the kernel could not read, and holds back: the agent asks the same question itself,
//! learns what it is told, and has the kernel let the answer through when it is repeated.

use std::collections::{BTreeMap, BTreeSet};

use exeat_common::{
    abi::QueryKey,
    id::{SubjectId, WorkloadId},
};
use tokio::sync::mpsc;

use super::Reconcile;
use crate::{
    datapath::{Datapath, Deferred},
    policy::image::WireName,
    preseed::{
        Question, Told,
        desk::{Asker, Reply},
        names::Giver,
    },
};

/// Answers that may wait for reconcile, and names that may be asked for at a time.
pub const QUEUE: usize = 1024;

/// What is deferred, and whom it is asked of.
#[derive(Debug)]
pub struct Deferrals {
    pub events: mpsc::Receiver<Deferred>,
    pub asker: Asker,
}

/// The answers that are held back.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    from: Option<Deferrals>,
    questions: BTreeMap<Name, BTreeSet<QueryKey>>,
}

/// A name that one workload asked for.
type Name = (WorkloadId, SubjectId, WireName);

/// What can happen to them.
#[derive(Debug)]
pub(super) enum Late {
    Deferred(Deferred),
    Reply(Reply),
}

impl Waiting {
    pub(super) fn new(from: Deferrals) -> Self {
        Self { from: Some(from), questions: BTreeMap::new() }
    }

    /// What happens next; waits for ever if nothing can.
    pub(super) async fn next(&mut self) -> Late {
        if let Some(Deferrals { events, asker }) = &mut self.from {
            tokio::select! {
                Some(deferred) = events.recv() => return Late::Deferred(deferred),
                Some(reply) = asker.reply(), if asker.is_open() => return Late::Reply(reply),
                else => {}
            }
        }
        self.from = None;
        std::future::pending().await
    }

    /// Asks, unless the name is asked for already.
    fn add(&mut self, deferred: Deferred) {
        let Some(Deferrals { asker, .. }) = &self.from else { return };
        let Deferred { question: key, pattern, name } = deferred;
        let name = WireName(name);
        let of = (key.workload, pattern, name.clone());
        if let Some(keys) = self.questions.get_mut(&of) {
            keys.insert(key);
            return;
        }
        let question = Question { name, pattern, workloads: [key.workload].into() };
        if self.questions.len() < QUEUE && asker.ask(vec![question]) {
            self.questions.insert(of, BTreeSet::from([key]));
        } else {
            // The answer stays held back; its repetition is another try.
            tracing::warn!("too many answers that the kernel cannot read");
        }
    }

    /// The questions about a name, which are not waited for any more.
    fn answered(&mut self, told: &Told) -> BTreeSet<QueryKey> {
        let Question { name, pattern, workloads } = &told.question;
        let of = |workload: &WorkloadId| (*workload, *pattern, name.clone());
        let keys = workloads.iter().filter_map(|workload| self.questions.remove(&of(workload)));
        keys.flatten().collect()
    }
}

impl<D: Datapath> Reconcile<D> {
    /// Takes on the answers that the kernel cannot read.
    #[must_use]
    pub fn with_deferred(mut self, from: Deferrals) -> Self {
        self.waiting = Waiting::new(from);
        self
    }

    pub(super) fn handle_late(&mut self, late: Late) {
        match late {
            Late::Deferred(deferred) => self.waiting.add(deferred),
            Late::Reply(Reply::Told(told)) => self.learn_late(&told),
            Late::Reply(Reply::Pass { is_over, .. }) => {
                if is_over {
                    // What has no address by now is given up.
                    self.waiting.questions.clear();
                }
            }
        }
    }

    /// The facts come first: an answer that passes may be used at once.
    fn learn_late(&mut self, told: &Told) {
        let keys = self.waiting.answered(told);
        let Some(image) = self.compiler.image() else { return };
        let present = told.question.workloads.iter().copied().collect();
        let facts = Giver::default().facts(told, image, &present);
        let datapath = &mut self.parts.datapath;
        let released = datapath.learn(&facts).and_then(|noted| {
            keys.iter().try_for_each(|key| datapath.release(key)).map(|()| noted)
        });
        match released {
            Ok(noted) => {
                tracing::debug!(facts = noted.written, refused = noted.refused, "learned late");
            }
            Err(error) => tracing::warn!(%error, "learn an answer that the kernel cannot read"),
        }
    }
}

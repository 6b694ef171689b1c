//! Workloads at their first enforcement: who they are, and what they are given. See
//! [`crate::preseed`] for why.

use std::{collections::BTreeSet, time::Duration};

use exeat_common::{
    abi::{Fact, FactValue, Workload, workload_flag},
    dns::learn::place,
    id::WorkloadId,
};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Reconcile, places::Places};
use crate::{
    datapath::{Attachment, Datapath, Noted},
    metrics::Preseeded,
    policy::{image::Image, image_tables::Facts},
    preseed::{
        NewFact, Told,
        desk::{Asker, Reply},
        flows::adopt,
        names::{Giver, Questions, questions},
    },
    workloads::{PlacedWorkload, place::Node, sockets::Sockets},
};

/// How long the start of the agent waits for names. Enforcement matters more.
const WAIT: Duration = Duration::from_secs(2);

/// What is known of first enforcements.
#[derive(Debug)]
pub(super) struct Preseed {
    asker: Asker,
    counts: Preseeded,
    giver: Giver,
    /// Workloads that need nothing any more.
    held: BTreeSet<WorkloadId>,
    /// Workloads whose names were asked.
    asked: BTreeSet<WorkloadId>,
}

/// What became of the open connections of one newcomer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Adopted {
    written: u64,
    /// Denied from now on.
    left: u64,
}

/// A workload that is about to be enforced for the first time.
#[derive(Clone, Debug)]
pub(super) struct Newcomer {
    placed: PlacedWorkload,
    value: Workload,
}

impl Preseed {
    pub(super) fn new(asker: Asker, counts: Preseeded) -> Self {
        Self {
            asker,
            counts,
            giver: Giver::default(),
            held: BTreeSet::new(),
            asked: BTreeSet::new(),
        }
    }

    /// Notes whom an earlier agent held: whoever is in its tables, unless programs are missing
    /// where it should have been seen. Then that agent ended before it came to attach them.
    pub(super) fn found<D: Datapath>(&mut self, image: &Image, places: &Places, datapath: &D) {
        let is_held = |placed: &PlacedWorkload| {
            let wire = placed.workload.interface.as_ref().zip(placed.ifindex);
            wire.is_none_or(|(interface, ifindex)| {
                datapath.holds(&Attachment::Wire { interface: interface.clone(), ifindex })
            })
        };
        let workloads = places.workloads();
        let held = workloads.iter().filter(|placed| is_held(placed));
        self.held = held.filter_map(|placed| value(placed, image)).map(|it| it.id).collect();
    }

    /// Those that these tables will enforce for the first time.
    pub(super) fn newcomers(&self, image: &Image, places: &Places) -> Vec<Newcomer> {
        let newcomer = |placed: PlacedWorkload| {
            let value = value(&placed, image)?;
            let is_judged = value.flags & workload_flag::EXEMPT == 0;
            (is_judged && !self.held.contains(&value.id)).then_some(Newcomer { placed, value })
        };
        places.workloads().into_iter().filter_map(newcomer).collect()
    }

    /// Notes workloads that need nothing: they never ran without being enforced.
    fn welcome(&mut self, newcomers: &[Newcomer]) {
        self.held.extend(newcomers.iter().map(|newcomer| newcomer.value.id));
    }

    /// Forgets who is not in the tables any more.
    pub(super) fn forget_gone(&mut self, image: &Image) {
        let present = image.by_cgroup.values().chain(image.by_ifindex.values());
        let present: BTreeSet<WorkloadId> = present.map(|value| value.id).collect();
        self.held.retain(|id| present.contains(id));
        self.asked.retain(|id| present.contains(id));
        self.giver.forget_gone(&present);
    }

    /// Asks for the names that newcomers are granted.
    pub(super) fn ask(&mut self, image: &Image, newcomers: &[Newcomer]) -> bool {
        let asked = &self.asked;
        let new = newcomers.iter().map(|it| &it.value).filter(|it| !asked.contains(&it.id));
        let workloads: Vec<_> = new.map(|it| (it.id, it.policy)).collect();
        self.asked.extend(workloads.iter().map(|(id, _)| *id));
        let Questions { all, left_out } = questions(image, &workloads);
        if left_out > 0 {
            tracing::warn!(
                left_out,
                "more names are declared than are resolved ahead: workloads that ran before learn the others when they ask"
            );
        }
        let names = all.len();
        if names == 0 {
            return false;
        }
        let is_asked = self.asker.ask(all);
        if is_asked {
            self.counts.set_unresolved(names as u64);
        } else {
            tracing::warn!(names, "nobody resolves names ahead");
        }
        is_asked
    }

    /// Collects what is found until everything was tried once, but not for long.
    pub(super) async fn wait(&mut self, stop: &CancellationToken) -> Vec<Told> {
        let end = Instant::now() + WAIT;
        let mut all = Vec::new();
        loop {
            let reply = timeout_at(end, stop.run_until_cancelled(self.asker.reply())).await;
            match reply {
                Ok(Some(Some(Reply::Told(told)))) => all.push(told),
                Ok(Some(Some(Reply::Pass { unresolved, is_over }))) => {
                    self.passed(unresolved, is_over);
                    return all;
                }
                Ok(None | Some(None)) => return all,
                Err(_) => {
                    tracing::warn!(
                        seconds = WAIT.as_secs(),
                        "the resolvers are slow or silent: enforcement begins without some names, which are resolved meanwhile"
                    );
                    return all;
                }
            }
        }
    }

    /// The next reply; waits for ever if there will be none.
    pub(super) async fn reply(&mut self) -> Reply {
        loop {
            if !self.asker.is_open() {
                std::future::pending::<()>().await;
            }
            if let Some(reply) = self.asker.reply().await {
                return reply;
            }
        }
    }

    /// A pass over all names has ended.
    pub(super) fn passed(&self, unresolved: usize, is_over: bool) {
        self.counts.set_unresolved(if is_over { 0 } else { unresolved as u64 });
        if unresolved > 0 && is_over {
            tracing::warn!(unresolved, "names were not resolved ahead: given up");
        } else if unresolved > 0 {
            tracing::info!(unresolved, "names are not resolved ahead yet: tried again");
        }
    }

    /// Notes the addresses of names, for workloads that are still there.
    pub(super) fn learn<D: Datapath>(
        &mut self,
        told: &[Told],
        image: &Image,
        datapath: &mut D,
    ) -> Result<Vec<NewFact>, D::Error> {
        let present = image.by_cgroup.values().chain(image.by_ifindex.values());
        let present: BTreeSet<WorkloadId> = present.map(|value| value.id).collect();
        let facts: Vec<NewFact> =
            told.iter().flat_map(|told| self.giver.facts(told, image, &present)).collect();
        let noted = datapath.learn(&facts)?;
        self.counts.add_names(noted.written);
        if noted.refused > 0 {
            tracing::warn!(refused = noted.refused, "no room for addresses of names");
        }
        Ok(facts)
    }

    /// Adopts the open connections of newcomers. Where it fails they end, and enforcement begins.
    fn adopt<D: Datapath>(
        &self,
        newcomers: &[Newcomer],
        facts: &[NewFact],
        (image, node): (&Image, &dyn Node),
        datapath: &mut D,
    ) -> Vec<Adopted> {
        let adopt_one = |newcomer: &Newcomer| {
            // Without a cgroup nobody knows its processes.
            let Some(cgroup) = &newcomer.placed.workload.cgroup else {
                return Adopted::default();
            };
            let key = &newcomer.placed.workload.key;
            let sockets = node.sockets(cgroup).unwrap_or_else(|error| {
                tracing::warn!(workload = %key, %error, "its sockets cannot be read: no open connection is adopted");
                Sockets::default()
            });
            let known = facts_of(newcomer.value.id, facts);
            let adoption = adopt(&newcomer.value, &sockets, image, &known);
            let noted = datapath.adopt(&adoption.flows).unwrap_or_else(|error| {
                tracing::warn!(workload = %key, %error, "open connections are not adopted");
                Noted { refused: adoption.flows.len() as u64, ..Noted::default() }
            });
            self.counts.add_flows(noted.written);
            Adopted { written: noted.written, left: adoption.left as u64 + noted.refused }
        };
        newcomers.iter().map(adopt_one).collect()
    }
}

impl<D: Datapath> Reconcile<D> {
    /// Those whom the tables that were compiled last enforce for the first time. Pods that came
    /// while the agent ran were denied until then: they have neither names nor connections.
    pub(super) fn newcomers(&mut self) -> Vec<Newcomer> {
        let Some(image) = self.compiler.image() else {
            return Vec::new();
        };
        let newcomers = self.preseed.newcomers(image, &self.places);
        if !self.is_started {
            return newcomers;
        }
        let pods = self.places.pod_keys();
        let is_pod = |it: &Newcomer| pods.contains(&it.placed.workload.key);
        let (young, others): (Vec<_>, Vec<_>) = newcomers.into_iter().partition(is_pod);
        self.preseed.welcome(&young);
        others
    }

    /// Asks for the names of newcomers; says whether there is an answer to wait for.
    pub(super) fn ask(&mut self, newcomers: &[Newcomer]) -> bool {
        if self.parts.config.dns.resolvers.is_empty() {
            return false;
        }
        self.compiler.image().is_some_and(|image| self.preseed.ask(image, newcomers))
    }

    /// Notes what was found. Where it fails the names have to be asked again by the workloads.
    pub(super) fn learn(&mut self, told: &[Told]) -> Vec<NewFact> {
        let Some(image) = self.compiler.image().filter(|_| !told.is_empty()) else {
            return Vec::new();
        };
        match self.preseed.learn(told, image, &mut self.parts.datapath) {
            Ok(facts) => {
                tracing::debug!(names = told.len(), facts = facts.len(), "learned ahead");
                facts
            }
            Err(error) => {
                tracing::warn!(%error, "note addresses of names");
                Vec::new()
            }
        }
    }

    /// Attaches. Sockets are read before and after: what opens in between is in one of the two, and
    /// what opens after was judged.
    /// Says whether a veth of a pod was refused.
    pub(super) fn attach(&mut self, newcomers: &[Newcomer], facts: &[NewFact]) -> bool {
        let before = self.adopt(newcomers, facts);
        let is_refused = self.places.attach(&mut self.parts.datapath);
        let after = self.adopt(newcomers, facts);
        let adopted = before.into_iter().zip(after);
        for (newcomer, (before, after)) in newcomers.iter().zip(adopted) {
            if !newcomer.is_held(&self.places) {
                continue;
            }
            self.preseed.held.insert(newcomer.value.id);
            tracing::info!(
                workload = %newcomer.placed.workload.key,
                names = facts.iter().filter(|it| it.key.workload == newcomer.value.id).count(),
                connections = before.written + after.written,
                denied = after.left,
                "enforced for the first time: addresses of its names, and connections that stay"
            );
        }
        is_refused
    }

    fn adopt(&mut self, newcomers: &[Newcomer], facts: &[NewFact]) -> Vec<Adopted> {
        let Some(image) = self.compiler.image().filter(|_| !newcomers.is_empty()) else {
            return Vec::new();
        };
        let (node, datapath) = (self.parts.node.as_ref(), &mut self.parts.datapath);
        self.preseed.adopt(newcomers, facts, (image, node), datapath)
    }
}

impl Newcomer {
    /// Whether every packet of it is seen now, as far as that is wanted. Until then it is new.
    fn is_held(&self, places: &Places) -> bool {
        let is_there = |wanted: &str| {
            places.attachments().any(|it| match &it.attachment {
                Attachment::Wire { interface, .. } => interface == wanted && it.result.is_ok(),
                Attachment::Socket { .. } => false,
            })
        };
        self.placed.workload.interface.as_deref().is_none_or(is_there)
    }
}

/// Its entry in the tables.
fn value(placed: &PlacedWorkload, image: &Image) -> Option<Workload> {
    let by_cgroup = placed.cgroup_id.and_then(|id| image.by_cgroup.get(&id));
    let by_ifindex = || placed.ifindex.and_then(|index| image.by_ifindex.get(&index));
    by_cgroup.or_else(by_ifindex).copied()
}

/// What one workload is given, without times.
fn facts_of(workload: WorkloadId, facts: &[NewFact]) -> Facts {
    let mut known = Facts::new();
    for fact in facts.iter().filter(|fact| fact.key.workload == workload) {
        let value = known.entry(fact.key).or_insert(FactValue { slots: [0; _] });
        // What finds no room is judged without.
        let _full = place(value, Fact { pattern: fact.pattern, expiry: u32::MAX }, 1);
    }
    known
}

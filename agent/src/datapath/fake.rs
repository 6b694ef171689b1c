//! The kernel side in memory, for tests: keeps tables and attachments, judges with the same
//! `decide`, and fails where a test wants it to.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use exeat_common::{
    abi::{CounterKey, CounterValue, Fact, FactValue, FlowKey, QueryKey, WildcardValue, Workload},
    decide::{Decision, decide},
    dns::learn::{Placed, place},
    flow::Flow,
    id::{SubjectId, WorkloadId},
    limits::{WORKLOADS_ENTRIES, map},
};
use tokio::sync::mpsc;

use super::{
    Attached, Attaching, Attachment, Collected, Datapath, Event, EventSource, MapUsage, Noted,
    ProgramUsage, Takeover,
};
use crate::{
    policy::{
        image::{Image, MapOp},
        image_tables::{Facts, ImageTables},
    },
    preseed::{NewFact, NewFlow},
};

/// What the kernel would keep: survives the agent.
#[derive(Debug, Default)]
pub struct Kernel {
    pub image: Image,
    /// Noted at second 0.
    pub facts: Facts,
    pub flows: BTreeMap<FlowKey, NewFlow>,
    /// Questions whose answers are let through.
    pub released: BTreeSet<QueryKey>,
    /// What was attached when the first fact and the first flow were noted.
    pub attached_at_first_note: Option<usize>,
    pub attached: BTreeSet<Attachment>,
    pub counters: BTreeMap<CounterKey, CounterValue>,
    /// Subjects that facts and flows are said to name.
    pub subjects: BTreeSet<SubjectId>,
    /// Every operation that was applied, in order.
    pub history: Vec<MapOp>,
    pub dumps: usize,
    pub fail: Failures,
}

impl Kernel {
    fn attach_one(&mut self, wanted: &Attachment) -> Result<Takeover, Injected> {
        if self.fail.attach.contains(wanted) {
            Err(Injected("attach"))
        } else if self.attached.insert(wanted.clone()) {
            Ok(Takeover::Fresh)
        } else {
            Ok(Takeover::Kept)
        }
    }

    fn note(&mut self) {
        self.attached_at_first_note.get_or_insert(self.attached.len());
    }
}

/// Operations that fail, until a test clears them.
#[derive(Debug, Default)]
pub struct Failures {
    pub dump: bool,
    /// The operation with this index fails, and those before it are carried out.
    pub apply_at: Option<usize>,
    pub attach: BTreeSet<Attachment>,
    pub counters: bool,
}

/// What failed because a test wanted it to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the test lets {0} fail")]
pub struct Injected(pub &'static str);

/// A kernel that tests and any number of agents, one after the other, hold on to.
#[derive(Clone, Debug, Default)]
pub struct FakeKernel(
    // Held for one operation or one look.
    Arc<Mutex<Kernel>>,
);

impl FakeKernel {
    pub fn look(&self) -> MutexGuard<'_, Kernel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A datapath for a new agent on this kernel.
    pub fn datapath(&self) -> FakeDatapath {
        FakeDatapath { kernel: self.clone() }
    }

    /// Judges a flow of the workload behind a host-side interface.
    pub fn judge(&self, ifindex: u32, to: IpAddr, port: u16, protocol: u8) -> Decision {
        let kernel = self.look();
        let workload: Option<&Workload> = kernel.image.by_ifindex.get(&ifindex);
        let tables = ImageTables { image: &kernel.image, facts: &kernel.facts, now: 0 };
        decide(&Flow { workload, destination: to.into(), port, protocol }, &tables)
    }
}

/// The datapath over a [`FakeKernel`].
#[derive(Debug)]
pub struct FakeDatapath {
    kernel: FakeKernel,
}

impl FakeDatapath {
    /// A new kernel with its datapath, and the source of its events: it ends with the sender.
    pub fn new() -> (Self, FakeKernel, FakeEvents) {
        let kernel = FakeKernel::default();
        let (sender, receiver) = mpsc::channel(1024);
        let events = FakeEvents { sender, receiver };
        (kernel.datapath(), kernel, events)
    }
}

impl Datapath for FakeDatapath {
    type Error = Injected;

    fn dump(&mut self) -> Result<Image, Injected> {
        let mut kernel = self.kernel.look();
        kernel.dumps += 1;
        if kernel.fail.dump {
            return Err(Injected("dump"));
        }
        Ok(kernel.image.clone())
    }

    fn apply(&mut self, operations: &[MapOp]) -> Result<(), Injected> {
        let mut kernel = self.kernel.look();
        for (index, operation) in operations.iter().enumerate() {
            if kernel.fail.apply_at == Some(index) {
                return Err(Injected("apply"));
            }
            kernel.image.apply(std::slice::from_ref(operation));
            kernel.history.push(operation.clone());
        }
        Ok(())
    }

    fn attach(&mut self, wanted: &[Attachment]) -> Vec<Attached<Injected>> {
        let kept: BTreeSet<Attachment> = wanted.iter().cloned().collect();
        self.kernel.look().attached.retain(|attachment| kept.contains(attachment));
        let mut kernel = self.kernel.look();
        let mut attach = |attachment: &Attachment| Attached {
            attachment: attachment.clone(),
            result: kernel.attach_one(attachment),
        };
        wanted.iter().map(&mut attach).collect()
    }

    fn prepare(&mut self, wanted: &Attachment) -> Attaching<Injected> {
        let (kernel, wanted) = (self.kernel.clone(), wanted.clone());
        Box::new(move || kernel.look().attach_one(&wanted))
    }

    fn conclude(&mut self, _: &Attachment, _: bool) {}

    fn detach(&mut self, unwanted: &[Attachment]) {
        self.kernel.look().attached.retain(|attachment| !unwanted.contains(attachment));
    }

    fn holds(&self, attachment: &Attachment) -> bool {
        self.kernel.look().attached.contains(attachment)
    }

    fn learn(&mut self, facts: &[NewFact]) -> Result<Noted, Injected> {
        let mut kernel = self.kernel.look();
        let mut noted = Noted::default();
        for fact in facts {
            kernel.note();
            let entry = kernel.facts.entry(fact.key).or_insert(FactValue { slots: [0; _] });
            let fact = Fact { pattern: fact.pattern, expiry: fact.hold_seconds };
            match place(entry, fact, 1) {
                Placed::Changed => noted.written += 1,
                Placed::Known => {}
                Placed::Full => noted.refused += 1,
            }
        }
        Ok(noted)
    }

    fn release(&mut self, question: &QueryKey) -> Result<(), Injected> {
        self.kernel.look().released.insert(*question);
        Ok(())
    }

    fn adopt(&mut self, flows: &[NewFlow]) -> Result<Noted, Injected> {
        let mut kernel = self.kernel.look();
        let before = kernel.flows.len();
        for flow in flows {
            kernel.note();
            kernel.flows.entry(flow.key).or_insert(*flow);
        }
        Ok(Noted { written: (kernel.flows.len() - before) as u64, refused: 0 })
    }

    fn counters(&mut self) -> Result<Vec<(CounterKey, CounterValue)>, Injected> {
        let kernel = self.kernel.look();
        if kernel.fail.counters {
            return Err(Injected("counters"));
        }
        Ok(kernel.counters.iter().map(|(key, value)| (*key, *value)).collect())
    }

    fn wildcards(&mut self) -> Result<Vec<(WorkloadId, WildcardValue)>, Injected> {
        Ok(Vec::new())
    }

    fn collect_garbage(&mut self) -> Result<Collected, Injected> {
        let kernel = self.kernel.look();
        let facts_live = kernel.facts.len() as u64;
        Ok(Collected { subjects: kernel.subjects.clone(), facts_live, ..Collected::default() })
    }

    fn usage(&mut self) -> Result<Vec<MapUsage>, Injected> {
        let entries = self.kernel.look().image.by_cgroup.len() as u64;
        let capacity = WORKLOADS_ENTRIES as u64;
        Ok(vec![MapUsage { map: map::WORKLOADS_BY_CGROUP, entries, capacity }])
    }

    fn programs(&mut self) -> Result<Vec<ProgramUsage>, Injected> {
        Ok(Vec::new())
    }
}

/// Events that a test sends.
#[derive(Debug)]
pub struct FakeEvents {
    sender: mpsc::Sender<Event>,
    receiver: mpsc::Receiver<Event>,
}

impl FakeEvents {
    pub fn sender(&self) -> mpsc::Sender<Event> {
        self.sender.clone()
    }
}

impl EventSource for FakeEvents {
    type Error = Injected;

    async fn next(&mut self) -> Result<Event, Injected> {
        self.receiver.recv().await.ok_or(Injected("events"))
    }
}

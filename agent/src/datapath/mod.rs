//! What the agent asks of the kernel side. Only `app` and `reconcile` name it.

pub mod aya;
#[cfg(any(test, feature = "testing"))]
pub mod fake;
mod filter;
pub mod pins;
mod pod;
mod probe;
mod syscall;

pub(crate) use syscall::{ask_bpf, netns_cookie, wait_readable};

use std::{collections::BTreeSet, fmt, future::Future, path::PathBuf, time::Duration};

use exeat_common::{
    abi::{AnswerHeader, CounterKey, CounterValue, FlowEvent, QueryKey, WildcardValue},
    id::{SubjectId, WorkloadId},
};

use crate::{
    policy::image::{Image, MapOp},
    preseed::{NewFact, NewFlow},
};

/// The kernel side, or a stand-in that runs the same decision in memory.
pub trait Datapath: Send {
    type Error: std::error::Error + Send + Sync + 'static;

    /// The tables as they are, for a new agent to start from.
    fn dump(&mut self) -> Result<Image, Self::Error>;

    /// Applies the operations in order and stops at the first that fails. Raises the generation
    /// once at the end, so that established flows are judged again.
    fn apply(&mut self, operations: &[MapOp]) -> Result<(), Self::Error>;

    /// Makes the attachments exactly these: takes over pinned links, attaches what is missing,
    /// detaches what is no longer wanted. One failure does not stop the others.
    fn attach(&mut self, wanted: &[Attachment]) -> Vec<Attached<Self::Error>>;

    /// Attaching at one more place, as work for another thread: the kernel may take its time over
    /// it. Whoever asks says by [`Self::conclude`] what came of it; meanwhile nothing touches the
    /// place. What is attached elsewhere stays.
    fn prepare(&mut self, wanted: &Attachment) -> Attaching<Self::Error>;

    /// Takes note of what came of attaching there.
    fn conclude(&mut self, wanted: &Attachment, is_attached: bool);

    /// Lets go of places. What is gone by itself is no error.
    fn detach(&mut self, unwanted: &[Attachment]);

    /// Whether programs of an earlier agent are at work there. Where that cannot be told (below
    /// Linux 6.6 at the wire), yes.
    fn holds(&self, attachment: &Attachment) -> bool;

    /// Notes facts as answers would have: within the workload's share, beside what is there.
    fn learn(&mut self, facts: &[NewFact]) -> Result<Noted, Self::Error>;

    /// Lets the next answer to this question through, whatever is in it: what it says is known.
    fn release(&mut self, question: &QueryKey) -> Result<(), Self::Error>;

    /// Remembers flows that began before they were judged. One that is known stays as it is.
    fn adopt(&mut self, flows: &[NewFlow]) -> Result<Noted, Self::Error>;

    /// Per-CPU counters summed.
    fn counters(&mut self) -> Result<Vec<(CounterKey, CounterValue)>, Self::Error>;

    /// What the questions of each workload below wildcards carried.
    fn wildcards(&mut self) -> Result<Vec<(WorkloadId, WildcardValue)>, Self::Error>;

    /// Removes expired facts and idle flows, and corrects the quotas.
    fn collect_garbage(&mut self) -> Result<Collected, Self::Error>;

    /// Fill of every table.
    fn usage(&mut self) -> Result<Vec<MapUsage>, Self::Error>;

    /// The loaded programs with what the kernel measured.
    fn programs(&mut self) -> Result<Vec<ProgramUsage>, Self::Error>;
}

/// Attaches at one place.
pub type Attaching<E> = Box<dyn FnOnce() -> Result<Takeover, E> + Send>;

/// What the kernel reports, in the order of the ring buffer.
pub trait EventSource: Send + 'static {
    type Error: std::error::Error + Send + Sync + 'static;

    /// Waits for the next event. An error ends the agent.
    fn next(&mut self) -> impl Future<Output = Result<Event, Self::Error>> + Send;
}

/// One event of the ring buffer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A DNS answer that the kernel passed on.
    Answer { header: AnswerHeader, message: Vec<u8> },
    /// A verdict worth reporting.
    Flow(FlowEvent),
    /// A DNS question that was refused.
    Query(Query),
    /// A DNS question whose answer the kernel could not read, and holds back.
    Deferred(Deferred),
}

/// A DNS question whose answer the kernel could not read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Deferred {
    /// Under what the kernel remembers it.
    pub question: QueryKey,
    /// Pattern that its addresses belong to.
    pub pattern: SubjectId,
    /// Lower-case wire name, with length bytes and the root byte.
    pub name: Vec<u8>,
}

/// A DNS question that was refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Query {
    pub workload: WorkloadId,
    /// Nanoseconds of the monotonic clock.
    pub time: u64,
    pub query_type: u16,
    pub verdict: u8,
    pub reason: u8,
    /// Lower-case wire name, with length bytes and the root byte.
    pub name: Vec<u8>,
}

/// A place where enforcement hooks in.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Attachment {
    /// The four socket programs on a cgroup directory.
    Socket { cgroup: PathBuf },
    /// Both wire programs on the host side of a veth.
    Wire { interface: String, ifindex: u32 },
}

impl fmt::Display for Attachment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket { cgroup } => write!(formatter, "cgroup {}", cgroup.display()),
            Self::Wire { interface, .. } => write!(formatter, "interface {interface}"),
        }
    }
}

/// The outcome for one attachment.
#[derive(Debug)]
pub struct Attached<E> {
    pub attachment: Attachment,
    pub result: Result<Takeover, E>,
}

/// How an attachment came to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Takeover {
    /// It was attached now.
    Fresh,
    /// A pinned link of an earlier agent was given the new program.
    Updated,
    /// It already was as wanted.
    Kept,
}

/// What garbage collection found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Collected {
    /// Whatever live facts and flows name. Their numbers must not be given to something else.
    pub subjects: BTreeSet<SubjectId>,
    pub facts_live: u64,
    pub facts_removed: u64,
    pub flows_live: u64,
    pub flows_removed: u64,
}

/// What became of entries that were to be noted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Noted {
    /// New ones, and those that hold longer now.
    pub written: u64,
    /// For want of room in the table or the workload's share.
    pub refused: u64,
}

/// Fill of one table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MapUsage {
    pub map: &'static str,
    pub entries: u64,
    pub capacity: u64,
}

/// One loaded program.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProgramUsage {
    pub program: &'static str,
    pub id: u32,
    pub verified_instructions: Option<u32>,
    /// Needs `kernel.bpf_stats_enabled`; zero otherwise.
    pub runs: u64,
    pub run_time: Duration,
}

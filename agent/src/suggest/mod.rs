//! From what was denied to the entries that would allow it: a draft for people, who decide.
//!
//! Destinations come from workloads, and a hostile one asks for what it likes. So a draft opens
//! exactly what was tried, for the namespace that tried it, and says who did.

pub mod entry;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use exeat_common::reason::{Reason, Verdict};
use serde::Serialize;

use self::entry::ServiceEntry;
use crate::{
    flows::FlowRecord,
    registry::host::{HostPattern, InvalidHost},
};

/// What to declare, and what no entry would change.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Suggestions {
    pub entries: Vec<Draft>,
    pub ports: Vec<MissingPort>,
    pub others: Vec<Other>,
}

/// An entry that nobody has written yet.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Draft {
    pub object: ServiceEntry,
    /// Who tried, as namespace/name.
    pub workloads: BTreeSet<String>,
    pub count: u64,
    /// The name was refused before a connection was tried, so that no port is known.
    pub port_is_a_guess: bool,
}

/// A port that an entry does not declare for a destination of its own. A second entry for the same host
/// could hide the first one from this namespace, so the port belongs into that one.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct MissingPort {
    /// Kind, namespace and name of the object.
    pub entry: String,
    pub destination: String,
    pub port: u16,
    pub protocol: String,
    pub workloads: BTreeSet<String>,
    pub count: u64,
}

/// Denials that are about something else than what is declared.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Other {
    pub reason: String,
    pub sentence: String,
    pub count: u64,
}

/// Where a workload wanted to go.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Destination {
    Name(HostPattern),
    Address(IpAddr),
}

/// What is known of one destination of one namespace.
#[derive(Debug, Default)]
struct Wish {
    ports: BTreeSet<(u16, String)>,
    tries: Tries,
}

#[derive(Debug, Default)]
struct Tries {
    workloads: BTreeSet<String>,
    count: u64,
}

impl Tries {
    fn add(&mut self, workload: String, count: u64) {
        self.workloads.insert(workload);
        self.count += count;
    }
}

/// Reads flow records and collects what they ask for.
#[derive(Debug, Default)]
pub struct Collector {
    wishes: BTreeMap<(String, Destination), Wish>,
    ports: BTreeMap<(String, String, u16, String), Tries>,
    others: BTreeMap<Reason, u64>,
}

impl Collector {
    pub fn add(&mut self, record: &FlowRecord) {
        let is_denied = record.verdict == Verdict::Deny.as_str();
        if !is_denied && !record.would_deny {
            return;
        }
        let Some(reason) = Reason::ALL.iter().find(|it| it.as_str() == record.reason) else {
            return;
        };
        if self.wish(*reason, record).is_none() {
            *self.others.entry(*reason).or_default() += record.count;
        }
    }

    /// Notes what an entry could change; none if that is nothing.
    fn wish(&mut self, reason: Reason, record: &FlowRecord) -> Option<()> {
        let workload = record.workload.as_ref()?;
        let who = format!("{}/{}", workload.namespace, workload.name);
        let to = &record.destination;
        let destination = match (&to.name, to.ip) {
            (Some(name), _) => Destination::Name(host(name).ok()?),
            (None, Some(address)) => Destination::Address(address.to_canonical()),
            (None, None) => return None,
        };
        // A DNS question has no address, and the port is that of the resolver.
        let port = to.ip.and(to.protocol.clone()).map(|protocol| (to.port, protocol));
        if port.as_ref().is_some_and(|(_, protocol)| !matches!(&**protocol, "tcp" | "udp")) {
            return None;
        }
        match (reason, &record.entry, port) {
            (Reason::PortNotDeclared, Some(entry), Some((port, protocol))) => {
                let key = (entry.clone(), destination.to_string(), port, protocol);
                self.ports.entry(key).or_default().add(who, record.count);
            }
            (Reason::NotRegistered | Reason::NameNotGranted | Reason::AllowAny, _, port) => {
                let wish =
                    self.wishes.entry((workload.namespace.clone(), destination)).or_default();
                wish.ports.extend(port);
                wish.tries.add(who, record.count);
            }
            _ => return None,
        }
        Some(())
    }

    /// The drafts, what was tried most often first.
    pub fn finish(self) -> Suggestions {
        let mut entries: Vec<Draft> = self.wishes.into_iter().map(draft).collect();
        entries.sort_by_key(|it| std::cmp::Reverse(it.count));
        let ports = self.ports.into_iter().map(|((entry, destination, port, protocol), tries)| {
            let Tries { workloads, count } = tries;
            MissingPort { entry, destination, port, protocol, workloads, count }
        });
        let others = self.others.into_iter().map(|(reason, count)| Other {
            reason: reason.as_str().to_owned(),
            sentence: reason.sentence().to_owned(),
            count,
        });
        Suggestions { entries, ports: ports.collect(), others: others.collect() }
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => name.fmt(formatter),
            Self::Address(address) => address.fmt(formatter),
        }
    }
}

/// A name that a workload asked for, which may be any bytes.
fn host(name: &str) -> Result<HostPattern, InvalidHost> {
    if name.contains('*') { Err(InvalidHost::StarInside) } else { HostPattern::parse(name) }
}

fn draft(((namespace, destination), wish): ((String, Destination), Wish)) -> Draft {
    let Wish { mut ports, tries: Tries { workloads, count } } = wish;
    let port_is_a_guess = ports.is_empty();
    if port_is_a_guess {
        ports.insert((443, "tcp".to_owned()));
    }
    let object = match destination {
        Destination::Name(name) => ServiceEntry::of_name(&namespace, &name.to_string(), &ports),
        Destination::Address(address) => ServiceEntry::of_address(&namespace, address, &ports),
    };
    Draft { object, workloads, count, port_is_a_guess }
}

#[cfg(test)]
mod tests;

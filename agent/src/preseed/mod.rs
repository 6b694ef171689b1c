//! What a workload is given at its first enforcement, so that exeat can be started beside it.
//!
//! A process that ran before holds two things that exeat did not see it get: addresses of names it
//! resolved, and open connections. Both would be denied, although the registry allows them.
//!
//! **Names.** Every exact name that the workload's policy is granted is asked of the trusted
//! resolvers, and becomes facts as if the workload had asked: same guard, same times, same share.
//! This gives nothing away, since the workload may ask the same question at any moment. A wildcard
//! stands for names that nobody can list, so its names are learned when the workload asks again.
//!
//! **Connections.** A name often no longer leads to the address that an open connection has: content
//! networks rotate them within minutes, and no later answer brings that one back. So no address can
//! be asked for; what is left is the port. A connection stays if the workload's policy allows its
//! port under some name, and it is held to that name's rule: when the rule goes, the connection
//! ends, and no second one to that address can be made. Whoever was connected elsewhere on such a
//! port before exeat came stays connected for that long, which is less than what was open until
//! then. What no rule could allow is not adopted and ends with the ordinary denial, and so does
//! what goes to an address that no answer could open. Connections that came in stay as they are:
//! what comes in is not filtered.
//!
//! All of it happens once. A workload that an earlier agent held needs nothing, because the kernel
//! went on learning.

pub mod desk;
pub mod flows;
mod hickory;
pub mod names;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, sync::Arc};

use exeat_common::{
    abi::{FactKey, direction},
    id::{SubjectId, WorkloadId},
};
pub use hickory::Hickory;

use crate::policy::image::WireName;

/// A name to be resolved, and for whom.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Question {
    pub name: WireName,
    /// The pattern that the name itself is.
    pub pattern: SubjectId,
    pub workloads: Arc<[WorkloadId]>,
}

/// What was found for a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Told {
    pub question: Question,
    pub addresses: Vec<Found>,
}

/// One address of a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Found {
    pub address: IpAddr,
    /// As the resolver said it, in seconds.
    pub ttl: u32,
}

/// A fact to be noted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NewFact {
    pub key: FactKey,
    pub pattern: SubjectId,
    /// Seconds for which it holds, from the moment it is noted.
    pub hold_seconds: u32,
}

/// A flow to be remembered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NewFlow {
    pub key: exeat_common::abi::FlowKey,
    /// The pattern whose rule it is held to; none for what came in.
    pub subject: SubjectId,
    /// One side has closed it.
    pub is_closing: bool,
}

impl NewFlow {
    /// What came in has no subject.
    pub const fn direction(&self) -> u8 {
        if self.subject.is_some() { direction::OUTBOUND } else { direction::INBOUND }
    }
}

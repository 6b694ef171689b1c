//! Addresses of names, beside the registry: what DNS told the agent, and what the agent tells pods.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use exeat_common::address::Address;
use ipnet::IpNet;

use crate::registry::host::HostPattern;

/// A snapshot of both. Names are exact.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Answers {
    /// What the agent found when it resolved a name that stands for endpoints.
    pub resolved: BTreeMap<HostPattern, Vec<IpAddr>>,
    /// Virtual addresses that the agent's own responder gives for a host.
    pub virtual_addresses: BTreeMap<HostPattern, Vec<IpAddr>>,
}

/// Addresses that a name of endpoints was resolved to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Found {
    /// Flows may be sent there.
    pub(super) usable: Vec<IpAddr>,
    /// They are internal and not declared as addresses: whoever runs the zone of the name could
    /// lead flows there.
    pub(super) guarded: Vec<IpAddr>,
}

impl Answers {
    /// The names that have other addresses in `after`.
    pub(super) fn moved<'a>(&'a self, after: &'a Self) -> BTreeSet<&'a HostPattern> {
        let (before, after) = (&self.resolved, &after.resolved);
        let is_other = |name: &&HostPattern| before.get(*name) != after.get(*name);
        before.keys().chain(after.keys()).filter(is_other).collect()
    }

    /// The addresses of `name`, by the guard that also holds for what workloads are told: loopback,
    /// link-local and the like, and what is in `cluster` (`clusterCidrs`). Addresses that the entry
    /// itself has written down pass.
    pub(super) fn find(
        &self,
        name: &HostPattern,
        cluster: &[IpNet],
        is_declared: impl Fn(IpAddr) -> bool,
    ) -> Found {
        let addresses = self.resolved.get(name).into_iter().flatten().copied();
        let is_internal = |address: IpAddr| {
            Address::from(address).is_never_public()
                || cluster.iter().any(|net| net.contains(&address))
        };
        let (guarded, usable) =
            addresses.partition(|address| is_internal(*address) && !is_declared(*address));
        Found { usable, guarded }
    }
}

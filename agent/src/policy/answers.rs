//! Addresses of names, beside the registry: what DNS told the agent, and what the agent tells pods.

use std::{collections::BTreeMap, net::IpAddr};

use crate::registry::host::HostPattern;

/// A snapshot of both. Names are exact.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Answers {
    /// What the agent found when it resolved a name that stands for endpoints.
    pub resolved: BTreeMap<HostPattern, Vec<IpAddr>>,
    /// Virtual addresses that the agent's own responder gives for a host.
    pub virtual_addresses: BTreeMap<HostPattern, Vec<IpAddr>>,
}

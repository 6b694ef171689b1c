//! Where a proxy would send flows: one endpoint of a declared service.

use std::{collections::BTreeMap, net::IpAddr};

use super::host::HostPattern;

/// An endpoint as declared.
///
/// Source: <https://istio.io/latest/docs/reference/config/networking/workload-entry/>.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    pub address: EndpointAddress,
    /// Service port name to the port of this endpoint.
    pub ports: BTreeMap<String, u16>,
    /// Share of the flows relative to the other endpoints; at least 1.
    pub weight: u32,
}

/// The address of an endpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EndpointAddress {
    Ip(IpAddr),
    Name(HostPattern),
    /// Path, or abstract name after `@`.
    Unix(String),
    /// Only behind the gateway of another network.
    Network(String),
}

impl Endpoint {
    pub const fn is_unix(&self) -> bool {
        matches!(self.address, EndpointAddress::Unix(_))
    }
}

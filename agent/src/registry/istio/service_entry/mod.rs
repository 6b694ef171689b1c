//! Istio's `ServiceEntry`: its shape, its rules, and the checked value.

mod caveats;
mod check;
mod endpoint;
mod raw;

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use serde_yaml::Value;

use super::super::{
    endpoint::Endpoint, export_to::ExportTo, findings::Checked, header::Header, host::HostPattern,
    meta::Meta, port::ServicePort, shape::read_spec,
};

/// A valid entry.
///
/// Source: <https://istio.io/latest/docs/reference/config/networking/service-entry/>.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceEntry {
    /// Two entries unite only if its labels are equal.
    pub header: Header,
    /// Distinct; partial wildcards are left out.
    pub hosts: Vec<HostPattern>,
    /// Distinct and masked.
    pub addresses: Vec<IpNet>,
    /// Numbers are distinct.
    pub ports: Vec<ServicePort>,
    pub resolution: Resolution,
    pub endpoints: Vec<Endpoint>,
    /// Labels of the workloads that are its endpoints.
    pub selector: Option<BTreeMap<String, String>>,
    /// None: as the mesh says.
    pub export_to: Option<ExportTo>,
    /// `istio.io/use-waypoint` on the object: `None` says nothing, `Some(false)` is `none`.
    pub waypoint: Option<bool>,
    /// Virtual addresses that Istio gave its hosts (`status.addresses`), if it qualifies for them.
    pub virtual_addresses: BTreeMap<HostPattern, Vec<IpAddr>>,
}

/// How a proxy finds the endpoints.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Resolution {
    #[default]
    None,
    Static,
    Dns,
    DnsRoundRobin,
    DynamicDns,
}

impl ServiceEntry {
    /// Checks a document whose metadata were read.
    pub fn check(meta: &Meta, document: &Value) -> Checked<Self> {
        match read_spec::<raw::Spec>(meta, document) {
            Ok((spec, warnings)) => check::check(meta, document, &spec, warnings),
            Err(report) => Checked::refused(*report),
        }
    }

    /// Whether Istio would give `host` of this entry a virtual address.
    pub fn allocates(&self, host: &HostPattern) -> bool {
        check::allocates(self, host)
    }

    /// Whether its flows go to the address that was dialled, and not to endpoints.
    pub fn is_direct(&self) -> bool {
        match self.resolution {
            Resolution::None | Resolution::DynamicDns => true,
            Resolution::Static => false,
            Resolution::Dns | Resolution::DnsRoundRobin => {
                self.endpoints.is_empty() && self.selector.is_none()
            }
        }
    }
}

#[cfg(test)]
mod tests;

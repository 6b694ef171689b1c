//! Istio's `ServiceEntry`: its shape, its rules, and the checked value.

mod caveats;
mod check;
mod endpoint;
mod raw;

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use ipnet::IpNet;
use serde_yaml::Value;

use super::{
    export_to::ExportTo,
    host::HostPattern,
    meta::Meta,
    port::ServicePort,
    report::{ObjectRef, Report},
    shape::read_spec,
};
pub use endpoint::{Endpoint, EndpointAddress};

/// A valid entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceEntry {
    pub object: Arc<ObjectRef>,
    pub created: Option<SystemTime>,
    /// Of the metadata: two entries unite only if these are equal.
    pub labels: BTreeMap<String, String>,
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
    pub export_to: ExportTo,
    /// A waypoint must carry its flows.
    pub waypoint: bool,
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

/// An entry that was looked at: the value if it is valid, and what there is to say.
#[derive(Clone, Debug)]
pub struct Checked {
    pub entry: Option<ServiceEntry>,
    pub reports: Vec<Report>,
}

impl ServiceEntry {
    /// Checks a document whose metadata were read.
    pub fn check(meta: &Meta, document: &Value) -> Checked {
        match read_spec::<raw::Spec>(meta, document) {
            Ok((spec, warnings)) => {
                let mut checked = check::check(meta, &spec);
                checked.reports.extend(warnings);
                checked
            }
            Err(report) => Checked { entry: None, reports: vec![*report] },
        }
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

//! Gloo's `RouteTable`: not carried out here, so flows to its hosts need a proxy.

use serde_yaml::Value;

use super::super::{findings::Checked, header::Header, host::HostPattern, meta::Meta};

/// The hosts a route table is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouteTable {
    pub header: Header,
    pub hosts: Vec<HostPattern>,
    /// It is for every host, or for one that could not be read.
    pub all_hosts: bool,
}

impl RouteTable {
    /// Reads the hosts; nothing else of it matters.
    pub fn check(_meta: &Meta, _document: &Value) -> Checked<Self> {
        todo!()
    }
}

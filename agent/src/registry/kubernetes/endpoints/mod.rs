//! `Endpoints` and `EndpointSlice`: the addresses behind a Service.

use std::net::IpAddr;

use serde_yaml::Value;

use super::super::{findings::Checked, header::Header, meta::Meta};

/// Addresses of one Service, from either kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoints {
    pub header: Header,
    /// Name of the Service, in the same namespace.
    pub service: String,
    pub subsets: Vec<Subset>,
}

/// Every address with every port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subset {
    /// Address, and whether it is ready.
    pub addresses: Vec<(IpAddr, bool)>,
    pub ports: Vec<EndpointPort>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndpointPort {
    /// As in the Service; empty for the only one.
    pub name: String,
    pub number: u16,
    /// IP protocol number, 6 or 17.
    pub transport: u8,
}

impl Endpoints {
    /// Checks an `Endpoints` document whose metadata were read.
    pub fn check(_meta: &Meta, _document: &Value) -> Checked<Self> {
        todo!()
    }

    /// Checks an `EndpointSlice` document whose metadata were read. One that names no Service
    /// (`kubernetes.io/service-name`) is valid and has no meaning here: `service` is empty.
    pub fn check_slice(_meta: &Meta, _document: &Value) -> Checked<Self> {
        todo!()
    }
}

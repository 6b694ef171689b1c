//! `Endpoints` and `EndpointSlice`: the addresses behind a Service.

mod check;
mod raw;

use std::net::IpAddr;

use serde_yaml::Value;

use super::super::{findings::Checked, header::Header, meta::Meta, shape::read_leniently};

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
    /// Address, and whether it is ready. None is unspecified, loopback or link-local.
    pub addresses: Vec<(IpAddr, bool)>,
    pub ports: Vec<EndpointPort>,
}

/// A port of the addresses of a subset.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndpointPort {
    /// As in the Service; empty for the only one.
    pub name: String,
    /// 1 to 65535.
    pub number: u16,
    /// IP protocol number, 6 or 17.
    pub transport: u8,
}

impl Endpoints {
    /// Checks an `Endpoints` document whose metadata were read.
    ///
    /// Source: <https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoints-v1/>.
    pub fn check(meta: &Meta, document: &Value) -> Checked<Self> {
        match read_leniently::<raw::Endpoints>(meta, document) {
            Ok(raw) => check::endpoints(meta, &raw),
            Err(report) => Checked::refused(*report),
        }
    }

    /// Checks an `EndpointSlice` document whose metadata were read. One that names no Service
    /// (`kubernetes.io/service-name`) is valid and has no meaning here: `service` is empty.
    ///
    /// Source: <https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/>.
    pub fn check_slice(meta: &Meta, document: &Value) -> Checked<Self> {
        match read_leniently::<raw::Slice>(meta, document) {
            Ok(raw) => check::slice(meta, &raw),
            Err(report) => Checked::refused(*report),
        }
    }
}

#[cfg(test)]
mod tests;

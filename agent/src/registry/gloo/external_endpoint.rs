//! Gloo's `ExternalEndpoint`: where an `ExternalService` is found.

use serde_yaml::Value;

use super::super::{endpoint::EndpointAddress, findings::Checked, header::Header, meta::Meta};

/// A valid endpoint. Services select it by the labels of its metadata.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExternalEndpoint {
    pub header: Header,
    pub address: EndpointAddress,
    /// Name (may be empty if it is the only one) and number.
    pub ports: Vec<(String, u16)>,
}

impl ExternalEndpoint {
    /// Checks a document whose metadata were read.
    pub fn check(_meta: &Meta, _document: &Value) -> Checked<Self> {
        todo!()
    }
}

//! Istio's `WorkloadEntry`: an endpoint outside Kubernetes that entries can select.

use serde_yaml::Value;

use super::super::{
    endpoint::Endpoint, findings::Checked, header::Header, labels::Labels, meta::Meta,
};

/// A valid endpoint object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WorkloadEntry {
    pub header: Header,
    /// Those of `spec`, which entries select by.
    pub labels: Labels,
    pub endpoint: Endpoint,
}

impl WorkloadEntry {
    /// Checks a document whose metadata were read.
    pub fn check(_meta: &Meta, _document: &Value) -> Checked<Self> {
        todo!()
    }
}

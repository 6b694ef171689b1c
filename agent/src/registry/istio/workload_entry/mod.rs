//! Istio's `WorkloadEntry`: its shape, its rules, and the checked value.

pub(super) mod check;
pub(super) mod raw;

use serde_yaml::Value;

use super::super::{
    endpoint::Endpoint, findings::Checked, header::Header, labels::Labels, meta::Meta,
    shape::read_spec,
};

/// A valid endpoint object: an endpoint outside Kubernetes that entries can select.
///
/// Source: <https://istio.io/latest/docs/reference/config/networking/workload-entry/>.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WorkloadEntry {
    pub header: Header,
    /// Those of `spec` and of the object, which entries select by; the object's count first.
    pub labels: Labels,
    pub endpoint: Endpoint,
}

impl WorkloadEntry {
    /// Checks a document whose metadata were read.
    pub fn check(meta: &Meta, document: &Value) -> Checked<Self> {
        match read_spec::<raw::Spec>(meta, document) {
            Ok((spec, warnings)) => check::check(meta, &spec, warnings),
            Err(report) => Checked::refused(*report),
        }
    }
}

#[cfg(test)]
mod tests;

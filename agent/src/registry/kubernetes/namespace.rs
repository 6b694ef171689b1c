//! A `Namespace`, for its labels.

use serde_yaml::Value;

use super::super::{findings::Checked, header::Header, meta::Meta};

/// A namespace. Its `header.object.namespace` has no meaning.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Namespace {
    pub header: Header,
}

impl Namespace {
    /// Checks a document whose metadata were read. The label `kubernetes.io/metadata.name` is
    /// added, as the API server does.
    pub fn check(_meta: &Meta, _document: &Value) -> Checked<Self> {
        todo!()
    }
}

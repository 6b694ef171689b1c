//! What was written in a `ServiceEntry`: the shape only, every value as it stands.

use std::collections::BTreeMap;

use serde::Deserialize;

pub(super) use crate::registry::istio::workload_entry::raw::Spec as Endpoint;
use crate::registry::shape::or_default;

/// `spec`. Numbers are wide, so that one out of range can be named.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    #[serde(deserialize_with = "or_default")]
    pub(super) hosts: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) addresses: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) ports: Vec<Port>,
    pub(super) location: Option<String>,
    pub(super) resolution: Option<String>,
    /// Whether it is there counts, not only what is in it.
    pub(super) endpoints: Option<Vec<Endpoint>>,
    pub(super) workload_selector: Option<Selector>,
    #[serde(deserialize_with = "or_default")]
    pub(super) export_to: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) subject_alt_names: Vec<String>,
}

impl Spec {
    pub(super) fn endpoints(&self) -> &[Endpoint] {
        self.endpoints.as_deref().unwrap_or_default()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Port {
    #[serde(deserialize_with = "or_default")]
    pub(super) number: i64,
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) protocol: String,
    #[serde(rename = "targetPort", deserialize_with = "or_default")]
    pub(super) target: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Selector {
    #[serde(deserialize_with = "or_default")]
    pub(super) labels: BTreeMap<String, String>,
}

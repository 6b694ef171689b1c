//! What was written in a `WorkloadEntry`, as an object or as an endpoint of a `ServiceEntry`: the
//! shape only, every value as it stands.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::registry::{labels::Labels, shape::or_default};

/// Numbers are wide, so that one out of range can be named.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::registry::istio) struct Spec {
    #[serde(deserialize_with = "or_default")]
    pub(in crate::registry::istio) address: String,
    #[serde(deserialize_with = "or_default")]
    pub(in crate::registry::istio) ports: BTreeMap<String, i64>,
    #[serde(deserialize_with = "or_default")]
    pub(in crate::registry::istio) labels: Labels,
    #[serde(deserialize_with = "or_default")]
    pub(in crate::registry::istio) network: String,
    #[serde(deserialize_with = "or_default")]
    pub(in crate::registry::istio) weight: u32,
    // Preferences among endpoints and mutual TLS are a proxy's business: known, not looked at.
    #[serde(rename = "locality")]
    _locality: Option<String>,
    #[serde(rename = "serviceAccount")]
    _account: Option<String>,
}

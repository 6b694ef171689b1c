//! What was written in a `Service`: the fields that matter, every value as it stands.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::registry::shape::or_default;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Document {
    #[serde(deserialize_with = "or_default")]
    pub(super) metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    pub(super) spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Metadata {
    #[serde(deserialize_with = "or_default")]
    pub(super) annotations: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub(super) kind: String,
    #[serde(rename = "clusterIP", deserialize_with = "or_default")]
    pub(super) cluster_ip: String,
    #[serde(rename = "clusterIPs", deserialize_with = "or_default")]
    pub(super) cluster_ips: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) external_name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) ports: Vec<Port>,
    #[serde(deserialize_with = "or_default")]
    pub(super) selector: BTreeMap<String, String>,
    #[serde(rename = "publishNotReadyAddresses", deserialize_with = "or_default")]
    pub(super) publishes_not_ready: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Port {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(rename = "port", deserialize_with = "or_default")]
    pub(super) number: i64,
    #[serde(deserialize_with = "or_default")]
    pub(super) protocol: String,
    pub(super) app_protocol: Option<String>,
    #[serde(rename = "targetPort")]
    pub(super) target: Option<Target>,
}

/// An `IntOrString`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Target {
    Number(i64),
    Name(String),
}

//! What was written in a `Sidecar`: the shape only, every value as it stands.

use serde::Deserialize;

use crate::registry::{
    labels::Labels,
    shape::{Known, or_default},
};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    pub(super) workload_selector: Option<Selector>,
    #[serde(deserialize_with = "or_default")]
    pub(super) ingress: Vec<Ingress>,
    #[serde(deserialize_with = "or_default")]
    pub(super) egress: Vec<Egress>,
    pub(super) outbound_traffic_policy: Option<Policy>,
    pub(super) inbound_connection_pool: Option<Known>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Selector {
    #[serde(deserialize_with = "or_default")]
    pub(super) labels: Labels,
}

/// What comes in is of no concern here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Ingress {
    pub(super) port: Option<Port>,
    #[serde(rename = "bind")]
    _bind: Option<Known>,
    #[serde(rename = "captureMode")]
    _capture_mode: Option<Known>,
    #[serde(rename = "defaultEndpoint")]
    _default_endpoint: Option<Known>,
    #[serde(rename = "tls")]
    _tls: Option<Known>,
    #[serde(rename = "connectionPool")]
    _connection_pool: Option<Known>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Egress {
    pub(super) port: Option<Port>,
    #[serde(deserialize_with = "or_default")]
    pub(super) bind: String,
    pub(super) capture_mode: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) hosts: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
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
#[serde(rename_all = "camelCase", default)]
pub(super) struct Policy {
    pub(super) mode: Option<String>,
    pub(super) egress_proxy: Option<Destination>,
    #[serde(rename = "tls")]
    _tls: Option<Known>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Destination {
    #[serde(deserialize_with = "or_default")]
    pub(super) host: String,
    #[serde(rename = "subset")]
    _subset: Option<Known>,
    pub(super) port: Option<PortSelector>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PortSelector {
    #[serde(deserialize_with = "or_default")]
    pub(super) number: i64,
}

//! What was written in a `VirtualService`: the shape only, every value as it stands.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_yaml::Value;

use crate::registry::{
    labels::Labels,
    shape::{Known, or_default},
};

/// `spec`. Numbers are wide, so that one out of range can be named.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    #[serde(deserialize_with = "or_default")]
    pub(super) hosts: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) gateways: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) http: Vec<Http>,
    #[serde(deserialize_with = "or_default")]
    pub(super) tls: Vec<Tls>,
    #[serde(deserialize_with = "or_default")]
    pub(super) tcp: Vec<Tcp>,
    #[serde(deserialize_with = "or_default")]
    pub(super) export_to: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Http {
    #[serde(rename = "name")]
    _name: Option<Known>,
    #[serde(rename = "match", deserialize_with = "or_default")]
    pub(super) matches: Vec<HttpMatch>,
    #[serde(deserialize_with = "or_default")]
    pub(super) route: Vec<HttpDestination>,
    pub(super) redirect: Option<Known>,
    pub(super) direct_response: Option<Known>,
    pub(super) delegate: Option<Known>,
    pub(super) rewrite: Option<Known>,
    pub(super) timeout: Option<Known>,
    pub(super) retries: Option<Known>,
    pub(super) fault: Option<Known>,
    pub(super) mirror: Option<Known>,
    pub(super) mirrors: Option<Known>,
    /// Both spellings are in use for the older of the two.
    #[serde(alias = "mirror_percent")]
    pub(super) mirror_percent: Option<Known>,
    pub(super) mirror_percentage: Option<Known>,
    pub(super) cors_policy: Option<Known>,
    pub(super) headers: Option<Known>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct HttpMatch {
    #[serde(rename = "name")]
    _name: Option<Known>,
    #[serde(rename = "statPrefix")]
    _stat_prefix: Option<Known>,
    /// Says how `uri` is compared.
    #[serde(rename = "ignoreUriCase")]
    _ignore_uri_case: Option<Known>,
    pub(super) uri: Option<Known>,
    pub(super) scheme: Option<Known>,
    pub(super) method: Option<Known>,
    pub(super) authority: Option<Known>,
    #[serde(deserialize_with = "or_default")]
    pub(super) headers: BTreeMap<String, Value>,
    #[serde(deserialize_with = "or_default")]
    pub(super) without_headers: BTreeMap<String, Value>,
    #[serde(deserialize_with = "or_default")]
    pub(super) query_params: BTreeMap<String, Value>,
    #[serde(deserialize_with = "or_default")]
    pub(super) port: i64,
    #[serde(deserialize_with = "or_default")]
    pub(super) source_labels: Labels,
    #[serde(deserialize_with = "or_default")]
    pub(super) source_namespace: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) gateways: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Tls {
    #[serde(rename = "match", deserialize_with = "or_default")]
    pub(super) matches: Vec<TlsMatch>,
    #[serde(deserialize_with = "or_default")]
    pub(super) route: Vec<RouteDestination>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct TlsMatch {
    #[serde(deserialize_with = "or_default")]
    pub(super) sni_hosts: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) destination_subnets: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) port: i64,
    #[serde(deserialize_with = "or_default")]
    pub(super) source_labels: Labels,
    #[serde(deserialize_with = "or_default")]
    pub(super) source_namespace: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) source_subnet: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) gateways: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Tcp {
    #[serde(rename = "match", deserialize_with = "or_default")]
    pub(super) matches: Vec<TcpMatch>,
    #[serde(deserialize_with = "or_default")]
    pub(super) route: Vec<RouteDestination>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct TcpMatch {
    #[serde(deserialize_with = "or_default")]
    pub(super) destination_subnets: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) port: i64,
    #[serde(deserialize_with = "or_default")]
    pub(super) source_labels: Labels,
    #[serde(deserialize_with = "or_default")]
    pub(super) source_namespace: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) source_subnet: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) gateways: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct HttpDestination {
    pub(super) destination: Option<Destination>,
    #[serde(deserialize_with = "or_default")]
    pub(super) weight: i64,
    pub(super) headers: Option<Known>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RouteDestination {
    pub(super) destination: Option<Destination>,
    #[serde(deserialize_with = "or_default")]
    pub(super) weight: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Destination {
    #[serde(deserialize_with = "or_default")]
    pub(super) host: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) subset: String,
    pub(super) port: Option<PortSelector>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PortSelector {
    #[serde(deserialize_with = "or_default")]
    pub(super) number: i64,
}

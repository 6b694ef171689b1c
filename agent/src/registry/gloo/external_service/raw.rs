//! What was written in an `ExternalService`: the shape only, every value as it stands.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::registry::shape::{Known, or_default};

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
    #[serde(deserialize_with = "or_default")]
    pub(super) selector: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) subject_alt_names: Vec<String>,
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
    #[serde(rename = "targetPort")]
    pub(super) target: Option<Target>,
    pub(super) clientside_tls: Option<Tls>,
    pub(super) egress_gateway_routes: Option<Routes>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Target {
    pub(super) number: Option<i64>,
    pub(super) name: Option<String>,
}

/// Only whether TLS is begun matters; how is a proxy's business.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Tls {
    #[serde(deserialize_with = "or_default")]
    pub(super) mode: String,
    #[serde(rename = "sni")]
    _sni: Option<Known>,
    #[serde(rename = "caCertificates")]
    _ca: Option<Known>,
    #[serde(rename = "clientCertificate")]
    _certificate: Option<Known>,
    #[serde(rename = "privateKey")]
    _key: Option<Known>,
    #[serde(rename = "credentialName")]
    _credential: Option<Known>,
    #[serde(rename = "insecureSkipVerify")]
    _skip: Option<Known>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Routes {
    #[serde(deserialize_with = "or_default")]
    pub(super) virtual_gateway_refs: Vec<Reference>,
    #[serde(deserialize_with = "or_default")]
    pub(super) port_match: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Reference {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) namespace: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) cluster: String,
}

//! What was written in a `DestinationRule`: the shape only, every value as it stands.

use serde::Deserialize;

use crate::registry::{
    labels::Labels,
    shape::{Known, or_default},
};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    #[serde(deserialize_with = "or_default")]
    pub(super) host: String,
    pub(super) traffic_policy: Option<Policy>,
    #[serde(deserialize_with = "or_default")]
    pub(super) subsets: Vec<Subset>,
    #[serde(deserialize_with = "or_default")]
    pub(super) export_to: Vec<String>,
    pub(super) workload_selector: Option<Selector>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Selector {
    #[serde(deserialize_with = "or_default")]
    pub(super) match_labels: Labels,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Subset {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) labels: Labels,
    pub(super) traffic_policy: Option<Policy>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Policy {
    pub(super) tls: Option<Tls>,
    pub(super) tunnel: Option<Tunnel>,
    #[serde(deserialize_with = "or_default")]
    pub(super) port_level_settings: Vec<PortPolicy>,
    pub(super) load_balancer: Option<Known>,
    pub(super) connection_pool: Option<Known>,
    pub(super) outlier_detection: Option<Known>,
    pub(super) proxy_protocol: Option<Known>,
    pub(super) retry_budget: Option<Known>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PortPolicy {
    pub(super) port: Option<PortSelector>,
    pub(super) tls: Option<Tls>,
    pub(super) load_balancer: Option<Known>,
    pub(super) connection_pool: Option<Known>,
    pub(super) outlier_detection: Option<Known>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PortSelector {
    #[serde(deserialize_with = "or_default")]
    pub(super) number: i64,
}

/// How the proxy makes the connection safe is its own business; only whether it does counts.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Tls {
    pub(super) mode: Option<String>,
    #[serde(rename = "clientCertificate")]
    _client_certificate: Option<Known>,
    #[serde(rename = "privateKey")]
    _private_key: Option<Known>,
    #[serde(rename = "caCertificates")]
    _ca_certificates: Option<Known>,
    #[serde(rename = "caCrl")]
    _ca_crl: Option<Known>,
    #[serde(rename = "credentialName")]
    _credential_name: Option<Known>,
    #[serde(rename = "subjectAltNames")]
    _subject_alt_names: Option<Known>,
    #[serde(rename = "sni")]
    _sni: Option<Known>,
    #[serde(rename = "insecureSkipVerify")]
    _insecure_skip_verify: Option<Known>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Tunnel {
    #[serde(deserialize_with = "or_default")]
    pub(super) protocol: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) target_host: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) target_port: i64,
}

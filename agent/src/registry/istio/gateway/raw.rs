//! What was written in a `Gateway`: the shape only, every value as it stands.

use serde::Deserialize;

use crate::registry::{
    labels::Labels,
    shape::{Known, or_default},
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Spec {
    #[serde(deserialize_with = "or_default")]
    pub(super) selector: Labels,
    #[serde(deserialize_with = "or_default")]
    pub(super) servers: Vec<Server>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Server {
    pub(super) port: Option<Port>,
    #[serde(deserialize_with = "or_default")]
    pub(super) bind: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) hosts: Vec<String>,
    pub(super) tls: Option<Tls>,
    #[serde(rename = "name")]
    _name: Option<Known>,
    #[serde(rename = "defaultEndpoint")]
    _default_endpoint: Option<Known>,
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

/// With which certificates the gateway speaks TLS is its own business; only whether it does counts.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Tls {
    pub(super) mode: Option<String>,
    #[serde(rename = "httpsRedirect")]
    _https_redirect: Option<Known>,
    #[serde(rename = "serverCertificate")]
    _server_certificate: Option<Known>,
    #[serde(rename = "privateKey")]
    _private_key: Option<Known>,
    #[serde(rename = "caCertificates")]
    _ca_certificates: Option<Known>,
    #[serde(rename = "caCrl")]
    _ca_crl: Option<Known>,
    #[serde(rename = "caCertCredentialName")]
    _ca_credential_name: Option<Known>,
    #[serde(rename = "credentialName")]
    _credential_name: Option<Known>,
    #[serde(rename = "credentialNames")]
    _credential_names: Option<Known>,
    #[serde(rename = "tlsCertificates")]
    _tls_certificates: Option<Known>,
    #[serde(rename = "subjectAltNames")]
    _subject_alt_names: Option<Known>,
    #[serde(rename = "verifyCertificateSpki")]
    _verify_certificate_spki: Option<Known>,
    #[serde(rename = "verifyCertificateHash")]
    _verify_certificate_hash: Option<Known>,
    #[serde(rename = "minProtocolVersion")]
    _min_protocol_version: Option<Known>,
    #[serde(rename = "maxProtocolVersion")]
    _max_protocol_version: Option<Known>,
    #[serde(rename = "cipherSuites")]
    _cipher_suites: Option<Known>,
}

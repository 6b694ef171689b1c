//! What was written in an `ASMEgressTrafficPolicy`: the shape only, every value as it stands.

use serde::Deserialize;

use crate::registry::{labels::Labels, shape::or_default};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    pub(super) by_egress_gateway: Option<Gateway>,
    #[serde(deserialize_with = "or_default")]
    pub(super) egress_rules: Vec<Rule>,
}

/// Numbers are wide, so that one out of range can be named; 0 is an absent one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Gateway {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) port: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rule {
    #[serde(rename = "name", deserialize_with = "or_default")]
    _name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) from: Vec<Source>,
    #[serde(deserialize_with = "or_default")]
    pub(super) to: Vec<To>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Source {
    #[serde(deserialize_with = "or_default")]
    pub(super) namespace: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) workload_selector: Labels,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct To {
    #[serde(rename = "name", deserialize_with = "or_default")]
    _name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) hosts: Vec<String>,
    pub(super) port: Option<Port>,
    pub(super) by_egress_gateway: Option<Gateway>,
    pub(super) https_upgrade: Option<Upgrade>,
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

/// The gateway begins TLS to this port; nothing changes before it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Upgrade {
    #[serde(rename = "enabled", deserialize_with = "or_default")]
    _enabled: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) port: i64,
}

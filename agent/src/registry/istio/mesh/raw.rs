//! What was written in the settings of a mesh: those that matter here. There are very many others.

use serde::Deserialize;

use crate::registry::{labels::RawSelector, shape::or_default};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Settings {
    #[serde(deserialize_with = "or_default")]
    pub(super) root_namespace: String,
    pub(super) outbound_traffic_policy: Option<Policy>,
    #[serde(deserialize_with = "or_default")]
    pub(super) default_service_export_to: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) default_virtual_service_export_to: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) default_destination_rule_export_to: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) discovery_selectors: Vec<RawSelector>,
    pub(super) service_entry_visibility: Option<Visibility>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Policy {
    pub(super) mode: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Visibility {
    #[serde(deserialize_with = "or_default")]
    pub(super) apply_to_sidecars: bool,
    #[serde(rename = "defaultVisibility")]
    pub(super) default: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) policies: Vec<VisibilityPolicy>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct VisibilityPolicy {
    pub(super) visibility: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) matching_rules: Vec<MatchRule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct MatchRule {
    pub(super) namespace_selector: Option<RawSelector>,
}

//! What was written in a `Workspace` or `WorkspaceSettings`: the shape only.

use serde::Deserialize;

use crate::registry::{
    labels::Labels,
    shape::{Known, or_default},
};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Workspace {
    #[serde(deserialize_with = "or_default")]
    pub(super) workload_clusters: Vec<Cluster>,
}

/// Which clusters are meant is not looked at: what is read here is of the own cluster.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Cluster {
    #[serde(rename = "name")]
    _name: Option<Known>,
    #[serde(rename = "selector")]
    _selector: Option<Known>,
    #[serde(deserialize_with = "or_default")]
    pub(super) namespaces: Vec<Namespace>,
    pub(super) config_enabled: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Namespace {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) labels: Labels,
    pub(super) config_enabled: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Settings {
    #[serde(deserialize_with = "or_default")]
    pub(super) export_to: Vec<Exchange>,
    #[serde(deserialize_with = "or_default")]
    pub(super) import_from: Vec<Exchange>,
    // Isolation, federation and the size of a proxy's configuration: a proxy's business.
    #[serde(rename = "options")]
    _options: Option<Known>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Exchange {
    #[serde(deserialize_with = "or_default")]
    pub(super) workspaces: Vec<WorkspaceSelector>,
    #[serde(deserialize_with = "or_default")]
    pub(super) resources: Vec<Resource>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WorkspaceSelector {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) selector: Labels,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Resource {
    #[serde(deserialize_with = "or_default")]
    pub(super) kind: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) namespace: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) labels: Labels,
    #[serde(rename = "cluster")]
    _cluster: Option<Known>,
}

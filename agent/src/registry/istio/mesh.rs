//! Istio's mesh-wide settings (`MeshConfig`), as far as they bear on what may be reached.

use std::sync::Arc;

use serde::Deserialize;
use serde_yaml::Value;

use super::super::{
    findings::Checked,
    header::Header,
    labels::{LabelSelector, Labels},
    meta::Meta,
    report::ObjectRef,
};

/// What happens to destinations that nothing declares.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Mode {
    #[default]
    RegistryOnly,
    AllowAny,
}

/// The settings of a mesh.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mesh {
    /// `MeshConfig/istio-system/istio`.
    pub header: Header,
    /// None: it says nothing.
    pub mode: Option<Mode>,
    /// Holds the Sidecar and the rules that are for all namespaces.
    pub root_namespace: String,
    /// `defaultServiceExportTo` and its kin, as written; none: everybody.
    pub service_export_to: Vec<String>,
    pub virtual_service_export_to: Vec<String>,
    pub destination_rule_export_to: Vec<String>,
    /// Namespaces that count; empty: all.
    pub discovery: Vec<LabelSelector>,
    pub visibility: Option<Visibility>,
}

/// `serviceEntryVisibility`: a cap on who sees an entry, by the labels of its namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Visibility {
    pub applies_to_sidecars: bool,
    pub default: Cap,
    /// The first that fits counts.
    pub policies: Vec<(Cap, Vec<LabelSelector>)>,
}

/// Who may see an entry at most.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Cap {
    Nobody,
    OwnNamespace,
    #[default]
    Public,
}

impl Default for Mesh {
    fn default() -> Self {
        Self {
            header: Header {
                object: Arc::new(ObjectRef {
                    kind: "MeshConfig".to_owned(),
                    namespace: "istio-system".to_owned(),
                    name: "istio".to_owned(),
                }),
                created: None,
                labels: Labels::new(),
            },
            mode: None,
            root_namespace: "istio-system".to_owned(),
            service_export_to: Vec::new(),
            virtual_service_export_to: Vec::new(),
            destination_rule_export_to: Vec::new(),
            discovery: Vec::new(),
            visibility: None,
        }
    }
}

impl Mesh {
    /// Whether a `ConfigMap` holds the settings of a mesh: `istio`, or `istio-` and a revision, with
    /// a `mesh` in its data.
    pub fn is_in(_meta: &Meta, _document: &Value) -> bool {
        false
    }

    /// Checks the `ConfigMap` that Istio reads (`data.mesh`, YAML in a text).
    pub fn check(_meta: &Meta, _document: &Value) -> Checked<Self> {
        todo!()
    }

    /// Checks the settings themselves; paths of reports begin with `path`.
    pub fn check_settings(_settings: &Value, _path: &str) -> Checked<Self> {
        todo!()
    }
}

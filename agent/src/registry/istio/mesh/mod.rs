//! Istio's mesh-wide settings (`MeshConfig`), as far as they bear on what may be reached.

mod check;
mod raw;

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
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Mode {
    #[default]
    RegistryOnly,
    AllowAny,
}

/// The settings of a mesh.
///
/// Source: <https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig>.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mesh {
    /// `MeshConfig/istio-system/istio`, or the namespace and name of the `ConfigMap`.
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
    /// The first counts of whose selectors all fit; without any it always fits.
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

/// Reads a mode, and whether names would be resolved by the proxy (`ALLOW_ANY_DYNAMIC_DNS`), which
/// is as open as `ALLOW_ANY`.
pub fn mode(text: &str) -> Option<(Mode, bool)> {
    match text {
        "REGISTRY_ONLY" => Some((Mode::RegistryOnly, false)),
        "ALLOW_ANY" => Some((Mode::AllowAny, false)),
        "ALLOW_ANY_DYNAMIC_DNS" => Some((Mode::AllowAny, true)),
        _ => None,
    }
}

impl Default for Mesh {
    fn default() -> Self {
        Self {
            header: Header {
                object: Arc::new(ObjectRef {
                    kind: KIND.to_owned(),
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
    pub fn is_in(meta: &Meta, document: &Value) -> bool {
        let name = meta.object.name.as_str();
        meta.api_version == "v1"
            && meta.object.kind == "ConfigMap"
            && (name == "istio" || name.starts_with("istio-"))
            && document.get("data").is_some_and(|data| data.get("mesh").is_some())
    }

    /// Checks the `ConfigMap` that Istio reads (`data.mesh`, YAML in a text). Reports are about
    /// `MeshConfig/` and the namespace and name of the `ConfigMap`.
    pub fn check(meta: &Meta, document: &Value) -> Checked<Self> {
        let object = ObjectRef { kind: KIND.to_owned(), ..ObjectRef::clone(&meta.object) };
        let header = Header { object: Arc::new(object), ..Header::new(meta) };
        let text = document.get("data").and_then(|data| data.get("mesh"));
        check::check_text(header, text.unwrap_or(&Value::Null))
    }

    /// Checks the settings themselves; paths of reports begin with `path`.
    pub fn check_settings(settings: &Value, path: &str) -> Checked<Self> {
        check::check(Self::default().header, settings, path)
    }
}

/// What reports call the settings.
const KIND: &str = "MeshConfig";

#[cfg(test)]
mod tests;

//! One world: a registry, the settings around it, and flows. Plain structs in the shape of the case
//! files of `exeat test`, so that a failing world is printed as a case that anybody can run, and
//! the cases can be asked of the model. Knows no rule.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::manifest::Object;

pub(crate) type Labels = BTreeMap<String, String>;

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct World {
    pub(crate) title: String,
    /// `REGISTRY_ONLY`, `ALLOW_ANY` or `ALLOW_ANY_DYNAMIC_DNS`.
    pub(crate) mode: String,
    pub(crate) mesh: Option<Mesh>,
    pub(crate) agent: Agent,
    /// What the agent finds when it resolves a name.
    pub(crate) resolve: BTreeMap<String, Vec<String>>,
    pub(crate) registry: Vec<Object>,
    /// The objects that validation refuses.
    pub(crate) reject: Vec<Refused>,
    pub(crate) expect: Vec<Flow>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Mesh {
    pub(crate) root_namespace: Option<String>,
    pub(crate) default_service_export_to: Vec<String>,
    pub(crate) default_virtual_service_export_to: Vec<String>,
    pub(crate) discovery_selectors: Vec<Selector>,
    pub(crate) service_entry_visibility: Option<Visibility>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Selector {
    pub(crate) match_labels: Labels,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Visibility {
    pub(crate) apply_to_sidecars: bool,
    pub(crate) default_visibility: String,
    pub(crate) policies: Vec<VisibilityPolicy>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct VisibilityPolicy {
    pub(crate) visibility: String,
    pub(crate) matching_rules: Vec<VisibilityRule>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct VisibilityRule {
    pub(crate) namespace_selector: Selector,
}

/// Settings of the agent; what is not given has the default of the case format.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Agent {
    #[serde(rename = "match")]
    pub(crate) matching: Option<String>,
    pub(crate) external_name: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) gateway_transport: Option<String>,
    pub(crate) sidecar_may_relax: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Refused {
    pub(crate) kind: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) code: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Flow {
    pub(crate) client: Client,
    /// The name that was asked for, if any.
    pub(crate) dns: Option<String>,
    /// A second name that was asked for; the case format has no word for it.
    #[serde(skip)]
    pub(crate) also: Option<String>,
    /// None: the destination.
    pub(crate) answers: Option<Vec<String>>,
    pub(crate) cname: Vec<String>,
    /// None: the trusted one.
    pub(crate) resolver: Option<String>,
    pub(crate) ttl: Option<u32>,
    pub(crate) age: Option<u32>,
    pub(crate) dest: Destination,
    pub(crate) verdict: String,
    pub(crate) rewrite: Option<Vec<String>>,
    pub(crate) via: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) requires: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Client {
    pub(crate) namespace: String,
    pub(crate) labels: Labels,
    pub(crate) sidecar: bool,
    pub(crate) ambient: bool,
    pub(crate) host_network: bool,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Destination {
    pub(crate) ip: String,
    pub(crate) port: u16,
    /// `tcp` or `udp`.
    pub(crate) proto: String,
}

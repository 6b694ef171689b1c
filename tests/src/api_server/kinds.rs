//! Which kinds the double serves, and how it says so (API discovery).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::store::Drawer;

/// A kind, as one of its definitions says.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    pub(super) name: String,
    pub(super) is_namespaced: bool,
    /// Those that are served; the preferred one first.
    pub(super) versions: Vec<String>,
}

/// All kinds that are served.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    by_drawer: BTreeMap<Drawer, Kind>,
}

const BUILT_IN: [(&str, &str, &str, bool); 9] = [
    ("", "pods", "Pod", true),
    ("", "services", "Service", true),
    ("", "namespaces", "Namespace", false),
    ("", "configmaps", "ConfigMap", true),
    ("", "serviceaccounts", "ServiceAccount", true),
    ("", "events", "Event", true),
    ("events.k8s.io", "events", "Event", true),
    ("discovery.k8s.io", "endpointslices", "EndpointSlice", true),
    ("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition", false),
];

impl Kinds {
    pub(super) fn built_in() -> Self {
        let by_drawer = BUILT_IN.into_iter().map(|(group, plural, kind, is_namespaced)| {
            let versions = vec!["v1".to_owned()];
            let kind = Kind { name: kind.to_owned(), is_namespaced, versions };
            ((group.to_owned(), plural.to_owned()), kind)
        });
        Self { by_drawer: by_drawer.collect() }
    }

    /// Finds a kind that is served in this version.
    pub(super) fn find(&self, drawer: &Drawer, version: &str) -> Option<&Kind> {
        self.by_drawer.get(drawer).filter(|kind| kind.versions.iter().any(|it| it == version))
    }

    /// Where the objects of a kind are.
    pub(super) fn drawer_of(&self, plural: &str) -> Option<Drawer> {
        self.by_drawer.keys().find(|(_, it)| it == plural).cloned()
    }

    /// Serves what a `CustomResourceDefinition` defines.
    pub(super) fn define(&mut self, definition: &Value) -> Option<()> {
        let spec = &definition["spec"];
        let versions = spec["versions"].as_array()?.iter().filter(|it| it["served"] == true);
        let kind = Kind {
            name: spec["names"]["kind"].as_str()?.to_owned(),
            is_namespaced: spec["scope"] == "Namespaced",
            versions: versions.filter_map(|it| Some(it["name"].as_str()?.to_owned())).collect(),
        };
        self.by_drawer.insert(Self::drawer(definition)?, kind);
        Some(())
    }

    /// Serves it no longer. Says where its objects are.
    pub(super) fn undefine(&mut self, definition: &Value) -> Option<Drawer> {
        let drawer = Self::drawer(definition)?;
        self.by_drawer.remove(&drawer).map(|_| drawer)
    }

    fn drawer(definition: &Value) -> Option<Drawer> {
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some((text(&spec["group"])?, text(&spec["names"]["plural"])?))
    }

    /// The list of groups (`/apis`).
    pub(super) fn groups(&self) -> Value {
        let mut groups: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
        for ((group, _), kind) in self.by_drawer.iter().filter(|((group, _), _)| !group.is_empty())
        {
            let versions = groups.entry(group).or_default();
            for version in &kind.versions {
                if !versions.contains(&version) {
                    versions.push(version);
                }
            }
        }
        let groups: Vec<Value> = groups
            .into_iter()
            .filter(|(_, versions)| !versions.is_empty())
            .map(|(group, versions)| {
                let of = |version: &&String| json!({"groupVersion": format!("{group}/{version}"), "version": version});
                let all: Vec<Value> = versions.iter().map(of).collect();
                json!({"name": group, "preferredVersion": all[0], "versions": all})
            })
            .collect();
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
    }

    /// The kinds of a version of a group (`/api/v1`, `/apis/GROUP/VERSION`); none: it has none.
    pub(super) fn resources(&self, group: &str, version: &str) -> Option<Value> {
        let of_version = |(drawer, kind): &(&Drawer, &Kind)| {
            drawer.0 == group && kind.versions.iter().any(|it| it == version)
        };
        let resources: Vec<Value> = self
            .by_drawer
            .iter()
            .filter(of_version)
            .map(|((_, plural), kind)| {
                json!({
                    "name": plural, "singularName": kind.name.to_lowercase(), "kind": kind.name,
                    "namespaced": kind.is_namespaced,
                    "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
                })
            })
            .collect();
        let group_version =
            if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        (!resources.is_empty()).then(|| {
            json!({
                "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version,
                "resources": resources,
            })
        })
    }
}

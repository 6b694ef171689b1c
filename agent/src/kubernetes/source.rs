//! What is followed: one list and watch each.

use std::fmt;

use kube::{
    Api, Client,
    core::ApiResource,
    runtime::watcher::{self, Config},
};

use super::follow::{Subject, WATCH_FOR};
use crate::{
    config::kubernetes::ConfigMapName,
    registry::object::{Kind, kinds},
};

/// One thing that is followed.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Source {
    /// Which custom kinds there are. Names only.
    Definitions,
    /// The pods of this node.
    NodePods,
    /// The settings of the mesh.
    Mesh,
    /// The pods of a namespace, on all nodes, while some entry there selects its endpoints by label.
    PodsOf(Box<str>),
    /// The objects of a kind.
    Objects(Kind),
}

/// Kinds that every cluster has, and their names in paths. Slices also hold what is written as
/// `Endpoints`: the control plane mirrors those.
const BUILT_IN: [(&str, &str, &str); 3] = [
    ("", "Service", "services"),
    ("", "Namespace", "namespaces"),
    ("discovery.k8s.io", "EndpointSlice", "endpointslices"),
];
/// Kinds that are not read as they are: pods are many.
const OTHERWISE: [&str; 2] = ["Pod", "Endpoints"];
/// Objects in one answer, where an answer is a list.
const PAGE: u32 = 250;

impl Source {
    /// What is followed in every cluster.
    pub(super) fn always(has_mesh: bool) -> impl Iterator<Item = Self> {
        let built_in = kinds().filter(|kind| built_in(*kind).is_some()).map(Self::Objects);
        let mesh = has_mesh.then_some(Self::Mesh);
        [Self::Definitions, Self::NodePods].into_iter().chain(mesh).chain(built_in)
    }

    pub(super) fn namespaces() -> Self {
        Self::built_in_kind("Namespace")
    }

    pub(super) fn services() -> Self {
        Self::built_in_kind("Service")
    }

    fn built_in_kind(name: &str) -> Self {
        let kind = kinds().find(|it| it.kind == name && built_in(*it).is_some());
        Self::Objects(kind.expect("invariant: the table of kinds holds what is built in"))
    }

    /// Kinds of others: they are followed while they are there.
    pub(super) fn custom_kinds() -> impl Iterator<Item = Kind> {
        kinds().filter(|it| built_in(*it).is_none() && !OTHERWISE.contains(&it.kind))
    }

    /// How it is called by the API server; none for a kind that must be found first.
    pub(super) fn resource(&self) -> Option<ApiResource> {
        let of = |group: &str, kind: &str, plural: &str| {
            let api_version = if group.is_empty() { "v1".into() } else { format!("{group}/v1") };
            Some(ApiResource {
                group: group.to_owned(),
                version: "v1".to_owned(),
                api_version,
                kind: kind.to_owned(),
                plural: plural.to_owned(),
            })
        };
        match self {
            Self::Definitions => {
                of("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions")
            }
            Self::NodePods | Self::PodsOf(_) => of("", "Pod", "pods"),
            Self::Mesh => of("", "ConfigMap", "configmaps"),
            Self::Objects(kind) => {
                let (group, kind, plural) = built_in(*kind)?;
                of(group, kind, plural)
            }
        }
    }

    /// Where it is listed, and whether metadata are all that matters of it.
    pub(super) fn subject(
        &self,
        client: &Client,
        resource: &ApiResource,
        mesh: Option<&ConfigMapName>,
    ) -> Subject {
        let client = client.clone();
        match (self, mesh) {
            (Self::Definitions, _) => Subject::Names(Api::all_with(client, resource)),
            (Self::Objects(kind), _) if kind.kind == "Namespace" => {
                Subject::Names(Api::all_with(client, resource))
            }
            (Self::Mesh, Some(map)) => {
                Subject::Whole(Api::namespaced_with(client, &map.namespace, resource))
            }
            (Self::PodsOf(namespace), _) => {
                Subject::Whole(Api::namespaced_with(client, namespace, resource))
            }
            _ => Subject::Whole(Api::all_with(client, resource)),
        }
    }

    /// Which objects of it are asked for.
    pub(super) fn selection(&self, node: &str, mesh: Option<&ConfigMapName>) -> Config {
        let config = watcher::Config::default().timeout(WATCH_FOR).page_size(PAGE);
        match (self, mesh) {
            (Self::NodePods, _) => config.fields(&format!("spec.nodeName={node}")),
            (Self::Mesh, Some(map)) => config.fields(&format!("metadata.name={}", map.name)),
            _ => config,
        }
    }
}

fn built_in(kind: Kind) -> Option<(&'static str, &'static str, &'static str)> {
    BUILT_IN.into_iter().find(|(group, name, _)| *group == kind.group && *name == kind.kind)
}

/// As in permissions: what it is called in metrics, logs and `exeat status`.
impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Definitions => formatter.write_str("customresourcedefinitions"),
            Self::NodePods => formatter.write_str("pods of this node"),
            Self::Mesh => formatter.write_str("mesh ConfigMap"),
            Self::PodsOf(namespace) => write!(formatter, "pods of {namespace}"),
            Self::Objects(Kind { kind, .. }) => formatter.write_str(kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Source;

    #[test]
    fn every_kind_that_is_read_is_followed() {
        let always: Vec<String> = Source::always(true).map(|it| it.to_string()).collect();
        assert_eq!(
            always,
            [
                "customresourcedefinitions",
                "pods of this node",
                "mesh ConfigMap",
                "Service",
                "EndpointSlice",
                "Namespace"
            ]
        );
        assert!(Source::always(true).all(|source| source.resource().is_some()));
        assert_eq!(Source::always(false).count(), always.len() - 1);
        let custom: Vec<&str> = Source::custom_kinds().map(|it| it.kind).collect();
        assert!(custom.contains(&"ServiceEntry") && custom.contains(&"ASMEgressTrafficPolicy"));
        assert!(!custom.contains(&"Pod") && !custom.contains(&"Service"));
    }

    #[test]
    fn only_what_concerns_this_node_is_asked_for() {
        let pods = Source::NodePods.selection("n1", None);
        assert_eq!(pods.field_selector.as_deref(), Some("spec.nodeName=n1"));
        assert_eq!(Source::PodsOf("shop".into()).selection("n1", None).field_selector, None);
    }
}

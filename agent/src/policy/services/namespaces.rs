//! Namespaces by their labels: which count, who may see what is in them, who has a waypoint.

use std::collections::BTreeMap;

use super::declaration::Carrier;
use crate::registry::{
    Registry,
    istio::mesh::{Cap, Mesh},
    labels::{LabelSelector, Labels},
};

/// Label that names the waypoint of an object or a namespace.
const USE_WAYPOINT: &str = "istio.io/use-waypoint";

/// The namespaces of a registry.
#[derive(Clone, Debug)]
pub(super) struct Namespaces<'a> {
    mesh: &'a Mesh,
    labels: BTreeMap<&'a str, &'a Labels>,
    none: Labels,
}

impl<'a> Namespaces<'a> {
    pub(super) fn new(registry: &'a Registry, mesh: &'a Mesh) -> Self {
        let labels = registry.namespaces().iter();
        Self {
            mesh,
            labels: labels.map(|it| (it.header.name(), &it.header.labels)).collect(),
            none: Labels::new(),
        }
    }

    fn labels(&self, namespace: &str) -> &Labels {
        self.labels.get(namespace).copied().unwrap_or(&self.none)
    }

    /// Whether objects in `namespace` exist for the mesh (`discoverySelectors`).
    pub(super) fn counts(&self, namespace: &str) -> bool {
        let selectors = &self.mesh.discovery;
        selectors.is_empty() || selectors.iter().any(|it| it.matches(self.labels(namespace)))
    }

    /// Who may see the entries in `namespace` at most (`serviceEntryVisibility`).
    pub(super) fn cap(&self, namespace: &str) -> Cap {
        let Some(visibility) = &self.mesh.visibility else {
            return Cap::Public;
        };
        let labels = self.labels(namespace);
        let fits =
            |(_, rules): &&(Cap, Vec<_>)| rules.iter().all(|it: &LabelSelector| it.matches(labels));
        visibility.policies.iter().find(fits).map_or(visibility.default, |(cap, _)| *cap)
    }

    /// Whether a waypoint carries the flows of an object; `own` is what its own label says.
    pub(super) fn carrier(&self, own: Option<bool>, namespace: &str) -> Carrier {
        let has_waypoint = own.unwrap_or_else(|| {
            let name = self.labels(namespace).get(USE_WAYPOINT);
            name.is_some_and(|name| !name.is_empty() && name != "none")
        });
        if has_waypoint { Carrier::Waypoint } else { Carrier::Nobody }
    }
}

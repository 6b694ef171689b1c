//! Gloo's workspaces: which one holds a namespace.

use std::{collections::BTreeMap, sync::Arc};

use crate::registry::{Registry, gloo::workspace::Workspace, labels::Labels};

/// The workspaces of a registry, oldest first, and the labels of its namespaces.
#[derive(Clone, Debug, Default)]
pub(super) struct Workspaces {
    list: Vec<Arc<Workspace>>,
    labels: BTreeMap<String, Labels>,
}

impl Workspaces {
    pub(super) fn new(registry: &Registry) -> Self {
        let list = registry.workspaces().to_vec();
        // Without workspaces the labels are of no use.
        let namespaces = registry.namespaces().iter().filter(|_| !list.is_empty());
        let labels =
            namespaces.map(|it| (it.header.name().to_owned(), it.header.labels.clone())).collect();
        Self { list, labels }
    }

    pub(super) fn list(&self) -> &[Arc<Workspace>] {
        &self.list
    }

    /// The workspace that holds `namespace`; the oldest, if several claim it.
    pub(super) fn of(&self, namespace: &str) -> Option<&Arc<Workspace>> {
        self.list.iter().find(|it| self.is_in(it, namespace))
    }

    pub(super) fn is_in(&self, workspace: &Workspace, namespace: &str) -> bool {
        match self.labels.get(namespace) {
            Some(labels) => workspace.holds_labelled(namespace, labels),
            None => workspace.holds(namespace),
        }
    }

    /// Whether Gloo's objects in `namespace` count. Without workspaces they all do.
    pub(super) fn reads_config(&self, namespace: &str) -> bool {
        let none = Labels::new();
        let labels = self.labels.get(namespace).unwrap_or(&none);
        self.list.is_empty()
            || self.of(namespace).is_some_and(|it| it.reads_config(namespace, labels))
    }
}

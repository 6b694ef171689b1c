//! Gloo's workspaces: which namespaces belong together, and what they share.

mod check;
mod glob;
mod raw;

use serde_yaml::Value;

pub use self::glob::Glob;
use super::super::{
    findings::Checked,
    header::Header,
    labels::{Labels, selects},
    meta::Meta,
    shape::read_spec,
};

/// A valid `Workspace`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Workspace {
    pub header: Header,
    /// Namespaces of all its clusters; one of them must fit.
    pub namespaces: Vec<NamespaceSelector>,
}

/// Which namespaces are meant; all that is given must fit, and something is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamespaceSelector {
    pub name: Option<Glob>,
    /// Labels of the namespace.
    pub labels: Labels,
    /// Gloo's objects in the namespaces count (`configEnabled`).
    pub reads_config: bool,
}

/// A valid `WorkspaceSettings`; it is for the workspace that holds its namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WorkspaceSettings {
    pub header: Header,
    pub exports: Vec<Exchange>,
    pub imports: Vec<Exchange>,
}

/// External services that are shared with, or taken from, other workspaces. What concerns other
/// kinds of resources is left out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exchange {
    /// One of them must fit.
    pub workspaces: Vec<WorkspaceSelector>,
    /// One of them must fit the external service.
    pub resources: Vec<ResourceSelector>,
}

/// Which workspaces are meant; all that is given must fit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WorkspaceSelector {
    pub name: Option<Glob>,
    pub labels: Labels,
}

/// Which external services are meant; all that is given must fit.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ResourceSelector {
    pub name: Option<String>,
    pub namespace: Option<String>,
    pub labels: Labels,
}

impl NamespaceSelector {
    /// Whether a namespace of this name and these labels is meant.
    pub fn selects(&self, namespace: &str, labels: &Labels) -> bool {
        self.name.as_ref().is_none_or(|name| name.matches(namespace))
            && selects(&self.labels, labels)
    }
}

impl WorkspaceSelector {
    pub fn selects(&self, workspace: &Workspace) -> bool {
        self.name.as_ref().is_none_or(|name| name.matches(workspace.header.name()))
            && selects(&self.labels, &workspace.header.labels)
    }
}

impl ResourceSelector {
    pub fn selects(&self, service: &Header) -> bool {
        self.name.as_ref().is_none_or(|name| name == service.name())
            && self.namespace.as_ref().is_none_or(|it| it == service.namespace())
            && selects(&self.labels, &service.labels)
    }
}

impl Exchange {
    /// Whether it is with `workspace`, and about `service`.
    pub fn selects(&self, workspace: &Workspace, service: &Header) -> bool {
        self.workspaces.iter().any(|it| it.selects(workspace))
            && self.resources.iter().any(|it| it.selects(service))
    }
}

impl Workspace {
    /// Checks a document whose metadata were read.
    ///
    /// Source: <https://docs.solo.io/gloo-mesh-enterprise/latest/reference/api/workspace/>.
    pub fn check(meta: &Meta, document: &Value) -> Checked<Self> {
        match read_spec::<raw::Workspace>(meta, document) {
            Ok((spec, warnings)) => check::workspace(meta, &spec, warnings),
            Err(report) => Checked::refused(*report),
        }
    }

    /// Whether it holds `namespace`, as far as the name alone tells: what selects by labels does
    /// not count.
    pub fn holds(&self, namespace: &str) -> bool {
        self.holds_labelled(namespace, &Labels::new())
    }

    /// Whether it holds a namespace of this name and these labels.
    pub fn holds_labelled(&self, namespace: &str, labels: &Labels) -> bool {
        self.namespaces.iter().any(|it| it.selects(namespace, labels))
    }

    /// Whether it holds such a namespace, and Gloo's objects in there count.
    pub fn reads_config(&self, namespace: &str, labels: &Labels) -> bool {
        self.namespaces.iter().any(|it| it.reads_config && it.selects(namespace, labels))
    }
}

impl WorkspaceSettings {
    /// Checks a document whose metadata were read.
    ///
    /// Source: <https://docs.solo.io/gloo-mesh-enterprise/latest/reference/api/workspace_settings/>.
    pub fn check(meta: &Meta, document: &Value) -> Checked<Self> {
        match read_spec::<raw::Settings>(meta, document) {
            Ok((spec, warnings)) => check::settings(meta, &spec, warnings),
            Err(report) => Checked::refused(*report),
        }
    }
}

#[cfg(test)]
mod tests;

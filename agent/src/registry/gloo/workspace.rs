//! Gloo's workspaces: which namespaces belong together, and what they share.

use serde_yaml::Value;

use super::super::{findings::Checked, header::Header, labels::Labels, meta::Meta};

/// A valid `Workspace`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Workspace {
    pub header: Header,
    /// Patterns of namespace names, of all its clusters: `*` stands for any text.
    pub namespaces: Vec<Glob>,
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
}

/// Which workspaces are meant; all that is given must fit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WorkspaceSelector {
    pub name: Option<Glob>,
    pub labels: Labels,
}

/// A text in which `*` stands for any text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Glob(String);

impl Glob {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn matches(&self, _text: &str) -> bool {
        todo!()
    }
}

impl WorkspaceSelector {
    pub fn selects(&self, workspace: &Workspace) -> bool {
        self.name.as_ref().is_none_or(|name| name.matches(workspace.header.name()))
            && super::super::labels::selects(&self.labels, &workspace.header.labels)
    }
}

impl Workspace {
    /// Checks a document whose metadata were read.
    pub fn check(_meta: &Meta, _document: &Value) -> Checked<Self> {
        todo!()
    }

    pub fn holds(&self, namespace: &str) -> bool {
        self.namespaces.iter().any(|glob| glob.matches(namespace))
    }
}

impl WorkspaceSettings {
    /// Checks a document whose metadata were read.
    pub fn check(_meta: &Meta, _document: &Value) -> Checked<Self> {
        todo!()
    }
}

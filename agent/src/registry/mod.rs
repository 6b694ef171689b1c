//! The declared destinations: an immutable value of checked objects. No IO but in [`load`].

pub mod cidr;
pub mod document;
pub mod export_to;
pub mod file;
pub mod governed;
pub mod host;
pub mod load;
pub mod meta;
pub mod object;
pub mod port;
pub mod report;
pub mod service_entry;
pub mod shape;

use std::sync::Arc;

use governed::Governed;
use object::Content;
use service_entry::ServiceEntry;

/// Everything that is declared and valid. The order of what it was made from plays no part.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Registry {
    /// Oldest first, then by namespace and name.
    entries: Vec<Arc<ServiceEntry>>,
    governed: Vec<Arc<Governed>>,
}

impl Registry {
    pub fn new(contents: impl IntoIterator<Item = Content>) -> Self {
        let mut registry = Self::default();
        for content in contents {
            match content {
                Content::ServiceEntry(entry) => registry.entries.push(entry),
                Content::Governed(governed) => registry.governed.push(governed),
            }
        }
        registry.entries.sort_by(|a, b| (a.created, &a.object).cmp(&(b.created, &b.object)));
        registry.governed.sort_by(|a, b| a.object.cmp(&b.object));
        registry
    }

    pub fn entries(&self) -> &[Arc<ServiceEntry>] {
        &self.entries
    }

    pub fn governed(&self) -> &[Arc<Governed>] {
        &self.governed
    }
}

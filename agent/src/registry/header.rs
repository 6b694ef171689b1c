//! The part of an object's metadata that matters after it was checked.

use std::{cmp::Ordering, sync::Arc, time::SystemTime};

use super::{labels::Labels, meta::Meta, report::ObjectRef};

/// Who an object is, how old, and how it is labelled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    pub object: Arc<ObjectRef>,
    /// Missing sorts first: the object is older than any that has a time.
    pub created: Option<SystemTime>,
    pub labels: Labels,
}

impl Header {
    pub fn new(meta: &Meta) -> Self {
        Self {
            object: Arc::clone(&meta.object),
            created: meta.created,
            labels: meta.labels.clone(),
        }
    }

    pub fn namespace(&self) -> &str {
        &self.object.namespace
    }

    pub fn name(&self) -> &str {
        &self.object.name
    }

    /// Oldest first; of one age by namespace and name.
    pub fn by_age(&self, other: &Self) -> Ordering {
        (self.created.cmp(&other.created)).then_with(|| self.object.cmp(&other.object))
    }
}

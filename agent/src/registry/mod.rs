//! The declared destinations: an immutable value of checked objects. No IO but in [`load`].

pub mod cidr;
pub mod document;
pub mod export_to;
pub mod host;
pub mod load;
pub mod meta;
pub mod port;
pub mod report;
pub mod service_entry;
pub mod shape;

/// Everything that is declared and valid.
#[derive(Clone, Debug, Default)]
pub struct Registry {}

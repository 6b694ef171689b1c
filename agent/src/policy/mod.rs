//! From the registry to kernel tables: pure functions on values.

pub mod compile;
pub mod diff;
pub mod directory;
pub mod ids;
pub mod image;

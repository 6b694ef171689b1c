//! From the registry to kernel tables: pure functions on values.

pub mod image;

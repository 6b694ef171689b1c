//! From the registry to kernel tables: pure functions on values.

pub mod answers;
pub mod chunked;
mod close;
pub mod compile;
pub mod diff;
pub mod directory;
pub mod ids;
pub mod image;
pub mod image_tables;
pub mod services;
pub mod survey;
pub mod target;
pub mod view;
pub mod virtual_addresses;

#[cfg(test)]
mod testing;

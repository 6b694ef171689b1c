//! What the kernel programs and the agent must agree on: layouts, parsing and the decision.
//!
//! Everything here is safe, allocation-free and bounded, because the very same functions run
//! inside the kernel and under `cargo test`. The crate knows nothing of maps, sockets or files:
//! tables are reached through [`decide::Tables`].

#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing)]

pub mod abi;
pub mod address;
pub mod decide;
pub mod flow;
pub mod id;
pub mod limits;
pub mod reason;

//! What the kernel programs and the agent must agree on: layouts, parsing and the decision.
//!
//! Everything here is safe, allocation-free and bounded, because the very same functions run
//! inside the kernel and under `cargo test`. The crate knows nothing of maps, sockets or files:
//! tables are reached through [`decide::Tables`] and [`memory::Memory`].

#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing)]

pub mod abi;
pub mod address;
pub mod bytes;
pub mod cgroup;
pub mod decide;
pub mod dns;
pub mod flow;
pub mod id;
pub mod known;
pub mod limits;
pub mod memory;
pub mod packet;
pub mod reason;
pub mod redirect;
pub mod replay;
pub mod reply;
pub mod wire;

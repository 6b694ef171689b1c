//! The node agent of exeat: compiles the registry into kernel tables and keeps them true.

pub mod config;
pub mod datapath;
pub mod policy;
pub mod registry;
pub mod workloads;

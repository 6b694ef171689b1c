//! The node agent of exeat: compiles the registry into kernel tables and keeps them true.

pub mod admin;
pub mod app;
pub mod config;
pub mod datapath;
pub mod dns;
pub mod endpoints;
pub mod flows;
pub mod gateway;
pub mod kubernetes;
pub mod lock;
pub mod metrics;
pub mod observer;
pub mod policy;
pub mod preflight;
pub mod preseed;
pub mod ready;
pub mod reconcile;
pub mod registry;
pub mod shutdown;
mod sources;
pub mod suggest;
pub mod tasks;
pub mod telemetry;
pub mod trial;
pub mod workloads;

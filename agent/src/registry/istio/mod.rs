//! Istio's objects of `networking.istio.io`, and the settings of its mesh.

pub mod destination_rule;
pub mod gateway;
pub mod mesh;
mod names;
pub mod service_entry;
pub mod sidecar;
pub mod virtual_service;
pub mod workload_entry;

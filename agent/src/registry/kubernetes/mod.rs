//! Kubernetes' own objects: services, their endpoints, pods and namespaces.

mod address;
pub mod endpoints;
pub mod mode_label;
pub mod namespace;
pub mod pod;
pub mod service;
mod transport;

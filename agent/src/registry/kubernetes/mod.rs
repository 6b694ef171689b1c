//! Kubernetes' own objects: services, their endpoints, pods and namespaces.

pub mod endpoints;
pub mod namespace;
pub mod pod;
pub mod service;

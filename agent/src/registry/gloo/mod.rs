//! Gloo Mesh's objects: `networking.gloo.solo.io/v2` and `admin.gloo.solo.io/v2`.

pub mod external_endpoint;
pub mod external_service;
pub mod route_table;
pub mod workspace;

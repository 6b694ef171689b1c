//! Alibaba Cloud Service Mesh: `istio.alibabacloud.com`.

pub mod egress_policy;

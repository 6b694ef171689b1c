//! The examples that the documentation of Istio, Gloo and Alibaba Cloud ASM gives for egress, each
//! with the YAML that a user applies (`tests/examples`), on a real node: what is reached is seen at
//! the server and at the gateway, and each thing that is denied stands beside one that is allowed.

#![cfg(test)]

mod asm_egress_gateway;
mod envoy;
mod foo_over_three_endpoints;
mod gloo_direct;
mod gloo_internal;
mod https_hosts;
mod istio_egress_gateway;
mod kubernetes_services;
mod mongo;
mod stage;
mod wikipedia_firewall;

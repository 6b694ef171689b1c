//! Test support of exeat: a node, its pods and an internet made of network namespaces,
//! the servers that live there, and drivers for the real agent and for clients in a pod.

pub mod agent;
pub mod api_server;
pub mod capture;
pub mod cgroup;
pub mod embedded;
pub mod envoy;
pub mod flows;
pub mod frame;
pub mod gateway;
pub mod kubelet;
pub mod leaks;
pub mod metrics;
pub mod netns;
pub mod node;
pub mod packet;
pub mod pod_client;
pub mod probe;
pub mod registry;
pub mod rounds;
pub mod run;
pub mod scene;
pub mod servers;
pub mod session;
pub mod sidecar;
pub mod tap;
pub mod test_cluster;
pub mod traffic;
pub mod wait;
pub mod world;

//! Gloo's `ExternalService`: hosts or addresses outside the mesh.

use ipnet::IpNet;
use serde_yaml::Value;

use super::super::{
    findings::Checked, header::Header, host::HostPattern, labels::Labels, meta::Meta,
    port::ServicePort,
};

/// A valid service. It has hosts or addresses, never both.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExternalService {
    pub header: Header,
    pub hosts: Vec<HostPattern>,
    pub addresses: Vec<IpNet>,
    pub ports: Vec<ExternalPort>,
    /// Labels of its endpoints; empty selects none.
    pub selector: Labels,
}

/// A port of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExternalPort {
    /// Its `target` is not used.
    pub port: ServicePort,
    pub target: Option<TargetPort>,
    /// `clientsideTls` with another mode than DISABLE: a proxy must begin TLS.
    pub originates_tls: bool,
    /// `egressGatewayRoutes`.
    pub gateway: Option<GatewayRoute>,
}

/// Which port of the endpoints is meant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TargetPort {
    Number(u16),
    Name(String),
}

/// Flows go through a `VirtualGateway`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GatewayRoute {
    /// Namespace and name.
    pub gateways: Vec<(String, String)>,
    /// It names a gateway of another cluster.
    pub is_remote: bool,
    pub port: u16,
}

impl ExternalService {
    /// Checks a document whose metadata were read.
    pub fn check(_meta: &Meta, _document: &Value) -> Checked<Self> {
        todo!()
    }
}

//! Gloo's `ExternalService`: hosts or addresses outside the mesh.

mod check;
mod ports;
mod raw;

use ipnet::IpNet;
use serde_yaml::Value;

use super::super::{
    findings::Checked, header::Header, host::HostPattern, labels::Labels, meta::Meta,
    port::ServicePort, shape::read_spec,
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
    /// The port that clients dial to take it.
    pub port: u16,
}

impl ExternalService {
    /// Checks a document whose metadata were read.
    ///
    /// Source: <https://docs.solo.io/gloo-mesh-enterprise/latest/reference/api/external_service/>.
    pub fn check(meta: &Meta, document: &Value) -> Checked<Self> {
        match read_spec::<raw::Spec>(meta, document) {
            Ok((spec, warnings)) => check::check(meta, &spec, warnings),
            Err(report) => Checked::refused(*report),
        }
    }
}

#[cfg(test)]
mod tests;

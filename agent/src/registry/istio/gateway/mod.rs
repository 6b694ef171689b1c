//! Istio's `Gateway`: its shape, its rules, and the checked value.

mod check;
mod raw;

use serde_yaml::Value;

use super::super::{
    findings::Checked, header::Header, host::HostPattern, labels::Labels, meta::Meta,
    port::Protocol, shape::read_spec,
};

/// A valid gateway: which pods are gateways, and what their servers take.
///
/// Source: <https://istio.io/latest/docs/reference/config/networking/gateway/>.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gateway {
    pub header: Header,
    /// Labels of its pods, in any namespace. Empty selects every pod of Istio's namespaces; here
    /// it selects none.
    pub selector: Labels,
    pub servers: Vec<Server>,
}

/// One listener of a gateway.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Server {
    pub port: u16,
    pub protocol: Protocol,
    /// None is every host. The namespaces that may route to them are left out, and so are
    /// addresses.
    pub hosts: Vec<Option<HostPattern>>,
    pub tls: ServerTls,
}

/// What a server does with TLS.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ServerTls {
    /// It takes the bytes as they are.
    #[default]
    None,
    /// It reads the server name and passes the bytes on.
    Passthrough,
    /// It ends TLS itself (SIMPLE, MUTUAL, `OPTIONAL_MUTUAL`).
    Terminate,
    /// It takes the mesh's own mutual TLS (`ISTIO_MUTUAL`, `AUTO_PASSTHROUGH`).
    Mesh,
}

impl Gateway {
    /// Checks a document whose metadata were read.
    pub fn check(meta: &Meta, document: &Value) -> Checked<Self> {
        match read_spec::<raw::Spec>(meta, document) {
            Ok((spec, warnings)) => check::check(meta, &spec, warnings),
            Err(report) => Checked::refused(*report),
        }
    }
}

#[cfg(test)]
mod tests;

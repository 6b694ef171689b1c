//! A Kubernetes `Service`: cluster addresses, headless, or an alias of an external name.

mod check;
mod ports;
mod raw;

use std::net::IpAddr;

use serde_yaml::Value;

use super::super::{
    export_to::ExportTo, findings::Checked, header::Header, host::HostPattern, labels::Labels,
    meta::Meta, port::Protocol, shape::read_leniently,
};

/// A valid service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    pub header: Header,
    /// `networking.istio.io/exportTo`; none: as the mesh says.
    pub export_to: Option<ExportTo>,
    pub kind: Kind,
    pub ports: Vec<Port>,
    /// Labels of its pods; empty: its endpoints are made by hand.
    pub selector: Labels,
    /// Endpoints that are not ready count too.
    pub publishes_not_ready: bool,
    /// `istio.io/use-waypoint` on the object: `None` says nothing, `Some(false)` is `none`.
    pub waypoint: Option<bool>,
}

/// What stands behind the name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Its addresses; none were given yet if it is empty.
    ClusterIp(Vec<IpAddr>),
    /// `clusterIP: None`: the endpoints themselves.
    Headless,
    ExternalName(HostPattern),
}

/// One port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Port {
    /// May be empty if it is the only one.
    pub name: String,
    /// 1 to 65535.
    pub number: u16,
    /// Class by `appProtocol` or the prefix of the name; UDP by `protocol`.
    pub protocol: Protocol,
    /// None: the same number. A name stands for a port of the pod.
    pub target: Option<Target>,
}

/// The port of the pods.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    Number(u16),
    Name(String),
}

impl Service {
    /// Checks a document whose metadata were read. A port of another protocol than TCP and UDP is
    /// left out.
    ///
    /// Source: <https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/>.
    pub fn check(meta: &Meta, document: &Value) -> Checked<Self> {
        match read_leniently::<raw::Document>(meta, document) {
            Ok(raw) => check::check(meta, &raw),
            Err(report) => Checked::refused(*report),
        }
    }
}

#[cfg(test)]
mod tests;

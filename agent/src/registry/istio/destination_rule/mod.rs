//! Istio's `DestinationRule`: its shape, its rules, and the checked value.

mod check;
mod raw;

use std::collections::BTreeMap;

use serde_yaml::Value;

use super::super::{
    export_to::ExportTo, findings::Checked, header::Header, host::HostPattern, labels::Labels,
    meta::Meta, shape::read_spec,
};

/// A valid rule: what a proxy must do on the way to a host.
///
/// Source: <https://istio.io/latest/docs/reference/config/networking/destination-rule/>.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DestinationRule {
    pub header: Header,
    /// Short names are completed with the object's namespace. None is every host (`*`). A partial
    /// wildcard is widened to a whole one, so that what it asks for is not forgotten.
    pub host: Option<HostPattern>,
    /// None: as the mesh says.
    pub export_to: Option<ExportTo>,
    /// Clients of its namespace that it is for; none: all.
    pub selector: Option<Labels>,
    pub policy: TrafficPolicy,
    /// By name; each as it is once laid over `policy`.
    pub subsets: BTreeMap<String, TrafficPolicy>,
}

/// What a proxy must do, of which only this matters here.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TrafficPolicy {
    pub need: Need,
    /// By port number, instead of `need`.
    pub ports: BTreeMap<u16, Need>,
}

/// What plain forwarding cannot do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Need {
    pub tls: TlsMode,
    /// Through an HTTP CONNECT proxy.
    pub tunnel: bool,
}

/// TLS that a proxy begins.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TlsMode {
    #[default]
    Disable,
    Simple,
    Mutual,
    IstioMutual,
}

impl TrafficPolicy {
    pub fn need(&self, port: u16) -> Need {
        self.ports.get(&port).copied().unwrap_or(self.need)
    }
}

impl DestinationRule {
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

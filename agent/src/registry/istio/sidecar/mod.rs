//! Istio's `Sidecar`: its shape, its rules, and the checked value.

mod check;
mod imports;
mod raw;

use serde_yaml::Value;

use super::{
    super::{
        findings::Checked, header::Header, host::HostPattern, labels::Labels, meta::Meta,
        shape::read_spec,
    },
    mesh::Mode,
};

/// A valid sidecar configuration: what workloads import, and their mode.
///
/// Source: <https://istio.io/latest/docs/reference/config/networking/sidecar/>.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sidecar {
    pub header: Header,
    /// Absent is another rank than present and empty.
    pub selector: Option<Labels>,
    /// Empty imports everything.
    pub egress: Vec<Listener>,
    pub policy: Option<OutboundPolicy>,
}

/// What one listener imports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listener {
    /// Only services with this port, and of them only this port.
    pub port: Option<u16>,
    /// It needs a listener in the pod (`bind`, `captureMode: NONE`, `HTTP_PROXY`, a unix socket)
    /// and adds nothing here.
    pub is_local: bool,
    /// Empty imports nothing.
    pub imports: Vec<Import>,
    /// `~`: taken away from `imports`.
    pub except: Vec<Import>,
}

/// `namespace/host`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Import {
    pub namespace: ImportNamespace,
    /// None is every host.
    pub host: Option<HostPattern>,
}

/// The part of an import before the slash.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ImportNamespace {
    /// `.`: that of the client.
    Own,
    /// `*`
    All,
    Named(String),
}

/// `outboundTrafficPolicy`. Present without a mode it is `REGISTRY_ONLY`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OutboundPolicy {
    pub mode: Mode,
    /// Where what is not declared goes under `ALLOW_ANY`.
    pub proxy: Option<EgressProxy>,
}

/// The service that takes what nothing declares.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EgressProxy {
    pub host: HostPattern,
    pub port: Option<u16>,
}

impl Sidecar {
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

//! Views: what of the registry one client may use, before patterns and prefixes are closed over
//! each other.

mod action;
mod address;
mod answer;
mod choose;
mod lead;
mod name;
mod sight;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use exeat_common::reason::Reason;
use ipnet::IpNet;

use super::{chunked::Chunked, services::update::Touched, target::Target};
use crate::registry::{
    host::HostPattern,
    labels::Labels,
    report::{Code, ObjectRef},
};
pub use sight::Profile;

/// Port and IP protocol number.
pub type PortKey = (u16, u8);

/// Stands among the ports of a name for what a question about it is answered with. No port is 0.
pub const ANSWER: PortKey = (0, 0);

/// What the ports of one pattern or prefix rest on.
pub type Ports = BTreeMap<PortKey, Granted>;

/// What of the registry may be used. Cheap to copy.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct View {
    /// No ports are empty.
    pub names: Chunked<HostPattern, Arc<Ports>>,
    /// As above.
    pub prefixes: Chunked<IpNet, Arc<Ports>>,
    /// Ports that are open to every address (`match: istio-compat`). They rank below all else.
    pub anywhere: Ports,
    pub unmatched: Unmatched,
}

impl View {
    /// The same view. What it has in common with `other` it then shares with it.
    #[must_use]
    pub fn sharing_with(self, other: &Self) -> Self {
        Self {
            names: self.names.sharing_with(&other.names),
            prefixes: self.prefixes.sharing_with(&other.prefixes),
            ..self
        }
    }

    /// Shares what stands around `touched` with `other`, where it is the same there.
    pub fn share_around(&mut self, touched: &Touched, other: &Self) {
        touched.hosts.iter().for_each(|host| self.names.share_around(host, &other.names));
        touched.nets.iter().for_each(|net| self.prefixes.share_around(net, &other.prefixes));
    }
}

/// What happens to flows that nothing declares.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Unmatched {
    #[default]
    Deny,
    Allow,
    /// Allowed through a gateway (`egressProxy` of a Sidecar).
    To(Arc<Target>),
}

/// One port of one pattern or prefix.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Granted {
    /// What decided.
    pub entry: Arc<ObjectRef>,
    /// How specific the pattern is that it was declared for; 0 for addresses.
    pub rank: u8,
    pub action: Action,
}

/// What happens to a flow that is declared.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// It goes where it was dialled.
    Allow,
    Deny(Denial),
    To(Arc<Target>),
}

/// Why a flow is denied although it is declared: the reason in the kernel and the code for people.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Denial {
    pub reason: Reason,
    pub code: Code,
}

/// Who a view is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Client<'a> {
    pub namespace: &'a str,
    pub labels: &'a Labels,
    /// A proxy of its own takes its TCP flows.
    pub has_sidecar: bool,
    /// Enrolled in an ambient mesh.
    pub is_ambient: bool,
    /// Its sockets are seen, so that flows can be sent elsewhere.
    pub has_socket_layer: bool,
}

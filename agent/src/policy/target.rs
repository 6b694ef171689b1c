//! Where a flow goes that does not go where it was dialled, and which addresses a name has here.

use std::net::IpAddr;

/// A destination of redirected flows, or a list of addresses to tell. Immutable: another content is another target.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Target {
    pub kind: TargetKind,
    /// Distinct and sorted, at least one; none for a sidecar.
    pub backends: Vec<Backend>,
}

impl Target {
    /// How many entries its backends take in the kernel: the address that was dialled stands for one of either
    /// family.
    pub fn places(&self) -> usize {
        self.backends.len() + self.backends.iter().filter(|it| it.address.is_none()).count()
    }
}

/// What takes the flow on.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum TargetKind {
    /// The proxy in the pod.
    Sidecar,
    /// An egress gateway: host and port of its service, as in
    /// `gw.istio-system.svc.cluster.local:80`.
    Gateway { host: String, port: u16 },
    /// The endpoints of the service that was dialled.
    Endpoints,
    /// No flow: a question for a name is answered with these addresses. Their ports say nothing.
    Answer,
}

/// One address that flows may go to.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Backend {
    /// None is the address that was dialled.
    pub address: Option<IpAddr>,
    /// 1 to 65535.
    pub port: u16,
    /// Share of the flows relative to the other backends; at least 1.
    pub weight: u32,
}

//! A row of the matrix: one way out, where it is tried, and what of it would be a leak.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use crate::capture::Seen;
use crate::frame::{Ends, Link, Mac};

/// The IP version of an attempt. Mapped is IPv4 through an IPv6 socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    V4,
    V6,
    Mapped,
}

pub(super) const V4: &[Version] = &[Version::V4];
pub(super) const V6: &[Version] = &[Version::V6];
pub(super) const BOTH: &[Version] = &[Version::V4, Version::V6];
pub(super) const ALL: &[Version] = &[Version::V4, Version::V6, Version::Mapped];

/// What stopped an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// The call failed, before a packet existed.
    Socket,
    /// Whatever was sent did not come through.
    Wire,
}

/// Where the process that tries is at home. Its network namespace is always the pod's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// In the pod's cgroup, as everything in a pod is.
    Pod,
    /// In none of the pod's cgroups: no hook of the socket layer sees it, the wire is alone.
    Outside,
    /// Outside, and it joins the pod on the way.
    Joining,
    /// In the pod `web`, and it moves to the pod `ledger`.
    Moving,
    /// Four cgroups below the pod's.
    Nested,
    /// In the pod, with a thread in a threaded cgroup.
    Threaded,
}

pub(super) const EACH_LAYER: &[Start] = &[Start::Pod, Start::Outside];

/// Where an attempt goes that must not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Toward {
    /// An address on the internet that nobody declared.
    Stranger,
    /// An address that is declared to the pod `ledger` alone.
    OfLedger,
    /// An address that is declared to the pod `web` alone.
    OfWeb,
    /// Where it may go, but not like this.
    Allowed,
    /// The other pod on the bridge.
    Neighbour,
    /// The hardware of the other pod on the bridge, with an allowed address in the packet.
    NeighbourHardware,
    /// The link-local address of the other pod.
    NeighbourLinkLocal,
    /// Everybody on the link that listens to this group, or to broadcasts.
    Group(&'static str),
    /// The metadata service that clouds have at a link-local address.
    Metadata,
}

impl Toward {
    /// Whether it is tried from a pod on the bridge, with its neighbour as the receiver.
    pub(super) const fn stays_on_link(self) -> bool {
        match self {
            Self::Neighbour
            | Self::NeighbourHardware
            | Self::NeighbourLinkLocal
            | Self::Group(_) => true,
            Self::Stranger | Self::OfLedger | Self::OfWeb | Self::Allowed | Self::Metadata => false,
        }
    }
}

/// Which port an attempt names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    Http,
    Echo,
    Mptcp,
}

/// Everything an attempt knows of where it is and where it goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aim {
    pub(super) own: IpAddr,
    /// From the pod to its gateway.
    pub(super) link: Link,
    pub(super) to: SocketAddr,
    /// An allowed destination that is not `to`.
    pub(super) via: SocketAddr,
    /// Another pod, on the same link if there is one.
    pub(super) someone: IpAddr,
    pub(super) someone_mac: Mac,
    pub(super) gateway: IpAddr,
    /// IP protocol of the row.
    pub(super) protocol: u8,
}

impl Aim {
    pub(super) fn ends(&self) -> Ends {
        Ends { source: SocketAddr::new(self.own, 40_000), destination: self.to }
    }
}

/// What shows that an attempt can work at all with exeat in force.
#[derive(Clone, Copy)]
pub(super) enum Twin {
    /// The same, to where it is allowed.
    Same,
    /// These frames or packets in the place of the row's, to where it is allowed.
    Instead(fn(&Aim) -> Vec<Vec<u8>>),
    /// There is none, for this reason.
    None(&'static str),
}

/// Bytes that an attempt sends as they are.
pub(super) type Make = fn(&Aim) -> Vec<Vec<u8>>;

#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) way: &'static str,
    /// The word of `exeat-probe leak`.
    pub(super) program: &'static str,
    pub(super) versions: &'static [Version],
    pub(super) starts: &'static [Start],
    pub(super) toward: Toward,
    pub(super) port: Port,
    /// IP protocols of a raw socket, in IPv4 and in IPv6.
    pub(super) protocols: [u8; 2],
    pub(super) bytes: Option<Make>,
    /// Whether a frame at the receiver is one that should not have come.
    pub(super) seen: fn(&Seen, &Aim) -> bool,
    /// What holds it if it starts in the pod.
    pub(super) held: Layer,
    pub(super) twin: Twin,
    /// Whether a frame at the receiver is the twin's, if not by the same sign.
    pub(super) twin_seen: Option<fn(&Seen, &Aim) -> bool>,
}

impl Row {
    /// A call on a socket, held before there is a packet.
    pub(super) const fn call(way: &'static str, program: &'static str, port: Port) -> Self {
        Self {
            way,
            program,
            versions: BOTH,
            starts: EACH_LAYER,
            toward: Toward::Stranger,
            port,
            protocols: [255, 255],
            bytes: None,
            seen: arrived,
            held: Layer::Socket,
            twin: Twin::Same,
            twin_seen: None,
        }
    }

    /// Frames past the IP layer of the pod, held on the wire.
    pub(super) const fn frames(way: &'static str, bytes: Make) -> Self {
        let row = Self::call(way, "frames", Port::Echo);
        Self { held: Layer::Wire, bytes: Some(bytes), ..row }
    }

    pub(super) const fn versions(self, versions: &'static [Version]) -> Self {
        Self { versions, ..self }
    }

    pub(super) const fn starts(self, starts: &'static [Start]) -> Self {
        Self { starts, ..self }
    }

    pub(super) const fn toward(self, toward: Toward) -> Self {
        Self { toward, ..self }
    }

    pub(super) const fn port(self, port: Port) -> Self {
        Self { port, ..self }
    }

    pub(super) const fn raw(self, v4: u8, v6: u8, bytes: Make) -> Self {
        Self { protocols: [v4, v6], bytes: Some(bytes), ..self }
    }

    pub(super) const fn on_the_wire(self) -> Self {
        Self { held: Layer::Wire, ..self }
    }

    pub(super) const fn seen(self, seen: fn(&Seen, &Aim) -> bool) -> Self {
        Self { seen, ..self }
    }

    pub(super) const fn no_twin(self, why: &'static str) -> Self {
        Self { twin: Twin::None(why), ..self }
    }

    /// `seen`: how the twin is recognised at the receiver.
    pub(super) const fn instead(self, bytes: Make, seen: fn(&Seen, &Aim) -> bool) -> Self {
        Self { twin: Twin::Instead(bytes), twin_seen: Some(seen), ..self }
    }
}

/// Anything at all for the destination.
pub(super) fn arrived(seen: &Seen, aim: &Aim) -> bool {
    seen.destination() == Some(aim.to.ip().to_canonical())
}

/// The row's IP protocol for the destination.
pub(super) fn arrived_with_protocol(seen: &Seen, aim: &Aim) -> bool {
    arrived(seen, aim) && seen.next_header() == Some(aim.protocol)
}

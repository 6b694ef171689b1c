//! Verdicts and the reasons for them: append-only numbers that events, counters and people share.

/// What happens to a flow or a packet. Zero is deny.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[must_use]
#[repr(u8)]
pub enum Verdict {
    #[default]
    Deny = 0,
    Allow = 1,
    Redirect = 2,
}

impl Verdict {
    pub const ALL: [Self; 3] = [Self::Deny, Self::Allow, Self::Redirect];

    pub const fn from_u8(raw: u8) -> Option<Self> {
        match raw {
            0 => Some(Self::Deny),
            1 => Some(Self::Allow),
            2 => Some(Self::Redirect),
            _ => None,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Allow => "allow",
            Self::Redirect => "redirect",
        }
    }
}

/// Where a verdict was reached.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Layer {
    /// The cgroup hooks at `connect()` and `sendmsg()`.
    Socket = 1,
    /// The traffic control hooks on the host side of the veth.
    Wire = 2,
    /// A DNS query or answer, seen on the wire or at the workload's sockets.
    Dns = 3,
    /// The cgroup hooks for packets: workloads without a veth of their own.
    Cgroup = 4,
}

impl Layer {
    pub const fn from_u8(raw: u8) -> Option<Self> {
        match raw {
            1 => Some(Self::Socket),
            2 => Some(Self::Wire),
            3 => Some(Self::Dns),
            4 => Some(Self::Cgroup),
            _ => None,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Wire => "wire",
            Self::Dns => "dns",
            Self::Cgroup => "cgroup",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $label:literal, $sentence:literal;)+) => {
        /// Why a verdict was reached. Numbers are only ever appended.
        #[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[$doc])* $name = $number,)+
        }

        impl Reason {
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            pub const fn from_u8(raw: u8) -> Option<Self> {
                match raw {
                    $($number => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// The metric label and the `reason` of a flow record.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)+
                }
            }

            /// One sentence for people.
            pub const fn sentence(self) -> &'static str {
                match self {
                    $(Self::$name => $sentence,)+
                }
            }
        }
    };
}

reasons! {
    /// The value of doing nothing.
    #[default]
    UnknownWorkload = 0, "unknown-workload", "the sender is in no workload that the agent knows";
    Loopback = 1, "loopback", "loopback never leaves the pod";
    Exempt = 2, "exempt", "the workload is exempt";
    TrustedResolver = 3, "trusted-resolver", "DNS to a trusted resolver";
    ClusterInternal = 4, "cluster-internal", "the address is inside clusterCidrs and scope is external";
    Registered = 5, "registered", "an entry declares this destination";
    NotRegistered = 6, "not-registered", "no entry declares this address, and no trusted DNS answer tied a declared name to it";
    PortNotDeclared = 7, "port-not-declared", "the destination is declared, but not on this port and protocol";
    NameExpired = 8, "name-expired", "the DNS answer that named this address has expired";
    Unsupported = 9, "unsupported", "the entry asks for something that only a proxy can do";
    NoUpstream = 10, "no-upstream", "the entry has no usable endpoint";
    Established = 11, "established", "part of a flow that was allowed when it began";
    Inbound = 12, "inbound", "answers a connection that came in";
    Neighbour = 13, "neighbour", "address resolution on the pod's own link";
    Revoked = 14, "revoked", "the entry that allowed this flow is gone";
    Malformed = 15, "malformed", "the packet could not be parsed";
    Fragment = 16, "fragment", "a later IP fragment carries no ports to judge";
    NotIp = 17, "not-ip", "not an IPv4, IPv6 or ARP frame";
    SpoofedSource = 18, "spoofed-source", "the source address is not the workload's own";
    NameNotGranted = 19, "name-not-granted", "no entry visible to the workload declares this name";
    NameGranted = 20, "name-granted", "an entry declares this name";
    InternalName = 21, "internal-name", "the name lies in internalDomains";
    DnsMalformed = 22, "dns-malformed", "the DNS message could not be parsed";
    AnswerNotAsked = 23, "answer-not-asked", "a DNS answer that matches no query of the workload";
    AnswerLearned = 24, "answer-learned", "the addresses of the answer were learned";
    AnswerPassed = 25, "answer-passed", "a DNS answer that teaches nothing was passed";
    AddressGuarded = 26, "address-guarded", "an answer named an internal address, which was not learned";
    TableFull = 27, "table-full", "a kernel table or the workload's share of it is full";
    AllowAny = 28, "allow-any", "not declared; allowed because the mode is ALLOW_ANY";
    NoRedirect = 29, "no-redirect", "the entry sends this flow elsewhere, and it did not go there";
    NoRoute = 30, "no-route", "a route names this host, and none of its rules covers the flow";
    RouteUnknown = 31, "route-unknown", "a route sends the flow to a destination that nothing declares";
    QueryType = 32, "query-type", "the record type is not among those that may be asked for";
    QueryLimit = 33, "query-limit", "more queries, or longer or more random labels, than a granted wildcard may carry";
    AnsweredHere = 34, "answered-here", "the name has a virtual address, which was answered in place";
    AnswerDeferred = 35, "answer-deferred", "the answer is left to the agent to read; its repetition will pass";
    SocketType = 36, "socket-type", "a workload without an interface of its own may not have sockets of this type";
    SourceRoute = 37, "source-route", "an IP option or header would send the packet elsewhere";
    ShareUsed = 38, "share-used", "the workload's share of a kernel table is used up";
    StrayError = 39, "stray-error", "an ICMP error that belongs to no flow of the workload";
    SpoofedLink = 40, "spoofed-link", "the hardware address is not the workload's own";
    NoSidecar = 41, "no-sidecar", "the flow goes through the pod's own proxy, whose cgroup is not there";
    Redirected = 42, "redirected", "the socket layer sent this flow where it goes";
    PeerTaken = 43, "peer-taken", "the socket sends to this endpoint for another destination already, so answers could not be told apart";
}

#[cfg(test)]
mod tests {
    use super::{Layer, Reason, Verdict};

    #[test]
    fn numbers_are_dense_and_round_trip() {
        for (number, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, number);
            assert_eq!(Reason::from_u8(*reason as u8), Some(*reason));
        }
        for verdict in Verdict::ALL {
            assert_eq!(Verdict::from_u8(verdict as u8), Some(verdict));
        }
        for layer in [Layer::Socket, Layer::Wire, Layer::Dns, Layer::Cgroup] {
            assert_eq!(Layer::from_u8(layer as u8), Some(layer));
        }
    }

    #[test]
    fn nothing_means_deny_an_unknown_workload() {
        assert_eq!(Verdict::default(), Verdict::Deny);
        assert_eq!(Reason::default(), Reason::UnknownWorkload);
    }

    #[test]
    fn labels_are_unique() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert!(
                Reason::ALL.iter().skip(index + 1).all(|other| other.as_str() != reason.as_str())
            );
        }
    }
}

//! Why the gateway does not carry a flow: a label for machines, a sentence for people.

use exeat_common::reason::Reason;

use crate::{
    policy::directory::Nearest,
    registry::report::{Code, ObjectRef},
};

/// The cause.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Cause {
    /// What the registry says, or does not say.
    Rule(Reason),
    /// A TLS client that does not name its server, or a request without a host.
    NoName,
    /// The client's bytes are not what the listener takes.
    Malformed,
    /// The client did not say in time where to.
    Silent,
    /// It closed the connection before.
    Gone,
    /// CONNECT, TLS begun here, an upgrade: what this gateway does not do.
    NotOffered,
    /// The trusted resolvers gave no address.
    Unresolved,
    /// No address took the connection.
    Unreachable,
    /// The destination is the gateway itself.
    Itself,
    /// The destination broke the exchange off.
    Broken,
}

impl Cause {
    /// The metric label and the `reason` of a record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rule(reason) => reason.as_str(),
            Self::NoName => "no-name",
            Self::Malformed => "malformed",
            Self::Silent => "silent",
            Self::Gone => "gone",
            Self::NotOffered => "not-offered",
            Self::Unresolved => "unresolved",
            Self::Unreachable => "unreachable",
            Self::Itself => "itself",
            Self::Broken => "broken",
        }
    }

    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Rule(reason) => reason.sentence(),
            Self::NoName => "the client does not name its destination",
            Self::Malformed => "the message could not be read",
            Self::Silent => "the client did not say in time where to",
            Self::Gone => "the client closed the connection before it said where to",
            Self::NotOffered => {
                "this gateway forwards requests; it offers no tunnels and begins no TLS"
            }
            Self::Unresolved => "the trusted resolvers know no address of the name",
            Self::Unreachable => "no address of the destination took the connection",
            Self::Itself => "the name leads back to this gateway",
            Self::Broken => "the destination broke the exchange off",
        }
    }

    /// The destination failed rather than the registry refused.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Unresolved | Self::Unreachable | Self::Broken)
    }
}

/// A cause with what the registry has to say about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    pub cause: Cause,
    /// Of the report that says why a declared flow is denied.
    pub code: Option<Code>,
    pub entry: Option<ObjectRef>,
    /// What is declared and comes nearest to the name.
    pub nearest: Option<Nearest>,
}

impl From<Cause> for Refusal {
    fn from(cause: Cause) -> Self {
        Self { cause, code: None, entry: None, nearest: None }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Cause::Rule(reason).into()
    }
}

//! The fixed parts of a DNS message: header, record types, transports (RFC 1035 §4).

use crate::{
    bytes::{Bytes, SLACK},
    flow::protocol,
    limits::MESSAGE_BYTES,
};

/// A DNS message without the length prefix it has over TCP.
pub type MessageBytes<'a> = Bytes<'a, MESSAGE_BUFFER_BYTES>;

/// Size of the buffer behind [`MessageBytes`].
pub const MESSAGE_BUFFER_BYTES: usize = MESSAGE_BYTES + SLACK;

/// Length of the header in bytes.
pub const HEADER: usize = 12;
/// Class IN.
pub const CLASS_IN: u16 = 1;

/// Record types that are told apart (RFC 1035 §3.2.2, RFC 3596 §2.1, RFC 6891 §6.1.1, RFC 9460 §14).
pub mod record {
    pub const A: u16 = 1;
    pub const CNAME: u16 = 5;
    pub const AAAA: u16 = 28;
    pub const OPT: u16 = 41;
    pub const SVCB: u16 = 64;
    pub const HTTPS: u16 = 65;
}

/// Bits of the flags word (RFC 1035 §4.1.1).
pub mod flag {
    pub const RESPONSE: u16 = 0x8000;
    pub const OPCODE: u16 = 0x7800;
    pub const TRUNCATED: u16 = 0x0200;
    pub const RECURSION_DESIRED: u16 = 0x0100;
    pub const RECURSION_AVAILABLE: u16 = 0x0080;
}

/// Response codes, the last four bits of the flags word (RFC 1035 §4.1.1).
pub mod rcode {
    pub const NO_ERROR: u16 = 0;
    pub const NAME_ERROR: u16 = 3;
    pub const REFUSED: u16 = 5;
}

/// How a message travels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    /// IP protocol number.
    #[inline(always)]
    pub const fn protocol(self) -> u8 {
        match self {
            Self::Udp => protocol::UDP,
            Self::Tcp => protocol::TCP,
        }
    }
}

/// Why a message is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InvalidMessage {
    /// Ends before what it announces.
    Short,
    /// A query that is a response, or the reverse, or another opcode.
    Kind,
    /// Not exactly one question, or records where a query has none.
    Counts,
    /// A label with reserved bits, or a compressed question.
    Label,
    /// More than 255 bytes of name.
    NameTooLong,
    /// Not class IN.
    Class,
    /// An additional record of a query that is not one EDNS option record at the root.
    Additional,
    /// Bytes after the end.
    Trailing,
}

/// The six words of the header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    pub transaction: u16,
    pub flags: u16,
    pub questions: u16,
    pub answers: u16,
    pub authorities: u16,
    pub additionals: u16,
}

impl Header {
    #[inline(always)]
    pub fn read(message: &MessageBytes<'_>) -> Option<Self> {
        Some(Self {
            transaction: message.u16(0)?,
            flags: message.u16(2)?,
            questions: message.u16(4)?,
            answers: message.u16(6)?,
            authorities: message.u16(8)?,
            additionals: message.u16(10)?,
        })
    }
}

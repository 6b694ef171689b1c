//! Refusing a question: how it is turned into its own answer.

use super::{Asked, Question};
use crate::{
    abi::setting_flag,
    dns::{
        message::{Transport, flag},
        name::Name,
    },
    memory::Memory,
    reason::Reason,
};

/// How to turn a query into its own denial.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Flags word of the query.
    pub old_flags: u16,
    /// Flags word of the denial.
    pub new_flags: u16,
    pub query_type: u16,
    pub name: Name,
}

/// NXDOMAIN and REFUSED (RFC 1035 §4.1.1).
const RCODE_NXDOMAIN: u16 = 3;
const RCODE_REFUSED: u16 = 5;

/// A name that is not granted is answered on the spot over UDP. Over TCP it is dropped: clients
/// ask by UDP first and have their answer by then.
#[inline(always)]
pub(super) fn refuse<M: Memory>(question: &Question, transport: Transport, memory: &M) -> Asked {
    if transport == Transport::Tcp {
        return Asked::Drop(Reason::NameNotGranted);
    }
    let rcode = if memory.setting_flags() & setting_flag::DNS_REFUSED != 0 {
        RCODE_REFUSED
    } else {
        RCODE_NXDOMAIN
    };
    Asked::Refuse(Refusal {
        old_flags: question.flags,
        new_flags: flag::RESPONSE
            | (question.flags & flag::RECURSION_DESIRED)
            | flag::RECURSION_AVAILABLE
            | rcode,
        query_type: question.query_type,
        name: question.name,
    })
}

//! Refusing a question: how it is turned into its own answer.

use super::{Asked, Question};
use crate::{
    abi::setting_flag,
    dns::{
        message::{flag, rcode},
        name::Name,
    },
    memory::Memory,
    reason::Reason,
};

/// How to turn a query into its own denial.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refusal {
    pub reason: Reason,
    /// Flags word of the query.
    pub old_flags: u16,
    /// Flags word of the denial.
    pub new_flags: u16,
    pub query_type: u16,
    pub name: Name,
}

/// A question that may not leave is answered on the spot.
#[inline(always)]
pub(super) fn refuse<M: Memory>(question: &Question, reason: Reason, memory: &M) -> Asked {
    Asked::Refuse(Refusal {
        reason,
        old_flags: question.flags,
        new_flags: flag::RESPONSE
            | (question.flags & flag::RECURSION_DESIRED)
            | flag::RECURSION_AVAILABLE
            | response_code(reason, memory),
        query_type: question.query_type,
        name: question.name,
    })
}

/// A name that is not granted does not exist, or is refused, as configured. A type that may not be
/// asked for is one the name does not have: "does not exist" would speak of all its types at once
/// (RFC 8020 §2), and resolvers that were refused go on to ask somebody else. Without an SOA record
/// nobody keeps the answer (RFC 2308 §5).
#[inline(always)]
fn response_code<M: Memory>(reason: Reason, memory: &M) -> u16 {
    if matches!(reason, Reason::QueryType) {
        rcode::NO_ERROR
    } else if memory.setting_flags() & setting_flag::DNS_REFUSED != 0 {
        rcode::REFUSED
    } else {
        rcode::NAME_ERROR
    }
}

//! A question that leaves the pod: read it strictly, grant or refuse it, remember it.

mod question;
mod refusal;

pub use question::{Question, read_question};
pub use refusal::Refusal;
use refusal::refuse;

use super::{
    message::{MessageBytes, Transport},
    name::{Name, NameBuffer, match_name, short_hash},
};
use crate::{
    abi::{QueryKey, QueryValue, RuleKey, Workload, mode},
    cgroup::asked_at,
    limits::EDNS_BYTES,
    memory::Memory,
    packet::Packet,
    reason::Reason,
};

/// What to do with a query.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asked {
    /// Let it through. If `clamp_at` is not 0, the EDNS size at that offset of the message has to
    /// be lowered to [`EDNS_BYTES`].
    Pass {
        reason: Reason,
        clamp_at: usize,
    },
    /// Answer it in place.
    Refuse(Refusal),
    Drop(Reason),
}

/// Judges a query of `workload` to a trusted resolver, and remembers it if it may go.
#[inline(always)]
pub fn ask<M: Memory>(
    workload: &Workload,
    packet: &Packet,
    transport: Transport,
    message: &MessageBytes<'_>,
    buffer: &mut NameBuffer,
    memory: &M,
) -> Asked {
    let Ok(question) = read_question(message, buffer, memory) else {
        return Asked::Drop(Reason::DnsMalformed);
    };
    let found = match_name(buffer, question.name, memory);
    let granted = found.pattern.is_some()
        && memory.rule(&RuleKey::grant(workload.policy, found.pattern)).is_some();
    let is_relaxed = matches!(workload.mode, mode::ALLOW_ANY | mode::GATEWAY);
    let reason = if granted {
        Reason::NameGranted
    } else if found.internal {
        Reason::InternalName
    } else if is_relaxed {
        Reason::AllowAny
    } else {
        return refuse(&question, Reason::NameNotGranted, memory);
    };
    if !is_relaxed && !memory.may_ask(question.query_type) {
        return refuse(&question, Reason::QueryType, memory);
    }
    let key = QueryKey {
        workload: workload.id,
        resolver: asked_at(workload, packet.destination),
        resolver_port: packet.destination_port,
        client_port: packet.source_port,
        transaction: question.transaction,
        protocol: transport.protocol(),
        reserved: 0,
    };
    let value = QueryValue {
        pattern: found.pattern,
        asked: memory.now(),
        query_type: question.query_type,
        name_length: name_length(question.name),
        name_hash: short_hash(buffer.hash(question.name, memory)),
    };
    if let Err(full) = memory.set_query(&key, &value) {
        return Asked::Drop(full.reason());
    }
    let clamp_at =
        if question.edns_size > usize::from(EDNS_BYTES) { question.edns_size_at } else { 0 };
    Asked::Pass { reason, clamp_at }
}

/// A name is at most 255 bytes long.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a name is at most 255 bytes long")]
const fn name_length(name: Name) -> u16 {
    name.length as u16
}

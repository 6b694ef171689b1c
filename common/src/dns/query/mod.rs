//! A question that leaves the pod: read it strictly, grant or refuse it, remember it.

mod question;
mod refusal;
mod telling;
mod tunnel;

pub use question::{Question, read_question};
pub use refusal::Refusal;
use refusal::refuse;
use telling::telling;
pub use telling::{TOLD_BYTES, Telling, tell};
pub use tunnel::draw;
use tunnel::is_too_much;

use super::{
    message::{MessageBytes, Transport},
    name::{Name, NameBuffer, match_name, short_hash},
};
use crate::{
    abi::{QueryKey, QueryValue, RuleKey, Workload, mode},
    cgroup::{asked_at, leaves_here},
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
    /// Answer it in place: the name, or its type, is not there.
    Refuse(Refusal),
    /// Answer it in place with the addresses that the registry gives the name.
    Tell(Telling),
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
    // At the sockets a packet cannot be answered. Over TCP an answer would be longer than the question,
    // and every number of the connection after it would be wrong. There the resolver is asked.
    if transport == Transport::Udp
        && !leaves_here(workload)
        && let Some(telling) = telling(workload, found.pattern, &question, memory)
    {
        return Asked::Tell(telling);
    }
    // Internal names are asked of nobody outside, and where everything is allowed nothing is held.
    let covered = question.name.length.saturating_sub(found.suffix);
    if reason == Reason::NameGranted
        && !found.internal
        && !is_relaxed
        && covered != 0
        && is_too_much(workload.id, buffer, covered, memory)
    {
        return refuse(&question, Reason::QueryLimit, memory);
    }
    let key = QueryKey::new(
        workload.id,
        transport.protocol(),
        (asked_at(workload, packet.destination), packet.destination_port),
        packet.source_port,
        question.transaction,
    );
    let name = (name_length(question.name), short_hash(buffer.hash(question.name, memory)));
    let value = QueryValue::new(found.pattern, memory.now(), question.query_type, name);
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

//! A question that leaves the pod: read it strictly, grant or refuse it, remember it.

use super::{
    message::{CLASS_IN, HEADER, Header, InvalidMessage, MessageBytes, Transport, flag, record},
    name::{Name, NameBuffer, match_name, read_name, short_hash},
};
use crate::{
    abi::{QueryKey, QueryValue, RuleKey, Workload, mode},
    bytes::Veil,
    limits::EDNS_BYTES,
    memory::Memory,
    packet::Packet,
    reason::Reason,
};

/// A query in the one shape that is let through: one question of class IN, and at most one
/// additional record, which is EDNS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Question {
    pub transaction: u16,
    pub flags: u16,
    pub name: Name,
    pub query_type: u16,
    /// Offset of the EDNS payload size in the message; 0 without an EDNS record. Not an `Option`:
    /// where its payload is undefined, LLVM spills a register the verifier knows to be dead.
    pub edns_size_at: usize,
    /// The announced payload size, in bytes.
    pub edns_size: usize,
}

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

/// Reads a query. Everything in the message must be accounted for, so that nothing travels beside
/// the question that was judged.
#[inline(always)]
pub fn read_question<V: Veil>(
    message: &MessageBytes<'_>,
    buffer: &mut NameBuffer,
    veil: &V,
) -> Result<Question, InvalidMessage> {
    let header = Header::read(message).ok_or(InvalidMessage::Short)?;
    if header.flags & (flag::RESPONSE | flag::OPCODE | flag::TRUNCATED) != 0 {
        return Err(InvalidMessage::Kind);
    }
    if header.questions != 1
        || header.answers != 0
        || header.authorities != 0
        || header.additionals > 1
    {
        return Err(InvalidMessage::Counts);
    }
    let name = read_name(message, HEADER, buffer, veil)?;
    let at = HEADER + name.length;
    let query_type = message.u16(at).ok_or(InvalidMessage::Short)?;
    if message.u16(at + 2).ok_or(InvalidMessage::Short)? != CLASS_IN {
        return Err(InvalidMessage::Class);
    }
    let mut end = at + 4;
    let mut edns_size_at = 0;
    let mut edns_size = 0;
    if header.additionals == 1 {
        // RFC 6891 §6.1.2: root name, type 41, the class is the payload size.
        let root = message.u8(end).ok_or(InvalidMessage::Short)?;
        let kind = message.u16(end + 1).ok_or(InvalidMessage::Short)?;
        if root != 0 || kind != record::OPT {
            return Err(InvalidMessage::Additional);
        }
        edns_size = message.u16(end + 3).ok_or(InvalidMessage::Short)?;
        edns_size_at = end + 3;
        end += 11 + usize::from(message.u16(end + 9).ok_or(InvalidMessage::Short)?);
    }
    if end != message.length() {
        return Err(InvalidMessage::Trailing);
    }
    // With and without EDNS the verifier shall see one path from here on.
    let edns_size_at = veil.veil(edns_size_at);
    let edns_size = veil.veil(usize::from(edns_size));
    Ok(Question {
        transaction: header.transaction,
        flags: header.flags,
        name,
        query_type,
        edns_size_at,
        edns_size,
    })
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
    let reason = if granted {
        Reason::NameGranted
    } else if found.internal {
        Reason::InternalName
    } else if matches!(workload.mode, mode::ALLOW_ANY | mode::GATEWAY) {
        Reason::AllowAny
    } else {
        return refuse(&question, transport, memory);
    };
    let key = QueryKey {
        workload: workload.id,
        resolver: packet.destination,
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
    if memory.set_query(&key, &value).is_err() {
        return Asked::Drop(Reason::TableFull);
    }
    let clamp_at =
        if question.edns_size > usize::from(EDNS_BYTES) { question.edns_size_at } else { 0 };
    Asked::Pass { reason, clamp_at }
}

/// A name that is not granted is answered on the spot over UDP. Over TCP it is dropped: clients
/// ask by UDP first and have their answer by then.
#[inline(always)]
fn refuse<M: Memory>(question: &Question, transport: Transport, memory: &M) -> Asked {
    if transport == Transport::Tcp {
        return Asked::Drop(Reason::NameNotGranted);
    }
    let rcode = if memory.setting_flags() & crate::abi::setting_flag::DNS_REFUSED != 0 {
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

/// A name is at most 255 bytes long.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a name is at most 255 bytes long")]
const fn name_length(name: Name) -> u16 {
    name.length as u16
}

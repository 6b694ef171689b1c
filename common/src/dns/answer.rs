//! An answer that arrives: it must have been asked for, then its addresses become facts.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{
    learn::{hold_seconds, is_guarded},
    message::{CLASS_IN, HEADER, Header, InvalidMessage, MessageBytes, Transport, flag, record},
    name::{NameBuffer, match_name, read_name},
    query::name_length,
};
use crate::{
    abi::{FactKey, QueryKey, Workload},
    address::Address,
    bytes::{Veil, kept},
    cgroup::asked_at,
    id::SubjectId,
    limits::{ANSWER_ADDRESSES, ANSWER_STEPS, QUERY_SECONDS},
    memory::Memory,
    packet::Packet,
    reason::Reason,
};

/// What to do with an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    Pass(Heard),
    Drop(Reason),
}

/// Room for reading one answer.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Room {
    pub name: NameBuffer,
    pub found: FoundList,
}

impl Room {
    pub const fn new() -> Self {
        Self { name: NameBuffer::new(), found: FoundList::new() }
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::new()
    }
}

/// What an answer taught.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Heard {
    pub reason: Reason,
    /// Pattern its addresses were learned for, or none.
    pub pattern: SubjectId,
}

/// Reads an answer of a trusted resolver to `workload` and learns from it, before the pod has it.
///
/// The addresses belong to the name of the question, whatever aliases lie between: an entry for
/// the alias's target is not opened by it. The name is matched again rather than trusted from the
/// query, so that facts always follow the current tables.
#[inline(always)]
pub fn hear<M: Memory>(
    workload: &Workload,
    packet: &Packet,
    transport: Transport,
    message: &MessageBytes<'_>,
    room: &mut Room,
    memory: &M,
) -> Answer {
    let Some(header) = Header::read(message) else {
        return Answer::Drop(Reason::DnsMalformed);
    };
    let key = QueryKey {
        workload: workload.id,
        resolver: asked_at(workload, packet.source),
        resolver_port: packet.source_port,
        client_port: packet.destination_port,
        transaction: header.transaction,
        protocol: transport.protocol(),
        reserved: 0,
    };
    let Some(query) = memory.take_query(&key) else {
        return Answer::Drop(Reason::AnswerNotAsked);
    };
    if memory.now().saturating_sub(query.asked) > QUERY_SECONDS {
        return Answer::Drop(Reason::AnswerNotAsked);
    }
    if header.flags & flag::RESPONSE == 0 || header.questions != 1 {
        return Answer::Drop(Reason::DnsMalformed);
    }
    let Ok(name) = read_name(message, HEADER, &mut room.name, memory) else {
        return Answer::Drop(Reason::DnsMalformed);
    };
    if name_length(name) != query.name_length {
        return Answer::Drop(Reason::AnswerNotAsked);
    }
    let found = match_name(&room.name, name, memory);
    if found.pattern != query.pattern && query.pattern.is_some() && !found.pattern.is_some() {
        // The registry lost the name while the query was under way: the answer teaches nothing.
        return Answer::Pass(Heard { reason: Reason::AnswerPassed, pattern: SubjectId::NONE });
    }
    if !found.pattern.is_some() || header.answers == 0 {
        return Answer::Pass(Heard { reason: Reason::AnswerPassed, pattern: SubjectId::NONE });
    }
    // However the match ended, the verifier shall see one path through the loops that follow.
    let pattern = veiled(found.pattern, memory);
    let start = HEADER + name.length + 4;
    let Ok(count) = find(message, start, header.answers, &mut room.found, memory) else {
        return Answer::Drop(Reason::DnsMalformed);
    };
    if count == 0 {
        return Answer::Pass(Heard { reason: Reason::AnswerPassed, pattern: SubjectId::NONE });
    }
    learn_all(workload, pattern, message, &room.found, count, memory);
    Answer::Pass(Heard { reason: Reason::AnswerLearned, pattern })
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "what went in were 32 bits")]
fn veiled<V: Veil>(subject: SubjectId, veil: &V) -> SubjectId {
    SubjectId::new(veil.veil(subject.raw() as usize) as u32)
}

/// Where the addresses of one answer lie. The kernel keeps it in a per-CPU map.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct FoundList {
    /// Offsets in the message of the fixed part of each A and AAAA record: type, class, TTL, length.
    records: [u16; ANSWER_ADDRESSES],
}

impl FoundList {
    pub const fn new() -> Self {
        Self { records: [0; ANSWER_ADDRESSES] }
    }
}

impl Default for FoundList {
    fn default() -> Self {
        Self::new()
    }
}

const _: () = assert!(ANSWER_ADDRESSES.is_power_of_two(), "the mask holds every index");

/// Bytes from the type of a record to its data (RFC 1035 §4.1.3).
const FIXED: usize = 10;

/// Walks the answer section and finds the first [`ANSWER_ADDRESSES`] A and AAAA; returns how many
/// there were. To find first and learn afterwards keeps the longer loop small.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "offsets in a message are below 2^13")]
fn find<V: Veil>(
    message: &MessageBytes<'_>,
    start: usize,
    records: u16,
    list: &mut FoundList,
    veil: &V,
) -> Result<usize, InvalidMessage> {
    let message = message.veiled(veil);
    let mut at = veil.veil(start);
    let mut left = veil.veil(usize::from(records));
    let mut count = veil.veil(0);
    let mask = kept(ANSWER_ADDRESSES - 1);
    // One flat loop, a step a label of an owner name or a record.
    for _ in 0..ANSWER_STEPS {
        if left == 0 {
            break;
        }
        let first = message.u8(at).ok_or(InvalidMessage::Short)?;
        if first != 0 && first & 0xc0 == 0 {
            at = veil.veil(at + 1 + usize::from(first));
            continue;
        }
        // A pointer of two bytes or the root ends the owner name (RFC 1035 §4.1.4).
        let fixed = if first == 0 { at + 1 } else { at + 2 };
        let [_, kind, _, class, _, _, _, _, high, low] =
            message.array::<FIXED>(fixed).ok_or(InvalidMessage::Short)?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if is_address(kind, class, length)
            && count < ANSWER_ADDRESSES
            && let Some(record) = list.records.get_mut(count & mask)
        {
            *record = fixed as u16;
            count += 1;
        }
        at = veil.veil(fixed + FIXED + length);
        left = veil.veil(left - 1);
        count = veil.veil(count);
    }
    if left == 0 { Ok(count) } else { Err(InvalidMessage::TooMany) }
}

/// Learns what [`find`] found.
#[inline(always)]
fn learn_all<M: Memory>(
    workload: &Workload,
    pattern: SubjectId,
    message: &MessageBytes<'_>,
    list: &FoundList,
    count: usize,
    memory: &M,
) {
    let count = memory.veil(count);
    for (index, record) in list.records.iter().enumerate() {
        if index >= count {
            break;
        }
        learn_one(workload, pattern, message, usize::from(*record), memory);
    }
}

/// Learns one address, unless no public name may have it. Never inlined: what it leaves on its
/// stack frame is gone when it returns, and the verifier sees every turn of the loop alike.
#[inline(never)]
fn learn_one<M: Memory>(
    workload: &Workload,
    pattern: SubjectId,
    message: &MessageBytes<'_>,
    record: usize,
    memory: &M,
) {
    let Some((address, ttl)) = read_address(message, record) else {
        return;
    };
    if is_guarded(address, memory) {
        memory.note(workload.id, Reason::AddressGuarded);
        return;
    }
    let hold = hold_seconds(ttl, memory.minimum_ttl_seconds(), memory.grace_seconds());
    let expiry = memory.now().saturating_add(hold);
    if let Err(full) = memory.learn(&FactKey { workload: workload.id, address }, pattern, expiry) {
        memory.note(workload.id, full.reason());
    }
}

/// Whether a record holds an address: an A of four bytes or an AAAA of sixteen. Types and classes
/// above 255 are told apart by [`read_address`].
#[inline(always)]
const fn is_address(kind: u8, class: u8, length: usize) -> bool {
    class as u16 == CLASS_IN
        && ((kind as u16 == record::A && length == 4)
            || (kind as u16 == record::AAAA && length == 16))
}

/// The address and the TTL of the record whose fixed part is at `fixed`.
#[inline(always)]
fn read_address(message: &MessageBytes<'_>, fixed: usize) -> Option<(Address, u32)> {
    if message.u16(fixed + 2)? != CLASS_IN {
        return None;
    }
    let ttl = message.u32(fixed + 4)?;
    let data = fixed + FIXED;
    match message.u16(fixed)? {
        record::A => Some((Address::from_v4(message.array(data)?), ttl)),
        record::AAAA => Some((Address::from_v6(message.array(data)?), ttl)),
        _ => None,
    }
}

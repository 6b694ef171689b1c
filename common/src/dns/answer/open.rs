//! The first passes: whether the answer belongs to a question of the workload, and to which pattern.

use super::{Room, Turn};
use crate::{
    abi::QueryKey,
    bytes::Veil,
    decide::Tables,
    dns::{
        message::{HEADER, Header, MessageBytes, Transport, flag, record},
        name::{Name, match_name, read_name, short_hash},
    },
    limits::QUERY_SECONDS,
    memory::Memory,
    packet::Packet,
    reason::Reason,
};

/// Finds the question that a message answers, and forgets it.
#[inline(always)]
pub fn open<M: Memory>(
    packet: &Packet,
    transport: Transport,
    message: &MessageBytes<'_>,
    room: &mut Room,
    memory: &M,
) -> Turn {
    let Some(header) = Header::read(message) else {
        return Turn::MALFORMED;
    };
    let key = QueryKey::new(
        room.reading.workload,
        transport.protocol(),
        (room.reading.key.resolver, packet.source_port),
        packet.destination_port,
        header.transaction,
    );
    let Some(query) = memory.take_query(&key) else {
        return Turn::drop(Reason::AnswerNotAsked);
    };
    if memory.now().saturating_sub(query.asked) > QUERY_SECONDS {
        return Turn::drop(Reason::AnswerNotAsked);
    }
    if query.name_length == 0 {
        return Turn::PASS;
    }
    if header.flags & (flag::RESPONSE | flag::OPCODE) != flag::RESPONSE || header.questions != 1 {
        return Turn::MALFORMED;
    }
    let Ok(name) = read_name(message, HEADER, &mut room.name, memory) else {
        return Turn::MALFORMED;
    };
    let query_type = message.u16(HEADER + name.length);
    if name.length != usize::from(query.name_length)
        || short_hash(room.name.hash(name, memory)) != query.name_hash
        || query_type != Some(query.query_type)
    {
        return Turn::drop(Reason::AnswerNotAsked);
    }
    if header.answers == 0 {
        return Turn::PASS;
    }
    let reading = &mut room.reading;
    reading.key = key;
    reading.query = query;
    #[expect(clippy::cast_possible_truncation, reason = "offsets in a message are below 2^13")]
    {
        reading.start = (HEADER + name.length + 4) as u32;
        reading.name_bytes = name.length as u32;
    }
    reading.records = u32::from(header.answers);
    Turn::GO_ON
}

/// Finds the pattern of the question's name. It is matched again rather than trusted from the query,
/// so that facts always follow the current tables.
#[inline(always)]
pub fn recognise<T: Tables + Veil>(
    message: &MessageBytes<'_>,
    room: &mut Room,
    tables: &T,
) -> Turn {
    let name = Name { length: tables.veil(room.reading.name_bytes as usize) };
    let found = match_name(&room.name, name, tables);
    room.reading.pattern = found.pattern;
    #[expect(clippy::cast_possible_truncation, reason = "a name is at most 255 bytes long")]
    {
        room.reading.internal_bytes = if found.internal { found.suffix as u32 } else { 0 };
    }
    if found.pattern.is_some() {
        return Turn::GO_ON;
    }
    // Of an internal name only this could teach something: that it is another name, completed.
    let start = room.reading.start as usize;
    if found.internal && begins_with_alias(message, start, name, tables) {
        Turn::GO_ON
    } else {
        Turn::PASS
    }
}

/// Remembers the question again: its answer could not be read.
#[inline(always)]
pub fn put_back<M: Memory>(room: &Room, memory: &M) {
    // Without room for it the answer that comes next was not asked for, which is as strict.
    let _full = memory.set_query(&room.reading.key, &room.reading.query);
}

/// Whether the first record is an alias of the question: its owner is a pointer, or the name again.
#[inline(always)]
fn begins_with_alias<V: Veil>(
    message: &MessageBytes<'_>,
    start: usize,
    name: Name,
    veil: &V,
) -> bool {
    let first = message.u8(start).unwrap_or_default();
    let owner = veil.veil(if first & 0xc0 == 0 { name.length } else { 2 });
    message.u16(start + owner) == Some(record::CNAME)
}

//! Reading a question: the one shape that is let through.

use crate::{
    bytes::Veil,
    dns::{
        message::{CLASS_IN, HEADER, Header, InvalidMessage, MessageBytes, flag, record},
        name::{Name, NameBuffer, read_name},
    },
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

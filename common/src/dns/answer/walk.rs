//! The second pass: where the records lie that may matter. What they say is read later, since a long
//! loop has to be small.

use super::{Room, Turn, set_entry};
use crate::{
    bytes::Veil,
    dns::{
        answer::names::{LABEL_MAX, POINTER},
        message::{CLASS_IN, MessageBytes, record},
    },
    limits::ANSWER_STEPS,
};

/// A record: where its owner begins, and the fixed part with type, class, TTL and length.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Found {
    pub(super) owner: usize,
    pub(super) fixed: usize,
    /// Whether it is an alias whose target is on the chain.
    pub(super) taken: bool,
}

impl Found {
    const TAKEN: u32 = 0x8000;

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "offsets in a message are below 2^13")]
    pub(super) const fn pack(self) -> u32 {
        let taken = if self.taken { Self::TAKEN } else { 0 };
        (self.owner as u32) << 16 | taken | self.fixed as u32
    }

    #[inline(always)]
    pub(super) const fn unpack(word: u32) -> Self {
        Self {
            owner: (word >> 16) as usize,
            fixed: (word & (Self::TAKEN - 1)) as usize,
            taken: word & Self::TAKEN != 0,
        }
    }
}

/// Bytes from the type of a record to its data (RFC 1035 §4.1.3).
pub(super) const FIXED: usize = 10;

/// Walks the answer section and notes the records that `matters` tells.
#[inline(always)]
pub fn walk<V: Veil>(message: &MessageBytes<'_>, room: &mut Room, veil: &V) -> Turn {
    let mut at = room.reading.start as usize;
    let mut owner = at;
    let mut left = room.reading.records as usize;
    let mut count = 0;
    // One flat loop, a step a label of an owner name or a record.
    for _ in 0..ANSWER_STEPS {
        at = veil.veil(at);
        owner = veil.veil(owner);
        left = veil.veil(left);
        count = veil.veil(count);
        let message = message.veiled(veil);
        if left == 0 {
            break;
        }
        let Some(first) = message.u8(at) else {
            return Turn::MALFORMED;
        };
        if first < POINTER && first != 0 {
            if first > LABEL_MAX {
                return Turn::MALFORMED;
            }
            at += 1 + usize::from(first);
            continue;
        }
        // A pointer of two bytes or the root ends the owner name (RFC 1035 §4.1.4).
        let fixed = veil.veil(if first == 0 { at + 1 } else { at + 2 });
        let Some([a, b, c, d, _, _, _, _, high, low]) = message.array::<FIXED>(fixed) else {
            return Turn::MALFORMED;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if matters(u32::from_be_bytes([a, b, c, d]), length) {
            if !set_entry(&mut room.found, count, Found { owner, fixed, taken: false }.pack()) {
                return Turn::DEFER;
            }
            count += 1;
        }
        at = fixed + FIXED + length;
        owner = at;
        left -= 1;
    }
    if left != 0 {
        return Turn::DEFER;
    }
    if at > message.length() {
        return Turn::MALFORMED;
    }
    #[expect(clippy::cast_possible_truncation, reason = "not more than the list is long")]
    {
        room.reading.found = count as u32;
    }
    if count == 0 { Turn::PASS } else { Turn::GO_ON }
}

/// Whether a record of this type and class names a host or has addresses.
#[inline(always)]
const fn matters(type_and_class: u32, length: usize) -> bool {
    const fn of_internet(kind: u16) -> u32 {
        (kind as u32) << 16 | CLASS_IN as u32
    }
    const A: u32 = of_internet(record::A);
    const AAAA: u32 = of_internet(record::AAAA);
    const CNAME: u32 = of_internet(record::CNAME);
    const HTTPS: u32 = of_internet(record::HTTPS);
    const SVCB: u32 = of_internet(record::SVCB);
    match type_and_class {
        A => length == 4,
        AAAA => length == 16,
        CNAME | HTTPS | SVCB => true,
        _ => false,
    }
}

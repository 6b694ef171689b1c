//! The passes of an answer, each a global function: the verifier looks at such a function once and by
//! itself, for any numbers it may be given, however often and from wherever it is called.
//!
//! All they work on is in the scratch of a slot; numbers are all that goes in and comes out.

use exeat_common::{
    bytes::Bytes,
    dns::{
        MessageBytes,
        answer::{
            Comparison, Names, Passes, Turn, compare, end, follow, hints, learn, open, put_back,
            recognise, rename, walk,
        },
    },
    id::SubjectId,
};

use crate::{
    dns::transport,
    load::{self, Scratch},
    tables::Maps,
};

/// The passes over a message of `length` bytes in the scratch of a slot.
pub(super) struct Verified {
    pub(super) slot: u32,
    pub(super) length: usize,
}

#[expect(clippy::cast_possible_truncation, reason = "lengths and indexes are below 2^13")]
impl Passes for Verified {
    #[inline(always)]
    fn open(&mut self) -> Turn {
        Turn::from_raw(exeat_answer_open(self.slot, self.length as u32))
    }

    #[inline(always)]
    fn recognise(&mut self) -> Turn {
        Turn::from_raw(exeat_answer_recognise(self.slot, self.length as u32))
    }

    #[inline(always)]
    fn walk(&mut self) -> Turn {
        Turn::from_raw(exeat_answer_walk(self.slot, self.length as u32))
    }

    #[inline(always)]
    fn follow(&mut self) -> Turn {
        Turn::from_raw(exeat_answer_follow(self.slot, self.length as u32))
    }

    #[inline(always)]
    fn rename(&mut self) -> Turn {
        Turn::from_raw(exeat_answer_rename(self.slot, self.length as u32))
    }

    #[inline(always)]
    fn hints(&mut self, service: usize) -> Turn {
        Turn::from_raw(exeat_answer_hints(self.slot, self.length as u32, service as u32))
    }

    #[inline(always)]
    fn learn(&mut self, address: usize) {
        exeat_answer_learn(self.slot, self.length as u32, address as u32);
    }

    #[inline(always)]
    fn put_back(&mut self) {
        if let Some(scratch) = load::scratch_at(self.slot) {
            put_back(&scratch.query.room, &Maps::new(&scratch.veil));
        }
    }

    #[inline(always)]
    fn services(&self) -> usize {
        load::scratch_at(self.slot).map_or(0, |scratch| scratch.query.room.reading.services())
    }

    #[inline(always)]
    fn addresses(&self) -> usize {
        load::scratch_at(self.slot).map_or(0, |scratch| scratch.query.room.reading.addresses())
    }

    #[inline(always)]
    fn pattern(&self) -> SubjectId {
        load::scratch_at(self.slot)
            .map_or(SubjectId::NONE, |scratch| scratch.query.room.reading.pattern())
    }
}

/// Names of the message in the scratch.
struct InScratch {
    slot: u32,
    length: u32,
}

impl Names for InScratch {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "offsets in a message are below 2^13")]
    fn compare(&self, first: usize, second: usize) -> Comparison {
        Comparison::from_raw(exeat_compare_names(
            self.slot,
            self.length,
            first as u32,
            second as u32,
        ))
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "offsets in a message are below 2^13")]
    fn end(&self, name: usize) -> usize {
        exeat_end_of_name(self.slot, self.length, name as u32) as usize
    }
}

macro_rules! passes {
    ($($(#[$doc:meta])* fn $name:ident($slot:ident, $length:ident $(, $argument:ident)*) |$scratch:ident| $body:expr;)+) => {
        $($(#[$doc])*
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $name($slot: u32, $length: u32 $(, $argument: u32)*) -> u32 {
            let Some($scratch) = load::scratch_at($slot) else {
                return Turn::MALFORMED.raw();
            };
            $body
        })+
    };
}

#[inline(always)]
fn bytes(scratch: &[u8; exeat_common::dns::MESSAGE_BUFFER_BYTES], length: u32) -> MessageBytes<'_> {
    Bytes::new(scratch, length as usize)
}

passes! {
    fn exeat_answer_open(slot, length) |scratch| {
        let Scratch { packet, query, answer, veil, .. } = scratch;
        let message = bytes(&answer.message, length);
        open(packet, transport(packet), &message, &mut query.room, &Maps::new(veil)).raw()
    };
    fn exeat_answer_recognise(slot, length) |scratch| {
        let Scratch { query, answer, veil, .. } = scratch;
        recognise(&bytes(&answer.message, length), &mut query.room, &Maps::new(veil)).raw()
    };
    fn exeat_answer_walk(slot, length) |scratch| {
        let Scratch { query, answer, veil, .. } = scratch;
        walk(&bytes(&answer.message, length), &mut query.room, &Maps::new(veil)).raw()
    };
    fn exeat_answer_follow(slot, length) |scratch| {
        let Scratch { query, answer, veil, .. } = scratch;
        let message = bytes(&answer.message, length);
        follow(&message, &mut query.room, &InScratch { slot, length }, &Maps::new(veil)).raw()
    };
    fn exeat_answer_rename(slot, length) |scratch| {
        let Scratch { query, veil, .. } = scratch;
        rename(&mut query.room, &InScratch { slot, length }, &Maps::new(veil)).raw()
    };
    fn exeat_answer_hints(slot, length, service) |scratch| {
        let Scratch { query, answer, veil, .. } = scratch;
        let message = bytes(&answer.message, length);
        let names = InScratch { slot, length };
        hints(&message, &mut query.room, service as usize, &names, &Maps::new(veil)).raw()
    };
    fn exeat_answer_learn(slot, length, address) |scratch| {
        let Scratch { query, answer, veil, .. } = scratch;
        let message = bytes(&answer.message, length);
        learn(&message, &query.room, address as usize, &Maps::new(veil));
        0
    };
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn exeat_compare_names(slot: u32, length: u32, first: u32, second: u32) -> u32 {
    let Some((message, veil)) = load::shared_message(slot) else {
        return Comparison::INVALID.raw();
    };
    let message = bytes(message, length);
    compare(&message, first as usize, second as usize, &Maps::new(veil)).raw()
}

#[unsafe(no_mangle)]
#[inline(never)]
#[expect(clippy::cast_possible_truncation, reason = "offsets in a message are below 2^13")]
extern "C" fn exeat_end_of_name(slot: u32, length: u32, name: u32) -> u32 {
    let Some((message, veil)) = load::shared_message(slot) else {
        return 0;
    };
    let message = bytes(message, length);
    end(&message, name as usize, &Maps::new(veil)) as u32
}

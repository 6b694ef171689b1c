//! Questions over TCP: a segment may hold one, several, or a part of one.

use aya_ebpf::programs::TcContext;
use exeat_common::{
    abi::Workload,
    bytes::{Bytes, Veil as _},
    dns::{
        Asked, Transport, ask,
        stream::{self, LENGTH_BYTES, Piece, Segment, is_length, proceed},
    },
    limits::SEGMENT_QUESTIONS,
    reason::{Reason, Verdict},
};

use crate::{
    dns::{count, drop_message, note_refusal},
    load::{self, Scratch},
    refuse,
    tables::Maps,
    wire::Fate,
};

/// What becomes of a segment.
enum Outcome {
    /// It goes through, and the stream goes on.
    Through,
    /// It is dropped, because it is not whole or not at its place. Its sender will send it again,
    /// so this is nothing to report.
    Again,
    Dropped(Reason),
    /// It is refused, which was counted.
    Refused,
    /// Nothing can come of the connection any more.
    Broken,
}

/// A segment with payload to a trusted resolver.
#[inline(never)]
pub(crate) fn query(ctx: &TcContext, workload: &Workload, scratch: &mut Scratch) -> Fate {
    match judge(ctx, workload, scratch) {
        Outcome::Refused => refuse::both_ends(ctx, workload.id, scratch),
        Outcome::Broken => {
            drop_message(workload, scratch, Reason::DnsMalformed);
            refuse::both_ends(ctx, workload.id, scratch)
        }
        outcome @ (Outcome::Through | Outcome::Again | Outcome::Dropped(_)) => {
            carry_out(workload, scratch, outcome)
        }
    }
}

/// The same where nobody can be told: the client waits until it gives up.
#[inline(never)]
pub(crate) fn query_at_socket(ctx: &TcContext, workload: &Workload, scratch: &mut Scratch) -> Fate {
    let outcome = judge(ctx, workload, scratch);
    carry_out(workload, scratch, outcome)
}

#[inline(always)]
fn judge(ctx: &TcContext, workload: &Workload, scratch: &mut Scratch) -> Outcome {
    let announced = match locate(ctx, workload, scratch) {
        Piece::Messages => 0,
        Piece::Announced => scratch.stream.announced,
        Piece::Length => return Outcome::Through,
        Piece::Stray => return Outcome::Again,
        Piece::Broken => return Outcome::Broken,
    };
    messages(ctx, workload, scratch, usize::from(announced))
}

/// Lets the segment through or drops it, and tells nobody.
#[inline(always)]
fn carry_out(workload: &Workload, scratch: &mut Scratch, outcome: Outcome) -> Fate {
    match outcome {
        Outcome::Through => {
            let Scratch { packet, stream, segment, veil, .. } = scratch;
            proceed(workload, packet, *segment, stream, &Maps::new(veil));
            Fate::Go
        }
        Outcome::Again => {
            count(workload.id, scratch.facts, Verdict::Deny, Reason::DnsMalformed);
            Fate::Stop
        }
        Outcome::Dropped(reason) => drop_message(workload, scratch, reason),
        Outcome::Refused => Fate::Stop,
        Outcome::Broken => drop_message(workload, scratch, Reason::DnsMalformed),
    }
}

/// Finds the place of the segment in its stream. Both go into the scratch: what the comparisons
/// taught the verifier about them would multiply the paths through the loop over the messages.
#[inline(never)]
fn locate(ctx: &TcContext, workload: &Workload, scratch: &mut Scratch) -> Piece {
    let Scratch { packet, facts, header, segment, stream, veil, .. } = scratch;
    let head = if packet.payload_length < LENGTH_BYTES {
        0
    } else {
        load::load_word(ctx, packet.payload).unwrap_or_default()
    };
    let Some(found) = Segment::read(packet, &Bytes::new(header, facts.length), head) else {
        return Piece::Broken;
    };
    *segment = found;
    let (piece, known) = stream::locate(workload, packet, found, &Maps::new(veil));
    *stream = known;
    piece
}

/// Judges all messages of the segment. The length of the first is `announced`, or stands before it.
#[inline(always)]
fn messages(
    ctx: &TcContext,
    workload: &Workload,
    scratch: &mut Scratch,
    announced: usize,
) -> Outcome {
    let veil = Maps::new(&scratch.veil);
    let mut at = veil.veil(scratch.packet.payload);
    let mut left = veil.veil(scratch.packet.payload_length);
    let mut announced = veil.veil(announced);
    for _ in 0..SEGMENT_QUESTIONS {
        if announced == 0 {
            if left < LENGTH_BYTES {
                return Outcome::Again;
            }
            let Some(length) = load::load_word(ctx, at) else {
                return Outcome::Broken;
            };
            if !is_length(length) {
                return Outcome::Broken;
            }
            announced = usize::from(length);
            at += LENGTH_BYTES;
            left -= LENGTH_BYTES;
        }
        if announced > left {
            return Outcome::Again;
        }
        match message(ctx, workload, scratch, at, announced) {
            Outcome::Through => {}
            stopped @ (Outcome::Again
            | Outcome::Dropped(_)
            | Outcome::Refused
            | Outcome::Broken) => return stopped,
        }
        let veil = Maps::new(&scratch.veil);
        at = veil.veil(at + announced);
        left = veil.veil(left - announced);
        announced = 0;
        if left == 0 {
            return Outcome::Through;
        }
    }
    Outcome::Broken
}

/// Judges one message of `length` bytes at `at` of the frame.
#[inline(never)]
fn message(
    ctx: &TcContext,
    workload: &Workload,
    scratch: &mut Scratch,
    at: usize,
    length: usize,
) -> Outcome {
    if !load::load_message(ctx, at, length, &mut scratch.answer.message) {
        return Outcome::Broken;
    }
    let asked = {
        let Scratch { packet, query, answer, veil, .. } = &mut *scratch;
        let bytes = Bytes::new(&answer.message, length);
        ask(workload, packet, Transport::Tcp, &bytes, &mut query.room.name, &Maps::new(veil))
    };
    match asked {
        // The EDNS size means nothing over TCP.
        Asked::Pass { reason, .. } => {
            count(workload.id, scratch.facts, Verdict::Allow, reason);
            Outcome::Through
        }
        Asked::Refuse(refusal) => {
            note_refusal(workload, scratch, &refusal);
            Outcome::Refused
        }
        // The first is for datagrams only.
        Asked::Tell(_) | Asked::Drop(Reason::DnsMalformed) => Outcome::Broken,
        Asked::Drop(reason) => Outcome::Dropped(reason),
    }
}

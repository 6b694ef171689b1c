//! DNS messages over datagrams: a question is loaded, judged, let through, refused or answered. Beside that what
//! other messages share with them: how they are loaded, counted and dropped.

use aya_ebpf::programs::TcContext;
use exeat_common::{
    abi::Workload,
    bytes::{Bytes, Veil as _},
    dns::{
        Asked, Refusal, Transport, ask,
        message::HEADER,
        stream::{LENGTH_BYTES, accept},
        tell,
    },
    flow::protocol,
    id::WorkloadId,
    limits::{EDNS_BYTES, MESSAGE_BYTES},
    packet::Packet,
    reason::{Layer, Reason, Verdict},
    reply,
};

use crate::{
    count::{self, Tally},
    load::{self, FrameFacts, Scratch},
    tables::Maps,
    wire::Fate,
};

/// Offset of the flags word in a DNS message.
const FLAGS_AT: usize = 2;
/// Offset of the checksum in a UDP header.
const UDP_CHECKSUM_AT: usize = 6;

/// A datagram to a trusted resolver.
#[inline(never)]
pub(crate) fn query(ctx: &TcContext, workload: &Workload, scratch: &mut Scratch) -> Fate {
    match judge(ctx, workload, scratch) {
        Asked::Pass { reason, clamp_at } => {
            count(workload.id, scratch.facts, Verdict::Allow, reason);
            if clamp_at == 0 { Fate::Go } else { clamp(ctx, &scratch.packet, clamp_at) }
        }
        Asked::Refuse(refusal) => {
            note_refusal(workload, scratch, &refusal);
            turn_round(ctx, &scratch.packet, &refusal)
        }
        Asked::Tell(telling) => {
            scratch.telling = telling;
            Fate::Stop
        }
        Asked::Drop(reason) => drop_message(workload, scratch, reason),
    }
}

/// The same where the packet can be neither changed nor answered: a question that is refused is
/// dropped.
#[inline(never)]
pub(crate) fn query_at_socket(ctx: &TcContext, workload: &Workload, scratch: &mut Scratch) -> Fate {
    match judge(ctx, workload, scratch) {
        Asked::Pass { reason, .. } => {
            count(workload.id, scratch.facts, Verdict::Allow, reason);
            Fate::Go
        }
        Asked::Refuse(refusal) => {
            note_refusal(workload, scratch, &refusal);
            Fate::Stop
        }
        // Nobody is told in place where nothing can be answered.
        Asked::Tell(_) => Fate::Stop,
        Asked::Drop(reason) => drop_message(workload, scratch, reason),
    }
}

/// Loads the question and judges it.
#[inline(always)]
fn judge(ctx: &TcContext, workload: &Workload, scratch: &mut Scratch) -> Asked {
    let length = load(ctx, scratch);
    if length == 0 {
        return Asked::Drop(Reason::DnsMalformed);
    }
    let Scratch { packet, query, answer, veil, .. } = scratch;
    let bytes = Bytes::new(&answer.message, length);
    ask(workload, packet, Transport::Udp, &bytes, &mut query.room.name, &Maps::new(veil))
}

/// A trusted resolver accepts a connection.
#[inline(never)]
pub(crate) fn accepted(workload: &Workload, scratch: &Scratch) -> Fate {
    let Scratch { packet, facts, header, veil, .. } = scratch;
    accept(workload, packet, &Bytes::new(header, facts.length), &Maps::new(veil));
    Fate::Go
}

/// Loads the one whole message that the packet carries and returns its length, or 0 if it does not
/// carry one. No `Option`: its payload would be undefined on one path, and the verifier refuses the
/// register that LLVM leaves it in.
#[inline(always)]
pub(crate) fn load(ctx: &TcContext, scratch: &mut Scratch) -> usize {
    let packet = &scratch.packet;
    let message = &mut scratch.answer.message;
    let (offset, length) = if packet.protocol == protocol::TCP {
        // RFC 1035 §4.2.2: a length of two bytes comes first.
        if packet.payload_length <= 2 || !load::load_message(ctx, packet.payload, 2, message) {
            return 0;
        }
        let announced = Bytes::new(message, 2).u16(0).unwrap_or_default();
        if usize::from(announced) != packet.payload_length - 2 {
            return 0;
        }
        (packet.payload + 2, packet.payload_length - 2)
    } else {
        // A datagram that will be segmented below this hook is several messages, of which only
        // the first would be judged.
        if scratch.facts.segmented {
            return 0;
        }
        (packet.payload, packet.payload_length)
    };
    if load::load_message(ctx, offset, length, message) { length } else { 0 }
}

/// Loads what the packet carries of an answer over TCP that is not one whole message: as much as
/// fits, from the header on. Returns its length, or 0 if it cannot begin a message with a question.
#[inline(always)]
pub(crate) fn load_part(ctx: &TcContext, scratch: &mut Scratch) -> usize {
    let Scratch { packet, answer, veil, .. } = scratch;
    if packet.protocol != protocol::TCP || packet.payload_length <= LENGTH_BYTES + HEADER {
        return 0;
    }
    let length = Maps::new(veil).veil(packet.payload_length - LENGTH_BYTES);
    let length = if length > MESSAGE_BYTES { MESSAGE_BYTES } else { length };
    if load::load_message(ctx, packet.payload + LENGTH_BYTES, length, &mut answer.message) {
        length
    } else {
        0
    }
}

/// How the packet in the scratch travels.
#[inline(always)]
pub(crate) fn transport(packet: &Packet) -> Transport {
    if packet.protocol == protocol::TCP { Transport::Tcp } else { Transport::Udp }
}

/// Lowers the EDNS payload size at `at` of the message, so that no answer needs fragments.
#[inline(always)]
fn clamp(ctx: &TcContext, packet: &Packet, at: usize) -> Fate {
    let offset = packet.payload + at;
    let checksum = packet.transport + UDP_CHECKSUM_AT;
    let Some(old) = load::load_word(ctx, offset) else {
        return Fate::Stop;
    };
    if load::replace_word(ctx, checksum, offset, old, EDNS_BYTES) { Fate::Go } else { Fate::Stop }
}

/// Turns a query into its denial: ends swapped, flags replaced. Swapping changes no checksum.
#[inline(always)]
fn turn_round(ctx: &TcContext, packet: &Packet, refusal: &Refusal) -> Fate {
    let checksum = packet.transport + UDP_CHECKSUM_AT;
    let flags_at = packet.payload + FLAGS_AT;
    let done = load::replace_word(ctx, checksum, flags_at, refusal.old_flags, refusal.new_flags)
        && load::swap_ends(ctx, packet);
    if done { Fate::Return } else { Fate::Stop }
}

/// Turns a query into its answer, as the scratch says. The agent gets a copy, as of every answer that
/// gives a name addresses.
#[inline(never)]
pub(crate) fn answer_here(ctx: &TcContext, workload: WorkloadId, scratch: &mut Scratch) -> Fate {
    count(workload, scratch.facts, Verdict::Allow, Reason::AnsweredHere);
    let length = compose(scratch);
    count::copy_answer(scratch, workload, scratch.telling.pattern, length);
    let Scratch { packet, reply, answer, .. } = scratch;
    let done =
        length != 0 && load::replace_by_datagram(ctx, packet, reply, &answer.message, length);
    if done { Fate::Return } else { Fate::Stop }
}

/// Writes the answer and the headers before it; returns its length, or 0 if that fails.
#[inline(never)]
fn compose(scratch: &mut Scratch) -> usize {
    let Scratch { packet, header, reply, facts, telling, answer, veil, .. } = scratch;
    let maps = Maps::new(veil);
    let length = tell(telling, &mut answer.message, &maps);
    let message = Bytes::new(&answer.message, length);
    let header = Bytes::new(header, facts.length);
    if reply::answer(packet, &header, &message, &maps, reply) { length } else { 0 }
}

#[inline(always)]
pub(crate) fn count(workload: WorkloadId, facts: FrameFacts, verdict: Verdict, reason: Reason) {
    let tally = Tally { flows: 1, bytes: facts.length as u64 };
    count::count(workload, Layer::Dns, verdict, reason, tally);
}

/// Counts and reports a question that was refused. Its name is still in the scratch.
#[inline(always)]
pub(crate) fn note_refusal(workload: &Workload, scratch: &mut Scratch, refusal: &Refusal) {
    count(workload.id, scratch.facts, Verdict::Deny, refusal.reason);
    count::report_refusal(scratch, workload.id, refusal);
}

/// Drops a message: counted here, and reported by whoever called for it to be judged.
#[inline(always)]
pub(crate) fn drop_message(workload: &Workload, scratch: &mut Scratch, reason: Reason) -> Fate {
    count(workload.id, scratch.facts, Verdict::Deny, reason);
    scratch.dropped = reason as u8;
    Fate::Stop
}

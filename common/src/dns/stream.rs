//! A TCP connection to a resolver: which bytes may follow which, so that what the resolver puts
//! together is what was judged.
//!
//! Each message is judged when all of it is in one segment. That is not enough by itself: whoever
//! writes segments by hand can let them overlap, so that a resolver takes the head of one granted
//! question and the tail of another, and reads a third. So pieces go through edge to edge only.
//! Each begins where the last one ended, and a piece that is sent again takes up the very same
//! room. What does not fit is dropped: an honest sender sends it again, in one piece with what
//! stood before or behind it.
//!
//! A length that is sent ahead of its message goes through alone. Clients do that, and with
//! Nagle's algorithm they wait for it to be acknowledged (RFC 9293 §3.7.4).

use super::message::HEADER;
use crate::{
    abi::{FlowKey, StreamValue, Workload, stream_part},
    cgroup::asked_at,
    limits::MESSAGE_BYTES,
    memory::Memory,
    packet::{HeaderBytes, Packet, tcp_flag},
    wire::{inbound_key, outbound_key},
};

/// Bytes of the length before each message (RFC 1035 §4.2.2).
pub const LENGTH_BYTES: usize = 2;

/// What a segment with payload is to the stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Piece {
    /// Messages to judge, each behind its length.
    Messages,
    /// The same, but the length of the first one went ahead: it is [`StreamValue::announced`]. Not a
    /// payload: where that is undefined, LLVM spills a register which the verifiers of older kernels
    /// (6.1 does) refuse to read.
    Announced,
    /// A length alone, which goes through.
    Length,
    /// Not at its place, or not whole: to be dropped, it will come again.
    Stray,
    /// Nothing that could become a question: the connection is of no use.
    Broken,
}

/// Where a segment stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Segment {
    /// Of its first byte of payload.
    pub sequence: u32,
    /// Bytes of payload, at least 1.
    pub length: usize,
    /// The first two bytes of the payload; 0 if there is only one.
    pub head: u16,
}

impl Segment {
    /// The segment that begins with `header` and has `head` at the start of its payload.
    #[inline(always)]
    pub fn read(packet: &Packet, header: &HeaderBytes<'_>, head: u16) -> Option<Self> {
        let number = header.u32(packet.transport + SEQUENCE_AT)?;
        // A SYN takes up a number of its own (RFC 9293 §3.4).
        let syn = u32::from(packet.detail & tcp_flag::SYN != 0);
        Some(Self { sequence: number.wrapping_add(syn), length: packet.payload_length, head })
    }
}

/// Where the sequence number stands in a TCP header (RFC 9293 §3.1).
const SEQUENCE_AT: usize = 4;
/// As above, the number that is expected next.
const ACKNOWLEDGED_AT: usize = 8;

/// Notes that a resolver accepted a connection: the number it expects next is where the stream
/// begins. Not the SYN of the pod, which could be forged in the middle of a connection.
#[inline(always)]
pub fn accept<M: Memory>(
    workload: &Workload,
    packet: &Packet,
    header: &HeaderBytes<'_>,
    memory: &M,
) {
    let Some(acknowledged) = header.u32(packet.transport + ACKNOWLEDGED_AT) else {
        return;
    };
    let key = known_as(workload, inbound_key(workload.id, packet));
    if memory.stream(&key).is_some_and(|known| known.first == acknowledged) {
        // The same handshake, repeated.
        return;
    }
    memory.set_stream(&key, &begin(acknowledged));
}

/// What a segment of `workload` to a resolver is, and the stream that it belongs to. Where no
/// handshake was seen the connection is broken, so that the client begins a new one. So it is with
/// urgent data, which the resolver would take out of the stream (RFC 9293 §3.8.5).
#[inline(always)]
pub fn locate<M: Memory>(
    workload: &Workload,
    packet: &Packet,
    segment: Segment,
    memory: &M,
) -> (Piece, StreamValue) {
    if packet.opens() && packet.detail & tcp_flag::URG == 0 {
        // Data beside a SYN (RFC 7413): all of it or nothing.
        let stream = begin(segment.sequence);
        let piece = match place(&stream, segment) {
            Piece::Length => Piece::Stray,
            piece @ (Piece::Messages | Piece::Announced | Piece::Stray | Piece::Broken) => piece,
        };
        return (piece, stream);
    }
    match memory.stream(&known_as(workload, outbound_key(workload.id, packet))) {
        Some(stream) if packet.detail & tcp_flag::URG == 0 => (place(&stream, segment), stream),
        _ => (Piece::Broken, begin(segment.sequence)),
    }
}

/// Notes that a piece went through. Data beside a SYN is noted by [`accept`], as far as the
/// resolver took it.
#[inline(always)]
pub fn proceed<M: Memory>(
    workload: &Workload,
    packet: &Packet,
    segment: Segment,
    stream: &StreamValue,
    memory: &M,
) {
    if !packet.opens() && segment.sequence == stream.next {
        let key = known_as(workload, outbound_key(workload.id, packet));
        memory.set_stream(&key, &advance(stream, segment));
    }
}

/// The key of a connection, without the addresses that a query has not either ([`asked_at`]).
#[inline(always)]
fn known_as(workload: &Workload, key: FlowKey) -> FlowKey {
    let (local, remote) = (asked_at(workload, key.local), asked_at(workload, key.remote));
    FlowKey { local, remote, ..key }
}

const fn begin(first: u32) -> StreamValue {
    StreamValue {
        first,
        start: first,
        next: first,
        announced: 0,
        part: stream_part::NOTHING,
        reserved: 0,
    }
}

/// What a segment is to a stream that was let through as far as `stream` says.
#[inline(always)]
pub fn place(stream: &StreamValue, segment: Segment) -> Piece {
    let Segment { sequence, length, head } = segment;
    let announced = usize::from(stream.announced);
    if sequence == stream.next {
        return if stream.part == stream_part::LENGTH {
            if length < announced { Piece::Stray } else { Piece::Announced }
        } else if length > LENGTH_BYTES {
            Piece::Messages
        } else if length < LENGTH_BYTES {
            Piece::Stray
        } else if is_length(head) {
            Piece::Length
        } else {
            Piece::Broken
        };
    }
    again(stream, segment)
}

/// What a segment is that does not come next: the last piece once more, or stray.
#[inline(always)]
fn again(stream: &StreamValue, segment: Segment) -> Piece {
    let Segment { sequence, length, head } = segment;
    let room = stream.next.wrapping_sub(stream.start) as usize;
    let behind_start = sequence.wrapping_sub(stream.start) as usize;
    let from_start = behind_start == 0;
    let is_same_length = head == stream.announced;
    match stream.part {
        stream_part::MESSAGES if from_start && length == room => Piece::Messages,
        stream_part::LENGTH | stream_part::JOINED
            if from_start && length == LENGTH_BYTES && is_same_length =>
        {
            Piece::Length
        }
        stream_part::JOINED if from_start && length == room && is_same_length => Piece::Messages,
        stream_part::JOINED if behind_start == LENGTH_BYTES && length + LENGTH_BYTES == room => {
            Piece::Announced
        }
        _ => Piece::Stray,
    }
}

/// The stream after its next piece.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a segment is below 2^17 bytes")]
fn advance(stream: &StreamValue, segment: Segment) -> StreamValue {
    let Segment { sequence, length, head } = segment;
    let next = sequence.wrapping_add(length as u32);
    if stream.part == stream_part::LENGTH {
        StreamValue { next, part: stream_part::JOINED, ..*stream }
    } else if length == LENGTH_BYTES {
        let part = stream_part::LENGTH;
        StreamValue { start: sequence, next, announced: head, part, ..*stream }
    } else {
        let part = stream_part::MESSAGES;
        StreamValue { start: sequence, next, announced: 0, part, ..*stream }
    }
}

/// Whether a question can be so long.
#[inline(always)]
pub const fn is_length(announced: u16) -> bool {
    let announced = announced as usize;
    announced >= HEADER && announced <= MESSAGE_BYTES
}

//! What a sender is told in place of who it sent to, as headers: that a packet was denied, by a TCP
//! reset or an ICMP error, or the answer to its question.
//!
//! The reply comes from the address that was denied: the node may have none that the sender could
//! route to, and every sender has a route to where it sends. All sums are taken over words as they
//! lie in memory, which is the same sum whatever the order of bytes (RFC 1071 §2(B)).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    address::Address,
    bytes::Veil,
    dns::{MessageBytes, TOLD_BYTES},
    flow::protocol,
    limits::QUOTE_BYTES,
    packet::{ETHERNET_BYTES, HeaderBytes, Packet, icmp_type, tcp_flag},
};

/// The frame of a reply but for the bytes it quotes. It has one of the two IP headers; each word is
/// in network order.
#[derive(
    Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
#[repr(C)]
pub struct Reply {
    pub v6: V6Header,
    pub v4: V4Header,
    pub link: LinkHeader,
    /// A TCP header, or an ICMP header in the first four words.
    pub transport: [u16; 10],
    pub reserved: u16,
    /// Bytes of the denied packet that follow, from its IP header on: 0 to [`QUOTE_BYTES`].
    pub quote: u32,
}

/// Ethernet.
#[derive(
    Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
#[repr(C)]
pub struct LinkHeader {
    pub destination: [u16; 3],
    pub source: [u16; 3],
    pub kind: u16,
}

/// RFC 791 §3.1, without options.
#[derive(
    Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
#[repr(C)]
pub struct V4Header {
    pub first: [u16; 6],
    pub source: u32,
    pub destination: u32,
}

/// RFC 8200 §3.
#[derive(
    Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
#[repr(C)]
pub struct V6Header {
    pub first: [u16; 4],
    pub source: Address,
    pub destination: Address,
}

const _: () = assert!(size_of::<V4Header>() == 20 && size_of::<V6Header>() == 40);

pub const TCP_BYTES: usize = 20;
pub const ICMP_BYTES: usize = 8;
pub const UDP_BYTES: usize = 8;

/// TTL or hop limit of a reply (RFC 1700, "recommended default").
const HOPS: u8 = 64;
/// IPv4 without options, all service fields zero.
const VERSION_4: u16 = 0x4500;
const VERSION_6: u16 = 0x6000;
/// Don't fragment. The identification may then be zero (RFC 6864 §4.1).
const WHOLE: u16 = 0x4000;
/// Data offset of a TCP header without options.
const FIVE_WORDS: u16 = 5 << 12;
/// Destination unreachable, communication administratively prohibited (RFC 1812 §5.2.7.1: type 3,
/// code 13).
const V4_PROHIBITED: u16 = 0x030d;
/// The same for IPv6 (RFC 4443 §3.1: type 1, code 1).
const V6_PROHIBITED: u16 = 0x0101;

/// Whether the sender of a denied packet may be told: never in answer to a reset (RFC 9293
/// §3.10.7.1) or an ICMP error, nor to what was sent to or from many (RFC 1122 §3.2.2, RFC 4443
/// §2.4(e)). Of ICMP only echo requests are answered: whoever sends those waits.
#[inline(always)]
pub fn is_due(packet: &Packet, header: &HeaderBytes<'_>) -> bool {
    let first = header.u8(0).unwrap_or(GROUP);
    // ARP knows no errors.
    if packet.arp {
        return false;
    }
    if first & GROUP != 0 || !packet.source.is_one_host() || !packet.destination.is_one_host() {
        return false;
    }
    match packet.protocol {
        protocol::TCP => packet.detail & tcp_flag::RST == 0,
        protocol::ICMP => packet.detail == icmp_type::ECHO,
        protocol::ICMPV6 => packet.detail == icmp_type::V6_ECHO,
        _ => true,
    }
}

/// Bit of the first byte of a hardware address that stands for many (IEEE 802 §8.2).
const GROUP: u8 = 1;

/// Writes the reply to the sender of `packet`, whose bytes `header` holds. False if they do not.
#[inline(always)]
pub fn refuse<V: Veil>(
    packet: &Packet,
    header: &HeaderBytes<'_>,
    veil: &V,
    reply: &mut Reply,
) -> bool {
    let link = write_link(header, true, reply);
    let way = Way { from: packet.destination, to: packet.source };
    link && if packet.protocol == protocol::TCP {
        reset_sender(packet, way, header, reply)
    } else {
        prohibit(packet, way, header, veil, reply)
    }
}

/// Writes the headers before a datagram that answers `packet`: `message`, which the frame gets as
/// well. False if the bytes of the packet are not there.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a told message is below 2^10 bytes")]
pub fn answer<V: Veil>(
    packet: &Packet,
    header: &HeaderBytes<'_>,
    message: &MessageBytes<'_>,
    veil: &V,
    reply: &mut Reply,
) -> bool {
    let way = Way { from: packet.destination, to: packet.source };
    let length = UDP_BYTES + message.length();
    let ends = [packet.destination_port, packet.source_port, length as u16].map(u16::to_be);
    let total = pseudo(way, protocol::UDP, length)
        + sum(&ends)
        + sum_told(message, veil.veil(message.length()));
    let checksum = match fold(total) {
        // Zero is no checksum (RFC 768).
        0 => u16::MAX,
        other => other,
    };
    let [from, to, length_word] = ends;
    reply.transport = [from, to, length_word, checksum, 0, 0, 0, 0, 0, 0];
    write_network(way, protocol::UDP, length, reply);
    write_link(header, true, reply)
}

/// Sum of a message of up to [`TOLD_BYTES`] bytes, behind which there are zeros.
#[inline(always)]
fn sum_told(message: &MessageBytes<'_>, length: usize) -> u64 {
    let mut total = 0;
    for at in (0..TOLD_BYTES).step_by(4) {
        if at >= length {
            break;
        }
        total += u64::from(u32::from_ne_bytes(message.residue(at)));
    }
    total
}

/// Writes the reset that tells the receiver of `packet` that its sender is cut off. Of the packet
/// only ends and sequence number go on (RFC 9293 §3.10.7.4: that is what the receiver looks at).
#[inline(always)]
pub fn abort(packet: &Packet, header: &HeaderBytes<'_>, reply: &mut Reply) -> bool {
    let Some(sequence) = header.u32(packet.transport + SEQUENCE_AT) else {
        return false;
    };
    let way = Way { from: packet.source, to: packet.destination };
    let segment = Segment {
        from: packet.source_port,
        to: packet.destination_port,
        sequence,
        acknowledged: 0,
        flags: tcp_flag::RST,
    };
    let link = write_link(header, false, reply);
    write_reset(way, &segment, reply);
    link
}

const SEQUENCE_AT: usize = 4;
const ACKNOWLEDGED_AT: usize = 8;

#[derive(Clone, Copy)]
struct Way {
    from: Address,
    to: Address,
}

/// The fields of a reset that differ; ports and numbers in host order.
struct Segment {
    from: u16,
    to: u16,
    sequence: u32,
    acknowledged: u32,
    flags: u8,
}

/// What a host without such a connection answers (RFC 9293 §3.10.7.1): to the sender nobody is
/// there.
#[inline(always)]
fn reset_sender(packet: &Packet, way: Way, header: &HeaderBytes<'_>, reply: &mut Reply) -> bool {
    let sequence = header.u32(packet.transport + SEQUENCE_AT);
    let acknowledged = header.u32(packet.transport + ACKNOWLEDGED_AT);
    let (Some(sequence), Some(acknowledged)) = (sequence, acknowledged) else {
        return false;
    };
    let has_ack = packet.detail & tcp_flag::ACK != 0;
    let segment = Segment {
        from: packet.destination_port,
        to: packet.source_port,
        sequence: if has_ack { acknowledged } else { 0 },
        acknowledged: if has_ack { 0 } else { sequence.wrapping_add(segment_length(packet)) },
        flags: if has_ack { tcp_flag::RST } else { tcp_flag::RST | tcp_flag::ACK },
    };
    write_reset(way, &segment, reply);
    true
}

/// Numbers that a segment takes up (RFC 9293 §3.4): its bytes, and one for SYN and FIN each.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a payload is below 2^17 bytes")]
fn segment_length(packet: &Packet) -> u32 {
    let syn = u32::from(packet.detail & tcp_flag::SYN != 0);
    let fin = u32::from(packet.detail & tcp_flag::FIN != 0);
    packet.payload_length as u32 + syn + fin
}

#[inline(always)]
fn write_reset(way: Way, segment: &Segment, reply: &mut Reply) {
    let Segment { from, to, sequence, acknowledged, flags } = *segment;
    let [high, low] = halves(sequence);
    let [high_acknowledged, low_acknowledged] = halves(acknowledged);
    let flags = FIVE_WORDS | u16::from(flags);
    reply.transport =
        [from, to, high, low, high_acknowledged, low_acknowledged, flags, 0, 0, 0].map(u16::to_be);
    let sum = pseudo(way, protocol::TCP, TCP_BYTES) + sum(&reply.transport);
    reply.transport[8] = fold(sum);
    reply.quote = 0;
    write_network(way, protocol::TCP, TCP_BYTES, reply);
}

/// An ICMP error which quotes the packet from its IP header on (RFC 792, RFC 4443 §3.1). A quote
/// of whole words is shorter by three bytes at most, and its sum needs no case of its own.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a quote is at most QUOTE_BYTES long")]
fn prohibit<V: Veil>(
    packet: &Packet,
    way: Way,
    header: &HeaderBytes<'_>,
    veil: &V,
    reply: &mut Reply,
) -> bool {
    let whole = packet.payload + packet.payload_length - ETHERNET_BYTES;
    let quote = veil.veil((if whole > QUOTE_BYTES { QUOTE_BYTES } else { whole }) & !3);
    let Some(quoted) = sum_quote(header, veil.veil(quote)) else {
        return false;
    };
    if quote > QUOTE_BYTES {
        return false;
    }
    let is_v4 = way.from.is_v4();
    let length = ICMP_BYTES + quote;
    let (kind, number, ends) = if is_v4 {
        (V4_PROHIBITED, protocol::ICMP, 0)
    } else {
        (V6_PROHIBITED, protocol::ICMPV6, pseudo(way, protocol::ICMPV6, length))
    };
    let kind = kind.to_be();
    reply.transport[0] = kind;
    reply.transport[1] = fold(u64::from(kind) + quoted + ends);
    reply.transport[2] = 0;
    reply.transport[3] = 0;
    reply.quote = quote as u32;
    write_network(way, number, length, reply);
    true
}

/// Sum of the first `length` bytes of the packet, a multiple of four.
#[inline(always)]
fn sum_quote(header: &HeaderBytes<'_>, length: usize) -> Option<u64> {
    let mut total = 0;
    for at in (0..QUOTE_BYTES).step_by(4) {
        if at >= length {
            break;
        }
        total += u64::from(header.u32(ETHERNET_BYTES + at)?.to_be());
    }
    Some(total)
}

/// The hardware addresses of the packet, turned round or as they are.
#[inline(always)]
fn write_link(header: &HeaderBytes<'_>, turned: bool, reply: &mut Reply) -> bool {
    let ends = (hardware_address(header, 0), hardware_address(header, 6), header.u16(12));
    let (Some(to), Some(from), Some(kind)) = ends else {
        return false;
    };
    let (destination, source) = if turned { (from, to) } else { (to, from) };
    reply.link = LinkHeader { destination, source, kind: kind.to_be() };
    true
}

#[inline(always)]
fn hardware_address(header: &HeaderBytes<'_>, at: usize) -> Option<[u16; 3]> {
    let words = [header.u16(at)?, header.u16(at + 2)?, header.u16(at + 4)?];
    Some(words.map(u16::to_be))
}

/// An IP header before `length` bytes.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a reply is below 300 bytes")]
fn write_network(way: Way, number: u8, length: usize, reply: &mut Reply) {
    let (number, hops) = (u16::from(number), u16::from(HOPS));
    if way.from.is_v4() {
        let total = (size_of::<V4Header>() + length) as u16;
        let mut first = [VERSION_4, total, 0, WHOLE, hops << 8 | number, 0].map(u16::to_be);
        let [.., source] = way.from.words();
        let [.., destination] = way.to.words();
        first[5] = fold(sum(&first) + u64::from(source) + u64::from(destination));
        reply.v4 = V4Header { first, source, destination };
    } else {
        let first = [VERSION_6, 0, length as u16, number << 8 | hops].map(u16::to_be);
        reply.v6 = V6Header { first, source: way.from, destination: way.to };
    }
}

/// Sum of the pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1). The words that an IPv4 address has
/// before it in its 16 bytes are all ones together, which adds nothing to such a sum.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a reply is below 300 bytes")]
fn pseudo(way: Way, number: u8, length: usize) -> u64 {
    let ends = way.from.words().into_iter().chain(way.to.words());
    let rest = u32::from(number) + length as u32;
    ends.map(u64::from).sum::<u64>() + u64::from(rest.to_be())
}

#[inline(always)]
fn sum(words: &[u16]) -> u64 {
    words.iter().map(|word| u64::from(*word)).sum()
}

/// The checksum of what has this sum (RFC 1071).
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the carries were added")]
fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

#[inline(always)]
const fn halves(number: u32) -> [u16; 2] {
    [(number >> 16) as u16, (number & 0xffff) as u16]
}

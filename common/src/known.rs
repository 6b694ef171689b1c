//! Packets of known flows, let pass after one look: at the fixed places of plain headers, and at the flow.
//!
//! It is a short cut and no judgement: what goes through here would pass the whole judgement
//! ([`leave`](crate::wire::leave), [`arrive`](crate::wire::arrive)) for the same reason, and nothing would be
//! written. Everything unusual says nothing here: options, extension headers, fragments, segments that open or end a
//! connection, what may be for a resolver, flows that were judged under older rules or have a new time to be noted.

use crate::{
    abi::{FlowKey, FlowValue, Workload, direction, workload_flag},
    address::Address,
    flow::protocol,
    memory::Memory,
    packet::{ETHERNET_BYTES, ethertype, tcp_flag},
    reason::Reason,
    wire::is_own,
};

/// Bytes of a frame that are looked at: Ethernet, IP and TCP without options.
pub const V4_BYTES: usize = ETHERNET_BYTES + V4_HEADER + TCP_HEADER;
pub const V6_BYTES: usize = ETHERNET_BYTES + V6_HEADER + TCP_HEADER;

const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
/// The bit of an IPv4 packet that may not be cut. Every other one of that word is about fragments, or reserved.
const DO_NOT_FRAGMENT: u16 = 0x4000;

/// The first `N` bytes of a frame: [`V4_BYTES`] or [`V6_BYTES`]. Offsets are known when this is compiled, so that
/// nothing has to be checked when it runs.
pub trait Head<const N: usize> {
    fn byte<const AT: usize>(&self) -> u8;
    /// Two bytes, the first one high.
    fn half<const AT: usize>(&self) -> u16;
    /// Four bytes as they lie there.
    fn word<const AT: usize>(&self) -> u32;
}

/// A TCP or UDP packet of which there is nothing else to know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Plain {
    source: Address,
    destination: Address,
    source_port: u16,
    destination_port: u16,
    protocol: u8,
}

/// The packet in a frame of `frame_length` bytes; none if it is not one of IPv4, or not plain.
#[inline(always)]
pub fn read_v4<H: Head<V4_BYTES>>(head: &H, frame_length: usize) -> Option<Plain> {
    const AT: usize = ETHERNET_BYTES;
    const TRANSPORT: usize = AT + V4_HEADER;
    let total = usize::from(head.half::<{ AT + 2 }>());
    if head.half::<{ AT - 2 }>() != ethertype::IPV4
        || head.byte::<AT>() != 0x45
        || AT + total > frame_length
        || head.half::<{ AT + 6 }>() & !DO_NOT_FRAGMENT != 0
    {
        return None;
    }
    let protocol = head.byte::<{ AT + 9 }>();
    let goes_on = match protocol {
        protocol::TCP => goes_on(head.half::<{ TRANSPORT + 12 }>(), V4_HEADER, total),
        protocol::UDP => holds(head.half::<{ TRANSPORT + 4 }>(), V4_HEADER, total),
        _ => false,
    };
    goes_on.then(|| Plain {
        source: Address::from_v4_word(head.word::<{ AT + 12 }>()),
        destination: Address::from_v4_word(head.word::<{ AT + 16 }>()),
        source_port: head.half::<TRANSPORT>(),
        destination_port: head.half::<{ TRANSPORT + 2 }>(),
        protocol,
    })
}

/// The same for IPv6.
#[inline(always)]
pub fn read_v6<H: Head<V6_BYTES>>(head: &H, frame_length: usize) -> Option<Plain> {
    const AT: usize = ETHERNET_BYTES;
    const TRANSPORT: usize = AT + V6_HEADER;
    let payload = usize::from(head.half::<{ AT + 4 }>());
    if head.half::<{ AT - 2 }>() != ethertype::IPV6
        || head.byte::<AT>() >> 4 != 6
        || TRANSPORT + payload > frame_length
    {
        return None;
    }
    let protocol = head.byte::<{ AT + 6 }>();
    let goes_on = match protocol {
        protocol::TCP => goes_on(head.half::<{ TRANSPORT + 12 }>(), 0, payload),
        protocol::UDP => holds(head.half::<{ TRANSPORT + 4 }>(), 0, payload),
        _ => false,
    };
    let source = Address::from_words([
        head.word::<{ AT + 8 }>(),
        head.word::<{ AT + 12 }>(),
        head.word::<{ AT + 16 }>(),
        head.word::<{ AT + 20 }>(),
    ]);
    let destination = Address::from_words([
        head.word::<{ AT + 24 }>(),
        head.word::<{ AT + 28 }>(),
        head.word::<{ AT + 32 }>(),
        head.word::<{ AT + 36 }>(),
    ]);
    // Such an address would pass for one of IPv4.
    if !goes_on || source.is_v4() || destination.is_v4() {
        return None;
    }
    Some(Plain {
        source,
        destination,
        source_port: head.half::<TRANSPORT>(),
        destination_port: head.half::<{ TRANSPORT + 2 }>(),
        protocol,
    })
}

/// Whether a TCP segment neither opens nor ends anything, and its header lies within the packet. `word` is the one
/// with offset and flags, `at` the place of the segment in a packet that ends at `end`.
#[inline(always)]
fn goes_on(word: u16, at: usize, end: usize) -> bool {
    const TURNS: u16 = (tcp_flag::SYN | tcp_flag::FIN | tcp_flag::RST) as u16;
    let header = usize::from(word >> 12) * 4;
    word & TURNS == 0 && header >= TCP_HEADER && at + header <= end
}

/// Whether a datagram of this length lies within the packet, likewise.
#[inline(always)]
fn holds(length: u16, at: usize, end: usize) -> bool {
    let length = usize::from(length);
    length >= UDP_HEADER && at + length <= end
}

/// Why a packet of the pod passes, if it is one of a known flow.
#[inline(always)]
pub fn leaves<M: Memory>(workload: &Workload, packet: &Plain, memory: &M) -> Option<Reason> {
    if packet.destination.is_loopback() || !is_own(workload, packet.source) {
        return None;
    }
    let local = (packet.source, packet.source_port);
    let remote = (packet.destination, packet.destination_port);
    let flow = known(workload, packet.protocol, local, remote, memory)?;
    match flow.direction {
        direction::INBOUND if flow.generation == memory.generation() => Some(Reason::Inbound),
        direction::OUTBOUND if flow.generation == memory.generation() => Some(Reason::Established),
        _ => None,
    }
}

/// Whether a packet for the pod is one of a known flow.
#[inline(always)]
pub fn arrives<M: Memory>(workload: &Workload, packet: &Plain, memory: &M) -> bool {
    let local = (packet.destination, packet.destination_port);
    let remote = (packet.source, packet.source_port);
    is_own(workload, packet.destination)
        && known(workload, packet.protocol, local, remote, memory)
            .is_some_and(|flow| flow.direction != direction::REVOKED)
}

/// The flow between two ends, of which the far one has no port of a resolver, if it was seen in this second.
#[inline(always)]
fn known<M: Memory>(
    workload: &Workload,
    protocol: u8,
    local: (Address, u16),
    remote: (Address, u16),
    memory: &M,
) -> Option<FlowValue> {
    if workload.flags & workload_flag::EXEMPT != 0 || memory.may_be_resolver(remote.1) {
        return None;
    }
    let flow = memory.flow(&FlowKey::new(workload.id, protocol, local, remote))?;
    (flow.last_seen == memory.now()).then_some(flow)
}

//! One frame in the place of another: its length, its bytes, and a copy that goes to the pod.

use aya_ebpf::{
    bindings::bpf_adj_room_mode::BPF_ADJ_ROOM_MAC,
    helpers::{bpf_clone_redirect, bpf_skb_adjust_room, bpf_skb_change_tail, bpf_skb_store_bytes},
    programs::TcContext,
};
use exeat_common::{
    dns::{MESSAGE_BUFFER_BYTES, TOLD_BYTES},
    flow::protocol,
    limits::{HEADER_BYTES, QUOTE_BYTES},
    packet::{ETHERNET_BYTES, HEADER_BUFFER_BYTES, Packet},
    reply::{ICMP_BYTES, Reply, TCP_BYTES, UDP_BYTES, V4Header, V6Header},
};
use zerocopy::IntoBytes as _;

use super::frame::{frame_facts, from_one};

/// Bytes within which a frame that is replied to has its checksum.
const MARGIN_BYTES: usize = HEADER_BYTES;

/// Puts `reply`, with what it quotes of `header`, in the place of the frame that `packet` was read
/// from.
#[inline(always)]
pub(crate) fn replace(
    ctx: &TcContext,
    packet: &Packet,
    reply: &Reply,
    header: &[u8; HEADER_BUFFER_BYTES],
) -> bool {
    let transport = if packet.protocol == protocol::TCP { TCP_BYTES } else { ICMP_BYTES };
    let quote = reply.quote as usize;
    // The verifier refuses a length that may be zero.
    quote <= QUOTE_BYTES
        && begin(ctx, packet, reply, transport, quote)
        && (quote == 0 || store_quote(ctx, tail(packet, transport), header, quote))
}

/// Puts `reply`, and after it `length` bytes of `message`, in the place of the frame that `packet` was
/// read from: a datagram.
#[inline(always)]
pub(crate) fn replace_by_datagram(
    ctx: &TcContext,
    packet: &Packet,
    reply: &Reply,
    message: &[u8; MESSAGE_BUFFER_BYTES],
    length: usize,
) -> bool {
    const MOST: usize = TOLD_BYTES.next_power_of_two();
    length > 0
        && length <= MOST
        && begin(ctx, packet, reply, UDP_BYTES, length)
        && store(ctx, tail(packet, UDP_BYTES), message, from_one::<MOST>(length))
}

/// Makes the frame one of these headers, with room for so many bytes behind them.
#[inline(always)]
fn begin(ctx: &TcContext, packet: &Packet, reply: &Reply, transport: usize, rest: usize) -> bool {
    let network = if packet.source.is_v4() { reply.v4.as_bytes() } else { reply.v6.as_bytes() };
    let end = tail(packet, transport);
    resize(ctx, end + rest)
        && store(ctx, 0, reply.link.as_bytes(), ETHERNET_BYTES)
        && store(ctx, ETHERNET_BYTES, network, network.len())
        && store(ctx, end - transport, reply.transport.as_bytes(), transport)
}

/// Where the headers of a reply end.
#[inline(always)]
fn tail(packet: &Packet, transport: usize) -> usize {
    let network = if packet.source.is_v4() { size_of::<V4Header>() } else { size_of::<V6Header>() };
    ETHERNET_BYTES + network + transport
}

/// Makes the frame `length` bytes long, with no checksum left to the hardware.
///
/// A pod's veth leaves checksums to the hardware: the kernel then keeps where a sum starts and where
/// it is to be written, and whoever sends through a packet socket says so himself (`packet(7)`,
/// `PACKET_VNET_HDR`). In another frame that place is wrong. So the frame is first cut to a margin,
/// which the kernel refuses if the place lies behind it; then as many bytes are put at its end, and
/// the margin is taken out of its front: with the place, the kernel forgets the sum
/// (`skb_postpull_rcsum`). Changing the length also makes one piece of what lies in several.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "lengths are below 2^10"
)]
fn resize(ctx: &TcContext, length: usize) -> bool {
    const MARGIN: u32 = MARGIN_BYTES as u32;
    change_length(ctx, MARGIN) && change_length(ctx, MARGIN + length as u32) && {
        // SAFETY: plain numbers; the kernel checks them against the frame.
        let failed =
            unsafe { bpf_skb_adjust_room(ctx.skb.skb, -(MARGIN as i32), BPF_ADJ_ROOM_MAC, 0) };
        failed == 0
    }
}

#[inline(always)]
fn change_length(ctx: &TcContext, length: u32) -> bool {
    // SAFETY: plain numbers; the kernel checks them against the frame.
    let failed = unsafe { bpf_skb_change_tail(ctx.skb.skb, length, 0) };
    failed == 0
}

/// Overwrites `length` bytes of the frame at `offset`.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "offsets and lengths are below 2^10")]
fn store(ctx: &TcContext, offset: usize, bytes: &[u8], length: usize) -> bool {
    if length > bytes.len() {
        return false;
    }
    // SAFETY: `bytes` has `length` bytes and outlives the call; the kernel checks the offset.
    let failed = unsafe {
        bpf_skb_store_bytes(ctx.skb.skb, offset as u32, bytes.as_ptr().cast(), length as u32, 0)
    };
    failed == 0
}

/// Writes the first bytes of the packet that was read.
#[inline(always)]
fn store_quote(
    ctx: &TcContext,
    offset: usize,
    header: &[u8; HEADER_BUFFER_BYTES],
    quote: usize,
) -> bool {
    match header.get(ETHERNET_BYTES..ETHERNET_BYTES + QUOTE_BYTES) {
        Some(packet) => {
            store(ctx, offset, packet, from_one::<{ QUOTE_BYTES.next_power_of_two() }>(quote))
        }
        None => false,
    }
}

/// Sends a copy of the frame out of the interface it came from: to the pod. The program on that way
/// runs inside this call, over a scratch of its own.
#[inline(always)]
pub(crate) fn copy_to_pod(ctx: &TcContext) -> bool {
    let ifindex = frame_facts(ctx).ifindex;
    // SAFETY: plain numbers; a device that is gone fails the call.
    let failed = unsafe { bpf_clone_redirect(ctx.skb.skb, ifindex, 0) };
    failed == 0
}

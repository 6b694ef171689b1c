//! Frames: what the context says of them, their bytes in and out. At a cgroup they are packets
//! without a link header, which can only be read.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_F_MARK_MANGLED_0, TC_ACT_SHOT},
    helpers::{
        bpf_l4_csum_replace, bpf_redirect_peer, bpf_skb_ancestor_cgroup_id, bpf_skb_load_bytes,
        bpf_skb_store_bytes,
    },
    programs::TcContext,
};
use exeat_common::{
    bytes::kept,
    dns::MESSAGE_BUFFER_BYTES,
    limits::{HEADER_BYTES, MESSAGE_BYTES},
    packet::{ETHERNET_BYTES, HEADER_BUFFER_BYTES, Packet},
};

/// What the context says of a frame. All fields are read here, at once: the verifier refuses a
/// context pointer that was moved by a branch.
#[derive(Clone, Copy)]
pub(crate) struct FrameFacts {
    /// Bytes from the Ethernet header on.
    pub(crate) length: usize,
    pub(crate) ifindex: u32,
    /// Whether a VLAN tag was taken off into the metadata.
    pub(crate) tagged: bool,
    /// Whether the frame will be cut into several packets below this hook.
    pub(crate) segmented: bool,
}

#[inline(always)]
pub(crate) fn frame_facts(ctx: &TcContext) -> FrameFacts {
    let skb = ctx.skb.skb;
    // SAFETY: the context pointer is valid while the program runs; likewise below.
    let length = unsafe { (*skb).len };
    // SAFETY: as above.
    let ifindex = unsafe { (*skb).ifindex };
    // SAFETY: as above.
    let tagged = unsafe { (*skb).vlan_present };
    // SAFETY: as above.
    let segment_size = unsafe { (*skb).gso_size };
    FrameFacts {
        length: length as usize,
        ifindex,
        tagged: tagged != 0,
        segmented: segment_size != 0,
    }
}

/// Id of the cgroup of the socket that sends or receives the packet, at `level` below the cgroup2
/// root; 0 if it is not so deep. For programs at a cgroup alone: elsewhere there may be no socket.
#[inline(always)]
pub(crate) fn ancestor_cgroup_of_socket(ctx: &TcContext, level: u8) -> u64 {
    // SAFETY: a plain number beside the context, which is valid while the program runs.
    unsafe { bpf_skb_ancestor_cgroup_id(ctx.skb.skb, i32::from(level)) }
}

/// Loads the first bytes of the frame; returns how many.
#[inline(always)]
pub(crate) fn load_header(
    ctx: &TcContext,
    frame_length: usize,
    header: &mut [u8; HEADER_BUFFER_BYTES],
) -> Option<usize> {
    // The verifier refuses a length that may be zero: "invalid zero-sized read".
    if frame_length < ETHERNET_BYTES {
        return None;
    }
    let length = frame_length.min(HEADER_BYTES);
    load_bytes(ctx, 0, header.as_mut_ptr(), length).then_some(length)
}

/// Loads `length` bytes of a DNS message at `offset` of the frame.
#[inline(always)]
pub(crate) fn load_message(
    ctx: &TcContext,
    offset: usize,
    length: usize,
    message: &mut [u8; MESSAGE_BUFFER_BYTES],
) -> bool {
    if length == 0 || length > MESSAGE_BYTES {
        return false;
    }
    load_bytes(ctx, offset, message.as_mut_ptr(), from_one::<MESSAGE_BYTES>(length))
}

/// The same length, which is one to `MOST`. Verifiers before Linux 6.8 learn nothing from a comparison
/// with zero, and the compiler makes one of whatever says the same.
#[inline(always)]
pub(super) fn from_one<const MOST: usize>(length: usize) -> usize {
    const { assert!(MOST.is_power_of_two(), "the mask holds every length") };
    ((length - 1) & kept(MOST - 1)) + 1
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "offsets and lengths are below 2^17")]
fn load_bytes(ctx: &TcContext, offset: usize, to: *mut u8, length: usize) -> bool {
    // SAFETY: both callers hand a buffer larger than the bound they put on `length`, and the
    // verifier checks it again.
    let failed =
        unsafe { bpf_skb_load_bytes(ctx.as_ptr(), offset as u32, to.cast(), length as u32) };
    failed == 0
}

/// Overwrites bytes of the frame. Checksums are the caller's.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "offsets are below 2^17, sizes below 64")]
fn store<const N: usize>(ctx: &TcContext, offset: usize, bytes: [u8; N]) -> bool {
    // SAFETY: `bytes` is `N` bytes long and outlives the call; the kernel checks the offset.
    let failed = unsafe {
        bpf_skb_store_bytes(ctx.skb.skb, offset as u32, bytes.as_ptr().cast(), N as u32, 0)
    };
    failed == 0
}

/// Overwrites one word of a UDP payload and mends the checksum. `checksum` and `offset` count from
/// the start of the frame.
///
/// The frame may carry a partial checksum (a pod's veth leaves it to the hardware): the helper
/// then leaves it alone, which a full recalculation would not.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "offsets are below 2^17")]
pub(crate) fn replace_word(
    ctx: &TcContext,
    checksum: usize,
    offset: usize,
    old: u16,
    new: u16,
) -> bool {
    let new_bytes = new.to_be_bytes();
    // The sum runs over words from the UDP header on; a word at an odd offset straddles two of
    // them, which is the same as its bytes being swapped (RFC 1071 §2(B)).
    let (old, new) = if (offset - checksum).is_multiple_of(2) {
        (old.to_be(), new.to_be())
    } else {
        (old.to_be().swap_bytes(), new.to_be().swap_bytes())
    };
    let flags = u64::from(BPF_F_MARK_MANGLED_0) | 2;
    // SAFETY: plain numbers; the kernel checks the offset.
    let failed = unsafe {
        bpf_l4_csum_replace(ctx.skb.skb, checksum as u32, u64::from(old), u64::from(new), flags)
    };
    failed == 0 && store(ctx, offset, new_bytes)
}

/// Reads one big-endian word of the frame.
#[inline(always)]
pub(crate) fn load_word(ctx: &TcContext, offset: usize) -> Option<u16> {
    let mut bytes = [0_u8; 2];
    load_bytes(ctx, offset, bytes.as_mut_ptr(), bytes.len()).then(|| u16::from_be_bytes(bytes))
}

/// Swaps sender and receiver in the Ethernet, IP and UDP headers.
#[inline(always)]
pub(crate) fn swap_ends(ctx: &TcContext, packet: &Packet) -> bool {
    const MAC: usize = 6;
    const V4_SOURCE_AT: usize = ETHERNET_BYTES + 12;
    const V6_SOURCE_AT: usize = ETHERNET_BYTES + 8;
    let mut macs = [0_u8; 2 * MAC];
    if !load_bytes(ctx, 0, macs.as_mut_ptr(), macs.len()) {
        return false;
    }
    macs.rotate_left(MAC);
    let source = packet.source.octets();
    let destination = packet.destination.octets();
    let ends_swapped = if packet.source.is_v4() {
        match (destination.last_chunk::<4>(), source.last_chunk::<4>()) {
            (Some(to), Some(from)) => {
                store(ctx, V4_SOURCE_AT, *to) && store(ctx, V4_SOURCE_AT + to.len(), *from)
            }
            _ => false,
        }
    } else {
        store(ctx, V6_SOURCE_AT, destination) && store(ctx, V6_SOURCE_AT + 16, source)
    };
    let [a, b] = packet.destination_port.to_be_bytes();
    let [c, d] = packet.source_port.to_be_bytes();
    ends_swapped && store(ctx, packet.transport, [a, b, c, d]) && store(ctx, 0, macs)
}

/// Hands the frame to the other end of the veth it came from: the pod.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the helper returns a traffic control action")]
pub(crate) fn return_to_pod(ctx: &TcContext) -> i32 {
    let ifindex = frame_facts(ctx).ifindex;
    // SAFETY: plain numbers; a device that is gone yields TC_ACT_SHOT.
    let action = unsafe { bpf_redirect_peer(ifindex, 0) };
    if action < 0 { TC_ACT_SHOT } else { action as i32 }
}

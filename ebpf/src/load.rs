//! From the context to bytes and back: the only access to packets and socket addresses.

use crate::tables::Word;
use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_F_MARK_MANGLED_0, TC_ACT_SHOT},
    btf_maps::PerCpuArray,
    helpers::{
        bpf_get_current_ancestor_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid,
        bpf_l4_csum_replace, bpf_redirect_peer, bpf_set_retval, bpf_skb_load_bytes,
        bpf_skb_store_bytes,
    },
    macros::btf_map,
    programs::{SockAddrContext, TcContext},
};
use exeat_common::{
    abi::{AnswerHeader, QueryHeader},
    address::Address,
    dns::{MESSAGE_BUFFER_BYTES, Room},
    limits::{HEADER_BYTES, MESSAGE_BYTES},
    packet::{ETHERNET_BYTES, HEADER_BUFFER_BYTES, Packet},
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Per-CPU room for what does not fit the 512-byte stack.
#[repr(C)]
pub(crate) struct Scratch {
    /// What is being judged. It lives here, and the functions that use it are not inlined, so that
    /// no frame of the call chain keeps it in spilled registers.
    pub(crate) packet: Packet,
    pub(crate) facts: FrameFacts,
    /// What [`Maps::veil`](crate::tables::Maps) passes numbers through.
    pub(crate) veil: Word,
    pub(crate) header: [u8; HEADER_BUFFER_BYTES],
    pub(crate) query: QueryArea,
    pub(crate) answer: AnswerArea,
}

/// A name with what belongs to it, and before it the head of the event that reports it.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct QueryArea {
    pub(crate) head: QueryHeader,
    pub(crate) room: Room,
}

/// A DNS message, and before it the head of the event that copies it.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct AnswerArea {
    pub(crate) head: AnswerHeader,
    pub(crate) message: [u8; MESSAGE_BUFFER_BYTES],
}

#[btf_map]
static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// The scratch of this CPU.
#[inline(always)]
pub(crate) fn scratch() -> Option<&'static mut Scratch> {
    let slot = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: the slot belongs to this CPU; the traffic control hooks run with bottom halves
    // disabled and are the only users, so no second run can interrupt this one, and each run
    // calls this once.
    Some(unsafe { &mut *slot })
}

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
    load_bytes(ctx, offset, message.as_mut_ptr(), length)
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
pub(crate) fn store<const N: usize>(ctx: &TcContext, offset: usize, bytes: [u8; N]) -> bool {
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

/// Where a socket call wants to go.
#[derive(Clone, Copy)]
pub(crate) struct Destination {
    pub(crate) address: Address,
    pub(crate) port: u16,
    pub(crate) protocol: u8,
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the port and the protocol are the low bits")]
pub(crate) fn destination4(ctx: &SockAddrContext) -> Destination {
    let raw = ctx.sock_addr;
    // SAFETY: the context pointer is valid while the program runs; likewise below.
    let address = unsafe { (*raw).user_ip4 };
    // SAFETY: as above.
    let port = unsafe { (*raw).user_port };
    // SAFETY: as above.
    let protocol = unsafe { (*raw).protocol };
    Destination {
        address: Address::from_v4(address.to_ne_bytes()),
        port: u16::from_be(port as u16),
        protocol: protocol as u8,
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the port and the protocol are the low bits")]
pub(crate) fn destination6(ctx: &SockAddrContext) -> Destination {
    let raw = ctx.sock_addr;
    // SAFETY: the context pointer is valid while the program runs; likewise below.
    let words = unsafe { (*raw).user_ip6 };
    // SAFETY: as above.
    let port = unsafe { (*raw).user_port };
    // SAFETY: as above.
    let protocol = unsafe { (*raw).protocol };
    Destination {
        address: Address::from_words(words),
        port: u16::from_be(port as u16),
        protocol: protocol as u8,
    }
}

/// The port the socket is bound to, in host order; 0 if it is not.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a port is 16 bits wide")]
pub(crate) fn local_port(ctx: &SockAddrContext) -> u16 {
    // SAFETY: the context pointer is valid while the program runs.
    let anonymous = unsafe { &(*ctx.sock_addr).__bindgen_anon_1 };
    // SAFETY: the union has this one pointer in it, which the kernel fills.
    let socket = unsafe { anonymous.sk };
    if socket.is_null() {
        return 0;
    }
    // SAFETY: just checked; the kernel keeps the socket while its call is judged.
    let port = unsafe { (*socket).src_port };
    port as u16
}

/// Id of the cgroup of the current task at `level` below the cgroup2 root; 0 if it is not so deep.
#[inline(always)]
pub(crate) fn ancestor_cgroup(level: u8) -> u64 {
    // SAFETY: a plain number.
    unsafe { bpf_get_current_ancestor_cgroup_id(i32::from(level)) }
}

/// Whether the kernel has `bpf_set_retval` in socket address hooks (5.18). Set by the loader; the
/// verifier then drops the branch that is not taken.
#[unsafe(no_mangle)]
static CAN_SET_RETVAL: u8 = 0;

/// Makes the call fail with `errno` instead of EPERM, where the kernel can.
#[inline(always)]
pub(crate) fn set_errno(errno: i32) {
    // SAFETY: the loader writes the value before the program exists; volatile keeps the compiler
    // from taking the initial value for the final one.
    let possible = unsafe { core::ptr::read_volatile(&raw const CAN_SET_RETVAL) };
    if possible != 0 {
        // SAFETY: a plain number. If it fails the call still fails, with EPERM.
        let _unchanged = unsafe { bpf_set_retval(-errno) };
    }
}

/// Who makes a socket call.
#[derive(Clone, Copy)]
pub(crate) struct Process {
    /// Thread group id; 0 is unknown.
    pub(crate) pid: u32,
    /// Name of the thread, zero padded.
    pub(crate) command: [u8; 16],
}

impl Process {
    pub(crate) const NONE: Self = Self { pid: 0, command: [0; 16] };
}

/// Whether socket address hooks may ask who calls (6.10). Set by the loader, as above.
#[unsafe(no_mangle)]
static CAN_NAME_PROCESS: u8 = 0;

/// The process that makes the call, where the kernel tells.
#[inline(always)]
pub(crate) fn current_process() -> Process {
    // SAFETY: as for `CAN_SET_RETVAL`.
    if unsafe { core::ptr::read_volatile(&raw const CAN_NAME_PROCESS) } == 0 {
        return Process::NONE;
    }
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    Process { pid, command: bpf_get_current_comm().unwrap_or_default() }
}

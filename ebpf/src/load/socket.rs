//! Socket calls: where they want to go, who makes them, the errno they get. And the socket itself.

use core::{
    mem::offset_of,
    ptr::{self, NonNull},
};

use aya_ebpf::{
    EbpfContext as _,
    bindings::{bpf_sock, bpf_sock_addr},
    helpers::{
        bpf_get_current_ancestor_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid,
        bpf_get_netns_cookie, bpf_set_retval,
    },
    programs::{SockAddrContext, SockContext, TcContext},
};
use exeat_common::{address::Address, redirect::End};

/// A socket, as helpers take it.
#[derive(Clone, Copy)]
pub(crate) struct Socket(NonNull<bpf_sock>);

impl Socket {
    #[inline(always)]
    pub(super) fn new(pointer: *mut bpf_sock) -> Option<Self> {
        NonNull::new(pointer).map(Self)
    }

    #[inline(always)]
    pub(crate) fn pointer(self) -> *mut bpf_sock {
        self.0.as_ptr()
    }
}

/// The socket a call is made on.
#[inline(always)]
pub(crate) fn socket_of_call(ctx: &SockAddrContext) -> Option<Socket> {
    // SAFETY: the context pointer is valid while the program runs.
    let anonymous = unsafe { &(*ctx.sock_addr).__bindgen_anon_1 };
    // SAFETY: the union has this one pointer in it, which the kernel fills.
    Socket::new(unsafe { anonymous.sk })
}

/// The socket a packet was sent by, if it comes straight from one: a veth pair keeps it (kernel 4.19).
#[inline(always)]
pub(crate) fn socket_of_packet(ctx: &TcContext) -> Option<Socket> {
    // SAFETY: the context pointer is valid while the program runs.
    let anonymous = unsafe { &(*ctx.skb.skb).__bindgen_anon_2 };
    // SAFETY: the union has this one pointer in it, which the kernel fills.
    Socket::new(unsafe { anonymous.sk })
}

/// Whether its packets leave by one certain interface.
#[inline(always)]
pub(crate) fn is_bound_to_device(socket: Socket) -> bool {
    // SAFETY: never null; the kernel keeps the socket while its call is judged.
    unsafe { (*socket.pointer()).bound_dev_if != 0 }
}

/// Where a socket call wants to go.
#[derive(Clone, Copy)]
pub(crate) struct Destination {
    pub(crate) address: Address,
    pub(crate) port: u16,
    pub(crate) protocol: u8,
    /// The socket makes its own headers.
    pub(crate) is_raw: bool,
}

const SOCK_RAW: u32 = 3;

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
    // SAFETY: as above.
    let kind = unsafe { (*raw).type_ };
    Destination {
        address: Address::from_v4(address.to_ne_bytes()),
        port: u16::from_be(port as u16),
        protocol: protocol as u8,
        is_raw: kind == SOCK_RAW,
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
    // SAFETY: as above.
    let kind = unsafe { (*raw).type_ };
    Destination {
        address: Address::from_words(words),
        port: u16::from_be(port as u16),
        protocol: protocol as u8,
        is_raw: kind == SOCK_RAW,
    }
}

/// Makes the call go to another end, or, on the way back, seem to come from it.
#[inline(always)]
pub(crate) fn set_destination4(ctx: &SockAddrContext, to: End) {
    let [.., address] = to.address.words();
    set_word(ctx, offset_of!(bpf_sock_addr, user_ip4), address);
    set_word(ctx, offset_of!(bpf_sock_addr, user_port), u32::from(to.port.to_be()));
}

/// The same for an IPv6 socket, which has IPv4 in mapped form.
#[inline(always)]
pub(crate) fn set_destination6(ctx: &SockAddrContext, to: End) {
    let [a, b, c, d] = to.address.words();
    let place = offset_of!(bpf_sock_addr, user_ip6);
    set_word(ctx, place, a);
    set_word(ctx, place + 4, b);
    set_word(ctx, place + 8, c);
    set_word(ctx, place + 12, d);
    set_word(ctx, offset_of!(bpf_sock_addr, user_port), u32::from(to.port.to_be()));
}

/// Writes a word of the context. Volatile: stores that the compiler merged would be refused.
#[inline(always)]
fn set_word(ctx: &SockAddrContext, offset: usize, word: u32) {
    let place = ctx.sock_addr.wrapping_byte_add(offset).cast::<u32>();
    // SAFETY: the context is valid while the program runs, and every offset is that of a word in it which
    // programs at this hook may write.
    unsafe { ptr::write_volatile(place, word) };
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

/// What kind of socket somebody wants.
#[derive(Clone, Copy)]
pub(crate) struct Creation {
    pub(crate) kind: u32,
    pub(crate) protocol: u32,
}

#[inline(always)]
pub(crate) fn creation(ctx: &SockContext) -> Creation {
    // SAFETY: the context pointer is valid while the program runs; likewise below.
    let kind = unsafe { (*ctx.sock).type_ };
    // SAFETY: as above.
    let protocol = unsafe { (*ctx.sock).protocol };
    Creation { kind, protocol }
}

/// Cookie of the network namespace in which a socket is being made.
#[inline(always)]
pub(crate) fn netns_of_socket(ctx: &SockContext) -> u64 {
    // SAFETY: the context pointer is valid while the program runs.
    unsafe { bpf_get_netns_cookie(ctx.as_ptr()) }
}

/// Cookie of the network namespace of the socket whose call is judged.
#[inline(always)]
pub(crate) fn netns_of_address(ctx: &SockAddrContext) -> u64 {
    // SAFETY: as above.
    unsafe { bpf_get_netns_cookie(ctx.as_ptr()) }
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

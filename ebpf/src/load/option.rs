//! Questions for a socket option: which one is asked, of which socket, and the answer.

use core::{mem::offset_of, ptr};

use aya_ebpf::{bindings::bpf_sockopt, programs::SockoptContext};
use exeat_common::abi::Dialled;

use super::Socket;

/// Whether `getsockopt` hooks may ask for the cgroup of the task (6.1). Set by the loader; the verifier
/// then drops the branch that is not taken.
#[unsafe(no_mangle)]
static CAN_ASK_CGROUP: u8 = 0;

/// Whether it can be told who asks.
#[inline(always)]
pub(crate) fn can_ask_cgroup() -> bool {
    // SAFETY: the loader writes the value before the program exists; volatile keeps the compiler
    // from taking the initial value for the final one.
    unsafe { ptr::read_volatile(&raw const CAN_ASK_CGROUP) != 0 }
}

/// What is asked.
#[derive(Clone, Copy)]
pub(crate) enum Question {
    /// `SO_ORIGINAL_DST` of `linux/netfilter_ipv4.h`.
    OriginalV4(Socket),
    /// `IP6T_SO_ORIGINAL_DST` of `linux/netfilter_ipv6/ip6_tables.h`.
    OriginalV6(Socket),
    Other,
}

const SOL_IP: i32 = 0;
const SOL_IPV6: i32 = 41;
const ORIGINAL_DST: i32 = 80;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// `struct sockaddr_in` of `linux/in.h`.
#[repr(C)]
struct SocketAddressV4 {
    family: u16,
    port: u16,
    address: u32,
    zero: [u32; 2],
}

/// `struct sockaddr_in6` of `linux/in6.h`.
#[repr(C)]
struct SocketAddressV6 {
    family: u16,
    port: u16,
    flow: u32,
    address: [u32; 4],
    scope: u32,
}

#[inline(always)]
pub(crate) fn question(ctx: &SockoptContext) -> Question {
    // SAFETY: the context pointer is valid while the program runs; likewise below.
    let name = unsafe { (*ctx.sockopt).optname };
    // Every question for any option comes here: away with the others.
    if name != ORIGINAL_DST {
        return Question::Other;
    }
    // SAFETY: as above.
    let level = unsafe { (*ctx.sockopt).level };
    // SAFETY: as above.
    let anonymous = unsafe { &(*ctx.sockopt).__bindgen_anon_1 };
    // SAFETY: the union has this one pointer in it, which the kernel fills.
    let Some(socket) = Socket::new(unsafe { anonymous.sk }) else {
        return Question::Other;
    };
    match level {
        SOL_IP => Question::OriginalV4(socket),
        SOL_IPV6 => Question::OriginalV6(socket),
        _ => Question::Other,
    }
}

/// Answers with an IPv4 address. Without room for it the kernel's own answer stays.
#[inline(always)]
pub(crate) fn answer_v4(ctx: &SockoptContext, dialled: &Dialled) {
    let [.., address] = dialled.address.words();
    let port = dialled.port.to_be();
    answer(ctx, SocketAddressV4 { family: AF_INET, port, address, zero: [0; 2] });
}

/// The same for IPv6.
#[inline(always)]
pub(crate) fn answer_v6(ctx: &SockoptContext, dialled: &Dialled) {
    let (port, address) = (dialled.port.to_be(), dialled.address.words());
    answer(ctx, SocketAddressV6 { family: AF_INET6, port, flow: 0, address, scope: 0 });
}

#[inline(always)]
fn answer<T>(ctx: &SockoptContext, value: T) {
    // SAFETY: the context pointer is valid while the program runs.
    let raw = unsafe { &*ctx.sockopt };
    let (start, end) = (&raw.__bindgen_anon_2, &raw.__bindgen_anon_3);
    // SAFETY: the union has this one pointer in it, which the kernel fills.
    let start = unsafe { start.optval };
    // SAFETY: as above.
    let end = unsafe { end.optval_end };
    if start as usize + size_of::<T>() > end as usize {
        return;
    }
    // SAFETY: just checked that all of the value lies before the end of the buffer.
    unsafe { ptr::write_volatile(start.cast::<T>(), value) };
    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "28 at most")]
    let length = size_of::<T>() as i32;
    set_word(ctx, offset_of!(bpf_sockopt, optlen), length);
    // The kernel's own answer, an error without connection tracking, is replaced.
    set_word(ctx, offset_of!(bpf_sockopt, retval), 0);
}

/// Writes a word of the context. Volatile: stores that the compiler merged would be refused.
#[inline(always)]
fn set_word(ctx: &SockoptContext, offset: usize, word: i32) {
    let place = ctx.sockopt.wrapping_byte_add(offset).cast::<i32>();
    // SAFETY: the context is valid while the program runs, and both offsets are those of words in it which
    // these programs may write.
    unsafe { ptr::write_volatile(place, word) };
}

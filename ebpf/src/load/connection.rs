//! TCP connections as the kernel tells of them: what became of one, its ends, its socket.

use core::ptr;

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
        BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_TCP_CLOSE, bpf_sock_ops,
    },
    helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie},
    programs::SockOpsContext,
};
use exeat_common::{abi::HandoverKey, address::Address};

use super::Socket;

/// What became of a connection, and its socket.
pub(crate) enum Connection {
    /// It is about to send its first segment.
    Begins(Socket),
    /// It came in and is established.
    Accepted(Socket),
    Closed,
    /// Nothing that matters here.
    Other,
}

const AF_INET: u32 = 2;

#[inline(always)]
pub(crate) fn connection(ctx: &SockOpsContext) -> Connection {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => socket(ctx).map_or(Connection::Other, Connection::Begins),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => {
            socket(ctx).map_or(Connection::Other, Connection::Accepted)
        }
        // The second argument is the new state.
        BPF_SOCK_OPS_STATE_CB if ctx.arg(1) == BPF_TCP_CLOSE => Connection::Closed,
        _ => Connection::Other,
    }
}

#[inline(always)]
fn socket(ctx: &SockOpsContext) -> Option<Socket> {
    // SAFETY: the context pointer is valid while the program runs.
    let anonymous = unsafe { &(*ctx.ops).__bindgen_anon_2 };
    // SAFETY: the union has this one pointer in it, which the kernel fills.
    Socket::new(unsafe { anonymous.sk })
}

/// The near end of the connection, in its network namespace.
#[inline(always)]
pub(crate) fn near_end(ctx: &SockOpsContext) -> HandoverKey {
    let ops = ctx.ops;
    // SAFETY: the context pointer is valid while the program runs; likewise below.
    let v4 = unsafe { read(&raw const (*ops).local_ip4) };
    // SAFETY: as above.
    let v6 = unsafe { words(&raw const (*ops).local_ip6) };
    // SAFETY: as above. In host order.
    let port = unsafe { read(&raw const (*ops).local_port) };
    end(ops, v4, v6, port)
}

/// The far end.
#[inline(always)]
pub(crate) fn far_end(ctx: &SockOpsContext) -> HandoverKey {
    let ops = ctx.ops;
    // SAFETY: the context pointer is valid while the program runs; likewise below.
    let v4 = unsafe { read(&raw const (*ops).remote_ip4) };
    // SAFETY: as above.
    let v6 = unsafe { words(&raw const (*ops).remote_ip6) };
    // SAFETY: as above.
    let port = unsafe { read(&raw const (*ops).remote_port) };
    end(ops, v4, v6, u32::from_be(port))
}

/// A field of the context. Volatile: all are read before any is looked at, each by itself, as the verifier
/// wants it.
///
/// # Safety
///
/// The pointer is to a field of a context that is valid.
#[inline(always)]
unsafe fn read(field: *const u32) -> u32 {
    // SAFETY: as promised.
    unsafe { ptr::read_volatile(field) }
}

/// Four of them.
///
/// # Safety
///
/// As above.
#[inline(always)]
unsafe fn words(field: *const [u32; 4]) -> [u32; 4] {
    // SAFETY: as promised; likewise below.
    let a = unsafe { read(&raw const (*field)[0]) };
    // SAFETY: as above.
    let b = unsafe { read(&raw const (*field)[1]) };
    // SAFETY: as above.
    let c = unsafe { read(&raw const (*field)[2]) };
    // SAFETY: as above.
    let d = unsafe { read(&raw const (*field)[3]) };
    [a, b, c, d]
}

#[inline(always)]
fn end(ops: *mut bpf_sock_ops, v4: u32, v6: [u32; 4], port: u32) -> HandoverKey {
    // SAFETY: the context pointer is valid while the program runs; likewise below.
    let family = unsafe { read(&raw const (*ops).family) };
    // SAFETY: as above.
    let netns = unsafe { bpf_get_netns_cookie(ops.cast()) };
    // An IPv6 socket has IPv4 in mapped form, which is how addresses are kept here.
    let address = if family == AF_INET {
        Address::from_v4(v4.to_ne_bytes())
    } else {
        Address::from_words(v6)
    };
    HandoverKey { netns, address, port, reserved: 0 }
}

/// A number that no other socket has.
#[inline(always)]
pub(crate) fn cookie(ctx: &SockOpsContext) -> u64 {
    // SAFETY: the context pointer is valid while the program runs.
    unsafe { bpf_get_socket_cookie(ctx.ops.cast()) }
}

/// Asks, beside what others asked for, to be told when this connection is closed.
#[inline(always)]
#[expect(clippy::cast_possible_wrap, reason = "flags are small")]
pub(crate) fn tell_when_closed(ctx: &SockOpsContext) {
    // If the kernel refuses, the agent collects what is left behind.
    let _refused = ctx.set_cb_flags((ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG) as i32);
}

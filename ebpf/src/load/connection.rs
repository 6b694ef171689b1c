//! TCP connections as the kernel tells of them: what became of one, its ends, its socket.

use core::{mem::offset_of, ptr};

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
    let v4 = word(ctx, offset_of!(bpf_sock_ops, local_ip4));
    let v6 = words(ctx, offset_of!(bpf_sock_ops, local_ip6));
    // In host order.
    let port = word(ctx, offset_of!(bpf_sock_ops, local_port));
    end(ctx, v4, v6, port)
}

/// The far end.
#[inline(always)]
pub(crate) fn far_end(ctx: &SockOpsContext) -> HandoverKey {
    let v4 = word(ctx, offset_of!(bpf_sock_ops, remote_ip4));
    let v6 = words(ctx, offset_of!(bpf_sock_ops, remote_ip6));
    let port = word(ctx, offset_of!(bpf_sock_ops, remote_port));
    end(ctx, v4, v6, u32::from_be(port))
}

/// A word of the context. Volatile: all are read before any is looked at, each by itself, as the verifier
/// wants it.
#[inline(always)]
fn word(ctx: &SockOpsContext, offset: usize) -> u32 {
    let place = ctx.ops.wrapping_byte_add(offset).cast::<u32>();
    // SAFETY: the context is valid while the program runs, and every offset is that of a word in it.
    unsafe { ptr::read_volatile(place) }
}

#[inline(always)]
fn words(ctx: &SockOpsContext, offset: usize) -> [u32; 4] {
    [word(ctx, offset), word(ctx, offset + 4), word(ctx, offset + 8), word(ctx, offset + 12)]
}

#[inline(always)]
fn end(ctx: &SockOpsContext, v4: u32, v6: [u32; 4], port: u32) -> HandoverKey {
    let family = word(ctx, offset_of!(bpf_sock_ops, family));
    // SAFETY: the context pointer is valid while the program runs.
    let netns = unsafe { bpf_get_netns_cookie(ctx.ops.cast()) };
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

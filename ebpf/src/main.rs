//! Entry points: read the context, call what judges, turn its outcome into what the kernel wants.
#![cfg_attr(target_arch = "bpf", no_std)]
#![cfg_attr(target_arch = "bpf", no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the macros of aya call entry points with a context by value"
)]

use aya_ebpf::{
    EbpfContext,
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC},
    macros::{cgroup_skb, cgroup_sock, cgroup_sock_addr, cgroup_sockopt, classifier, sock_ops},
    programs::{
        SkBuffContext, SockAddrContext, SockContext, SockOpsContext, SockoptContext, TcContext,
    },
};

/// A line for whoever debugs the programs; nothing in release objects. Never an address or a name.
macro_rules! debug_line {
    ($ctx:expr, $text:literal) => {
        #[cfg(feature = "debug-log")]
        aya_log_ebpf::debug!($ctx, $text);
        #[cfg(not(feature = "debug-log"))]
        let _ = $ctx;
    };
}

mod answer;
mod cgroup;
mod count;
mod dns;
mod handover;
mod header;
mod known;
mod load;
mod passed;
mod place;
mod redirect;
mod refuse;
mod segment;
mod socket;
mod tables;
mod verdict;
mod wire;

use socket::{Call, Manner};
use wire::Fate;

/// What a cgroup program returns to let the call or the packet go on.
const PROCEED: i32 = 1;
/// What it returns to stop it; the call fails with EPERM unless another errno was set.
const FAIL: i32 = 0;

#[cgroup_sock_addr(connect4)]
pub(crate) fn exeat_connect4(ctx: SockAddrContext) -> i32 {
    settle(&ctx, socket::judge(&ctx, Manner { is_v6: false, connects: true }))
}

#[cgroup_sock_addr(connect6)]
pub(crate) fn exeat_connect6(ctx: SockAddrContext) -> i32 {
    settle(&ctx, socket::judge(&ctx, Manner { is_v6: true, connects: true }))
}

#[cgroup_sock_addr(sendmsg4)]
pub(crate) fn exeat_sendmsg4(ctx: SockAddrContext) -> i32 {
    settle(&ctx, socket::judge(&ctx, Manner { is_v6: false, connects: false }))
}

#[cgroup_sock_addr(sendmsg6)]
pub(crate) fn exeat_sendmsg6(ctx: SockAddrContext) -> i32 {
    settle(&ctx, socket::judge(&ctx, Manner { is_v6: true, connects: false }))
}

#[cgroup_sock_addr(recvmsg4)]
pub(crate) fn exeat_recvmsg4(ctx: SockAddrContext) -> i32 {
    redirect::show_sender(&ctx, load::destination4(&ctx), false);
    PROCEED
}

#[cgroup_sock_addr(recvmsg6)]
pub(crate) fn exeat_recvmsg6(ctx: SockAddrContext) -> i32 {
    redirect::show_sender(&ctx, load::destination6(&ctx), true);
    PROCEED
}

#[cgroup_sock_addr(getpeername4)]
pub(crate) fn exeat_getpeername4(ctx: SockAddrContext) -> i32 {
    redirect::show_peer(&ctx, load::destination4(&ctx), false);
    PROCEED
}

#[cgroup_sock_addr(getpeername6)]
pub(crate) fn exeat_getpeername6(ctx: SockAddrContext) -> i32 {
    redirect::show_peer(&ctx, load::destination6(&ctx), true);
    PROCEED
}

/// On TCP connections of the pods, both ends of those that stay inside.
#[sock_ops]
pub(crate) fn exeat_connections(ctx: SockOpsContext) -> u32 {
    handover::follow(&ctx);
    1
}

#[cgroup_sockopt(getsockopt)]
pub(crate) fn exeat_getsockopt(ctx: SockoptContext) -> i32 {
    handover::tell(&ctx);
    PROCEED
}

#[cgroup_sock(sock_create)]
pub(crate) fn exeat_sock_create(ctx: SockContext) -> i32 {
    settle(&ctx, socket::judge_creation(&ctx))
}

/// What the sockets of a workload send.
#[cgroup_skb(egress)]
pub(crate) fn exeat_egress(ctx: SkBuffContext) -> i32 {
    let ctx = TcContext::new(ctx.skb.skb);
    pass(&ctx, cgroup::egress(&ctx))
}

/// What the sockets of a workload receive, before they have it.
#[cgroup_skb(ingress)]
pub(crate) fn exeat_ingress(ctx: SkBuffContext) -> i32 {
    let ctx = TcContext::new(ctx.skb.skb);
    pass(&ctx, cgroup::ingress(&ctx))
}

/// On ingress of the host side of a veth: what the pod sends.
#[classifier]
pub(crate) fn exeat_from_pod(ctx: TcContext) -> i32 {
    carry_out(&ctx, wire::from_pod(&ctx))
}

/// On egress of the host side of a veth: what the pod receives.
#[classifier]
pub(crate) fn exeat_to_pod(ctx: TcContext) -> i32 {
    carry_out(&ctx, wire::to_pod(&ctx))
}

fn settle(ctx: &impl EbpfContext, call: Call) -> i32 {
    match call {
        Call::Proceed => PROCEED,
        Call::Fail => {
            debug_line!(ctx, "a call fails");
            FAIL
        }
    }
}

fn pass(ctx: &TcContext, fate: Fate) -> i32 {
    match fate {
        Fate::Go => PROCEED,
        Fate::Stop | Fate::Return => {
            debug_line!(ctx, "a packet is dropped");
            FAIL
        }
    }
}

/// UNSPEC rather than OK: other programs on the hook have their say.
fn carry_out(ctx: &TcContext, fate: Fate) -> i32 {
    match fate {
        Fate::Go => TC_ACT_UNSPEC,
        Fate::Stop => {
            debug_line!(ctx, "a frame is dropped");
            TC_ACT_SHOT
        }
        Fate::Return => {
            debug_line!(ctx, "a frame is answered in place");
            load::return_to_pod(ctx)
        }
    }
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The host build exists for `cargo check`, `clippy` and `doc` only.
#[cfg(not(target_arch = "bpf"))]
fn main() {}

/// The kernel lets only GPL-compatible programs call some helpers.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

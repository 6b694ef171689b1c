//! From the socket that connects to the one that accepts: what was dialled goes along, and is told to a proxy
//! that asks for the original destination.

use aya_ebpf::programs::{SockOpsContext, SockoptContext};

use crate::{
    load::{self, Connection, Question},
    socket::is_known_sidecar,
    tables,
};

/// Follows a connection to loopback until it is accepted or closed.
#[inline(always)]
pub(crate) fn follow(ctx: &SockOpsContext) {
    match load::connection(ctx) {
        // Before the first segment, so before anybody could accept it, also with TCP Fast Open.
        Connection::Begins(socket) => {
            if let Some(redirect) = tables::redirected(socket)
                && redirect.sent_to.is_loopback()
            {
                load::tell_when_closed(ctx);
                tables::hand_over(&load::near_end(ctx), redirect, load::cookie(ctx));
            }
        }
        Connection::Accepted(socket) => {
            // Its other end may have any address of the pod.
            if load::near_end(ctx).address.is_loopback() {
                tables::accept(&load::far_end(ctx), socket);
            }
        }
        Connection::Closed => tables::withdraw(&load::near_end(ctx), load::cookie(ctx)),
        Connection::Other => {}
    }
}

/// Answers a question for the original destination of an accepted connection.
#[inline(always)]
pub(crate) fn tell(ctx: &SockoptContext) {
    match load::question(ctx) {
        Question::OriginalV4(socket) => {
            if let Some(dialled) = tables::accepted(socket)
                && dialled.address.is_v4()
                && may_know()
            {
                load::answer_v4(ctx, dialled);
            }
        }
        Question::OriginalV6(socket) => {
            if let Some(dialled) = tables::accepted(socket)
                && !dialled.address.is_v4()
                && may_know()
            {
                load::answer_v6(ctx, dialled);
            }
        }
        Question::Other => {}
    }
}

/// Whether who asks is the proxy that its workload is known to have. Another one in its place, which the agent
/// has not seen yet, would be sent back to itself with all that it carries on: so it is told nothing.
#[inline(always)]
fn may_know() -> bool {
    !load::can_ask_cgroup() || is_known_sidecar()
}

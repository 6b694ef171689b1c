//! Redirects at the socket: sending a call elsewhere, remembering it, and showing the application what it
//! asked for.

use aya_ebpf::programs::SockAddrContext;
use exeat_common::{
    abi::{Redirect, Workload},
    bytes::kept,
    decide::{Decision, Tables as _},
    flow::Flow,
    limits::PEER_SLOTS,
    reason::{Reason, Verdict},
    redirect::{Caller, End, Peers, peer_of, room_for, send},
};

use crate::{
    load::{self, Destination, Socket},
    tables::{self, Maps},
};

/// A call that is to go elsewhere.
pub(crate) struct Redirecting<'a> {
    pub(crate) flow: Flow<'a>,
    pub(crate) caller: Caller,
    pub(crate) connects: bool,
    /// Where to: the way the call goes in the end.
    pub(crate) to: End,
}

/// Makes the call go to the decision's target. The decision becomes a denial if there is no way; the
/// proxy's own calls are allowed.
#[inline(always)]
pub(crate) fn carry_out(
    ctx: &SockAddrContext,
    redirecting: &mut Redirecting<'_>,
    decision: &mut Decision,
    is_v6: bool,
) {
    prepare(ctx, redirecting, decision);
    if decision.verdict == Verdict::Redirect {
        show(ctx, redirecting.to, is_v6);
        if redirecting.caller.is_sidecar {
            decision.verdict = Verdict::Allow;
        }
    }
}

/// Finds the way and remembers it. Knows nothing of the family of the socket: a program for one may not
/// touch the fields of the other.
#[inline(never)]
fn prepare(ctx: &SockAddrContext, redirecting: &mut Redirecting<'_>, decision: &mut Decision) {
    match find_way(ctx, redirecting, decision) {
        Ok(to) => redirecting.to = to,
        Err(reason) => {
            decision.verdict = Verdict::Deny;
            decision.reason = reason;
        }
    }
}

#[inline(always)]
fn find_way(
    ctx: &SockAddrContext,
    Redirecting { flow, caller, connects, .. }: &Redirecting<'_>,
    decision: &Decision,
) -> Result<End, Reason> {
    // Nothing has to be hidden here.
    let maps = Maps::at_socket(0);
    let (Some(workload), Some(socket)) = (flow.workload, load::socket_of_call(ctx)) else {
        return Err(Reason::UnknownWorkload);
    };
    let dialled = End { address: flow.destination, port: flow.port };
    let redirect = Redirect {
        dialled: dialled.address,
        sent_to: dialled.address,
        dialled_port: dialled.port,
        sent_to_port: dialled.port,
        workload: workload.id,
        subject: decision.subject,
        target: decision.target,
        last_used: maps.now(),
    };
    if *connects {
        let to = send(decision.target, flow, *caller, &maps)?;
        connect(socket, &redirect, to)?;
        return Ok(to);
    }
    let peers = tables::peers_to_change(socket).ok_or(Reason::TableFull)?;
    address_datagram(peers, &redirect, || send(decision.target, flow, *caller, &maps))
}

/// Remembers where a connected socket goes.
#[inline(always)]
fn connect(socket: Socket, redirect: &Redirect, to: End) -> Result<(), Reason> {
    // There a connection waits until it is accepted.
    if to.address.is_loopback() && !tables::may_hand_over(redirect.workload) {
        return Err(Reason::ShareUsed);
    }
    let redirect = Redirect { sent_to: to.address, sent_to_port: to.port, ..*redirect };
    if tables::set_redirected(socket, &redirect) { Ok(()) } else { Err(Reason::TableFull) }
}

/// Datagrams of one socket that are dialled alike go to the same backend, as long as it is one.
#[inline(always)]
fn address_datagram(
    peers: &mut Peers,
    redirect: &Redirect,
    choose: impl FnOnce() -> Result<End, Reason>,
) -> Result<End, Reason> {
    let dialled = End { address: redirect.dialled, port: redirect.dialled_port };
    if let Some(index) = peer_of(peers, dialled)
        && let Some(slot) = peers.get_mut(index & kept(PEER_SLOTS - 1))
    {
        if slot.target == redirect.target && slot.workload == redirect.workload {
            slot.last_used = redirect.last_used;
            return Ok(End { address: slot.sent_to, port: slot.sent_to_port });
        }
        slot.sent_to_port = 0;
    }
    let to = choose()?;
    let index = room_for(peers, to, redirect.last_used)?;
    if let Some(slot) = peers.get_mut(index & kept(PEER_SLOTS - 1)) {
        *slot = Redirect { sent_to: to.address, sent_to_port: to.port, ..*redirect };
    }
    Ok(to)
}

#[inline(always)]
fn show(ctx: &SockAddrContext, end: End, is_v6: bool) {
    if is_v6 {
        load::set_destination6(ctx, end);
    } else {
        load::set_destination4(ctx, end);
    }
}

/// The socket connects to where it dialled: what it was redirected from before is of no use.
#[inline(always)]
pub(crate) fn forget(ctx: &SockAddrContext) {
    if let Some(socket) = load::socket_of_call(ctx) {
        tables::forget_redirected(socket);
    }
}

/// Whether a datagram goes where its connected socket was sent: the kernel names that end, and not the one
/// that was dialled, for each datagram of an IPv6 socket with an IPv4 peer.
#[inline(always)]
pub(crate) fn is_repeated(
    ctx: &SockAddrContext,
    workload: &Workload,
    flow: &Flow<'_>,
    maps: &Maps<'_>,
) -> bool {
    load::socket_of_call(ctx)
        .and_then(tables::redirected)
        .and_then(|redirect| redirect.passage(flow.destination, flow.port))
        .is_some_and(|passage| passage.stands(workload, flow.protocol, maps))
}

/// Shows the application, which asks for its peer, the one it dialled.
#[inline(always)]
pub(crate) fn show_peer(ctx: &SockAddrContext, shown: Destination, is_v6: bool) {
    if let Some(redirect) = load::socket_of_call(ctx).and_then(tables::redirected)
        && redirect.goes_to(shown.address, shown.port)
    {
        let dialled = End { address: redirect.dialled, port: redirect.dialled_port };
        show(ctx, dialled, is_v6);
    }
}

/// Shows the application, which was sent a datagram, the end it had dialled.
#[inline(always)]
pub(crate) fn show_sender(ctx: &SockAddrContext, shown: Destination, is_v6: bool) {
    show_peer(ctx, shown, is_v6);
    if let Some(peers) = load::socket_of_call(ctx).and_then(tables::peers)
        && let Some(slot) = peers.iter().find(|slot| slot.goes_to(shown.address, shown.port))
    {
        let dialled = End { address: slot.dialled, port: slot.dialled_port };
        show(ctx, dialled, is_v6);
    }
}

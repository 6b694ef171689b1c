//! The socket layer: `socket()`, `connect()` and `sendmsg()` of a workload, judged before a packet
//! exists.

use aya_ebpf::programs::{SockAddrContext, SockContext};
use exeat_common::{
    abi::{FlowKey, Workload, direction, setting_flag},
    address::Address,
    cgroup::{is_at_home, leaves_here, may_create},
    decide::{Decision, Tables as _, decide},
    flow::{Flow, protocol},
    id::WorkloadId,
    memory::Memory as _,
    reason::{Layer, Reason, Verdict},
    redirect::{Caller, End},
};

use crate::{
    count::{self, Tally},
    load::{self, Destination},
    place::{self, Place},
    redirect::{self, Redirecting},
    tables::Maps,
};

/// What becomes of the call.
#[derive(Clone, Copy)]
pub(crate) enum Call {
    Proceed,
    Fail,
}

const ECONNREFUSED: i32 = 111;

/// Which call is made, on a socket of which family.
#[derive(Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) is_v6: bool,
    /// The call names the peer for good, and not that of one datagram.
    pub(crate) connects: bool,
}

#[inline(always)]
pub(crate) fn judge(ctx: &SockAddrContext, manner: Manner) -> Call {
    let destination = if manner.is_v6 { load::destination6(ctx) } else { load::destination4(ctx) };
    let (workload, place) = workload_of_current_task();
    let flow = Flow {
        workload,
        destination: destination.address,
        port: destination.port,
        protocol: destination.protocol,
    };
    let maps = Maps::at_socket(place.cgroup);
    let made = decide(&flow, &maps);
    // What follows would be verified for each way to a decision.
    let flow = Flow { destination: flow.destination.veiled(&maps), ..flow };
    let destination = Destination { address: flow.destination, ..destination };
    let mut decision = made.veiled(&maps);
    if workload.is_some_and(|known| !is_at_home(known, load::netns_of_address(ctx))) {
        decision = Decision::deny(Reason::SocketType);
    } else if decision.verdict == Verdict::Allow {
        if manner.connects {
            redirect::forget(ctx);
        }
    } else if workload.is_some_and(|known| answers(ctx, known, destination, &maps)) {
        decision = Decision::allow(Reason::Inbound);
    } else if decision.verdict == Verdict::Redirect {
        let caller = caller(ctx, workload, place, destination, manner);
        let to = End { address: flow.destination, port: flow.port };
        let mut call = Redirecting { flow, caller, connects: manner.connects, to };
        redirect::carry_out(ctx, &mut call, &mut decision, manner.is_v6);
    } else if !manner.connects
        && workload.is_some_and(|known| redirect::is_repeated(ctx, known, &flow, &maps))
    {
        decision = Decision::allow(Reason::Redirected);
    }
    tell(&flow, &decision);
    match decision.verdict {
        Verdict::Allow | Verdict::Redirect => Call::Proceed,
        Verdict::Deny => refuse(&maps),
    }
}

/// Whether the current task is the proxy of its workload.
#[inline(always)]
pub(crate) fn is_known_sidecar() -> bool {
    let (workload, place) = workload_of_current_task();
    workload.is_some_and(|workload| is_sidecar_of(workload, place))
}

/// The container of the proxy lies directly below the cgroup of its workload.
#[inline(always)]
fn is_sidecar_of(workload: &Workload, place: Place) -> bool {
    workload.sidecar_cgroup != 0
        && load::ancestor_cgroup(place.depth + 1) == workload.sidecar_cgroup
}

/// What matters of the socket and its user when it is to be redirected.
#[inline(always)]
fn caller(
    ctx: &SockAddrContext,
    workload: Option<&Workload>,
    place: Place,
    destination: Destination,
    manner: Manner,
) -> Caller {
    let is_sidecar = workload.is_some_and(|workload| is_sidecar_of(workload, place));
    Caller {
        is_sidecar,
        may_cross: manner.is_v6 && manner.connects,
        is_bound_to_device: load::socket_of_call(ctx).is_some_and(load::is_bound_to_device),
        is_raw: destination.is_raw,
    }
}

/// Judges the making of an internet socket. The others are not seen here.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "protocols above 255 are cut for show")]
pub(crate) fn judge_creation(ctx: &SockContext) -> Call {
    let wanted = load::creation(ctx);
    let (workload, _) = workload_of_current_task();
    let is_allowed = match workload {
        Some(known) if !leaves_here(known) => is_at_home(known, load::netns_of_socket(ctx)),
        Some(known) => {
            may_create(wanted.kind, wanted.protocol)
                && is_at_home(known, load::netns_of_socket(ctx))
        }
        // It may be one whose interface is not known yet. What it sends is refused until then.
        None => may_create(wanted.kind, wanted.protocol),
    };
    if is_allowed {
        return Call::Proceed;
    }
    let flow = Flow {
        workload,
        destination: Address::default(),
        port: 0,
        protocol: wanted.protocol as u8,
    };
    tell(&flow, &Decision::deny(Reason::SocketType));
    Call::Fail
}

/// Counts a verdict, and reports it if it is worth it.
#[inline(always)]
fn tell(flow: &Flow<'_>, decision: &Decision) {
    let id = flow.workload.map_or(WorkloadId::default(), |workload| workload.id);
    let tally = Tally { flows: 1, bytes: 0 };
    count::count(id, Layer::Socket, decision.verdict, decision.reason, tally);
    count::report(flow, decision);
}

/// Whether a datagram answers one that came in. The wire layer remembers those by their addresses;
/// an unconnected socket may have none of its own, so each of the workload's is tried.
#[inline(always)]
fn answers(
    ctx: &SockAddrContext,
    workload: &Workload,
    destination: Destination,
    maps: &Maps<'_>,
) -> bool {
    if destination.protocol != protocol::UDP {
        return false;
    }
    let local_port = load::local_port(ctx);
    for (index, local) in workload.addresses.iter().enumerate() {
        if index >= usize::from(workload.address_count) {
            break;
        }
        let remote = (destination.address, destination.port);
        let key = FlowKey::new(workload.id, protocol::UDP, (*local, local_port), remote);
        if let Some(flow) = maps.flow(&key)
            && flow.direction == direction::INBOUND
        {
            return true;
        }
    }
    false
}

#[inline(always)]
fn refuse(maps: &Maps<'_>) -> Call {
    if maps.setting_flags() & setting_flag::DENY_REFUSED != 0 {
        load::set_errno(ECONNREFUSED);
    }
    Call::Fail
}

/// The workload whose cgroup the current task is in or below. The task and not the socket counts:
/// a socket that was made elsewhere and passed in is judged by who uses it.
#[inline(always)]
fn workload_of_current_task() -> (Option<&'static Workload>, Place) {
    match place::find(load::ancestor_cgroup) {
        Some((workload, place)) => (Some(workload), place),
        None => (None, Place::default()),
    }
}

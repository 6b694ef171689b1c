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
};

use crate::{
    count::{self, Tally},
    load::{self, Destination},
    tables::{Maps, Word, settings, workload_by_cgroup},
};

/// What becomes of the call.
#[derive(Clone, Copy)]
pub(crate) enum Call {
    Proceed,
    Fail,
}

const ECONNREFUSED: i32 = 111;

#[inline(always)]
pub(crate) fn judge4(ctx: &SockAddrContext) -> Call {
    judge(ctx, load::destination4(ctx))
}

#[inline(always)]
pub(crate) fn judge6(ctx: &SockAddrContext) -> Call {
    judge(ctx, load::destination6(ctx))
}

#[inline(always)]
fn judge(ctx: &SockAddrContext, destination: Destination) -> Call {
    let workload = workload_of_current_task();
    let flow = Flow {
        workload,
        destination: destination.address,
        port: destination.port,
        protocol: destination.protocol,
    };
    let veil = Word::new(0);
    let maps = Maps::new(&veil);
    // Nothing here rewrites a destination.
    let mut decision = decide(&flow, &maps).without_redirect();
    if workload.is_some_and(|known| !is_at_home(known, load::netns_of_address(ctx))) {
        decision = Decision::deny(Reason::SocketType);
    } else if decision.verdict == Verdict::Deny
        && let Some(known) = workload
        && answers(ctx, known, destination, &maps)
    {
        decision = Decision::allow(Reason::Inbound);
    }
    tell(&flow, &decision);
    match decision.verdict {
        Verdict::Allow => Call::Proceed,
        Verdict::Deny | Verdict::Redirect => refuse(&maps),
    }
}

/// Judges the making of an internet socket. The others are not seen here.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "protocols above 255 are cut for show")]
pub(crate) fn judge_creation(ctx: &SockContext) -> Call {
    let wanted = load::creation(ctx);
    let workload = workload_of_current_task();
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
fn workload_of_current_task() -> Option<&'static Workload> {
    let depths = settings()?.cgroup_depths;
    for depth in depths {
        if depth == 0 {
            break;
        }
        let id = load::ancestor_cgroup(depth);
        if id != 0
            && let Some(workload) = workload_by_cgroup(id)
        {
            return Some(workload);
        }
    }
    None
}

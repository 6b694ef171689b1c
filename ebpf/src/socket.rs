//! The socket layer: `connect()` and `sendmsg()` of a workload, judged before a packet exists.

use aya_ebpf::programs::SockAddrContext;
use exeat_common::{
    abi::{FlowKey, Workload, direction, setting_flag},
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
    if decision.verdict == Verdict::Deny
        && let Some(known) = workload
        && answers(ctx, known, destination, &maps)
    {
        decision = Decision::allow(Reason::Inbound);
    }
    let id = workload.map_or(WorkloadId::default(), |workload| workload.id);
    let tally = Tally { flows: 1, bytes: 0 };
    count::count(id, Layer::Socket, decision.verdict, decision.reason, tally);
    count::report(&flow, &decision);
    match decision.verdict {
        Verdict::Allow => Call::Proceed,
        Verdict::Deny | Verdict::Redirect => refuse(&maps),
    }
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

//! The cgroup layer: packets of workloads without a veth, where their sockets send and receive
//! them. Those with a veth pass at once: the wire layer has them.
//!
//! A packet cannot be changed or answered here, only let through or dropped. Dropped on its way
//! out, the call that sent it fails with EPERM.

use aya_ebpf::programs::TcContext;
use exeat_common::{
    abi::Workload,
    address::Address,
    cgroup::{arrive, arrives_here, leave, leaves_here},
    decide::Decision,
    flow::{Flow, protocol},
    id::WorkloadId,
    packet::Packet,
    reason::{Layer, Reason, Verdict},
    wire::{Arrive, Leave},
};

use crate::{
    answer,
    count::{self, Tally},
    dns, header,
    load::{self, Claim, FrameFacts, Scratch},
    segment,
    tables::{Maps, settings, workload_by_cgroup},
    wire::{Fate, report_dropped},
};

/// Index of the loopback interface in every network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

#[inline(always)]
pub(crate) fn egress(ctx: &TcContext) -> Fate {
    let facts = load::frame_facts(ctx);
    let Some(workload) = workload_of_socket(ctx) else {
        count_stopped(None, facts, Reason::UnknownWorkload);
        return Fate::Stop;
    };
    if !leaves_here(workload) {
        return Fate::Go;
    }
    let Some(mut claim) = Claim::take(workload.id) else {
        count_stopped(Some(workload), facts, Reason::ShareUsed);
        return Fate::Stop;
    };
    let read = header::read_ip(ctx, claim.slot());
    let scratch = claim.scratch();
    if let Err(reason) = read {
        return stop(workload, facts, reason, scratch);
    }
    match judge(ctx, workload, scratch) {
        Judged::Go => Fate::Go,
        Judged::Stop => Fate::Stop,
        Judged::Query => {
            scratch.dropped = 0;
            let fate = if scratch.packet.protocol == protocol::TCP {
                segment::query_at_socket(ctx, workload, scratch)
            } else {
                dns::query_at_socket(ctx, workload, scratch)
            };
            let Packet { destination, destination_port, .. } = scratch.packet;
            report_dropped(workload, destination, destination_port, scratch);
            fate
        }
    }
}

/// Nothing is refused here but DNS answers that nobody asked for.
#[inline(always)]
pub(crate) fn ingress(ctx: &TcContext) -> Fate {
    let Some(workload) = workload_of_socket(ctx) else {
        return Fate::Go;
    };
    if !arrives_here(workload) {
        return Fate::Go;
    }
    let Some(mut claim) = Claim::take(workload.id) else {
        count_stopped(Some(workload), load::frame_facts(ctx), Reason::ShareUsed);
        return Fate::Stop;
    };
    if header::read_ip(ctx, claim.slot()).is_err() {
        return Fate::Go;
    }
    let scratch = claim.scratch();
    match notice(workload, scratch) {
        Arrive::Pass => Fate::Go,
        Arrive::Accepted => dns::accepted(workload, scratch),
        Arrive::Answer => {
            // By now nothing here holds the scratch.
            let fate = answer::answer(ctx, workload, claim.slot());
            let scratch = claim.scratch();
            let Packet { source, source_port, .. } = scratch.packet;
            report_dropped(workload, source, source_port, scratch);
            fate
        }
        Arrive::Drop(reason) => stop(workload, scratch.facts, reason, scratch),
    }
}

/// Notes what the packet in the scratch begins or answers. Not inlined, for its frame must be gone
/// when the answer is read.
#[inline(never)]
fn notice(workload: &Workload, scratch: &Scratch) -> Arrive {
    let on_loopback = scratch.facts.ifindex == LOOPBACK;
    arrive(workload, &scratch.packet, on_loopback, &Maps::new(&scratch.veil))
}

/// The workload whose cgroup the socket was made in or below. Nobody else can be named here: who
/// runs when a packet goes or comes is often not who sent it or will have it.
#[inline(always)]
fn workload_of_socket(ctx: &TcContext) -> Option<&'static Workload> {
    let depths = settings()?.cgroup_depths;
    for depth in depths {
        if depth == 0 {
            break;
        }
        let id = load::ancestor_cgroup_of_socket(ctx, depth);
        if id != 0
            && let Some(workload) = workload_by_cgroup(id)
        {
            return Some(workload);
        }
    }
    None
}

/// The outcome of [`judge`].
enum Judged {
    Go,
    Stop,
    Query,
}

/// Judges the packet in the scratch, counts the verdict and reports it if it is worth it.
#[inline(never)]
fn judge(ctx: &TcContext, workload: &Workload, scratch: &mut Scratch) -> Judged {
    let Scratch { packet, facts, veil, event, .. } = scratch;
    let maps = Maps::about(veil, ctx);
    let on_loopback = facts.ifindex == LOOPBACK;
    let decision = match leave(workload, packet, on_loopback, &maps) {
        // Nothing can be sent from here, so the far end of a connection that ended is not told.
        Leave::Judged(decision) | Leave::Ended(decision) => decision,
        Leave::Query => return Judged::Query,
    };
    let known_flow = matches!(decision.reason, Reason::Established | Reason::Inbound);
    let tally = Tally { flows: u64::from(!known_flow), bytes: facts.length as u64 };
    count::count(workload.id, Layer::Cgroup, decision.verdict, decision.reason, tally);
    let flow = Flow {
        workload: Some(workload),
        destination: packet.destination,
        port: packet.port(),
        protocol: packet.protocol,
    };
    match decision.verdict {
        Verdict::Allow => Judged::Go,
        Verdict::Deny | Verdict::Redirect => {
            count::report_packet(&flow, Layer::Cgroup, &decision, event);
            Judged::Stop
        }
    }
}

/// Refuses a packet of which no flow can be told: where it went stays unsaid.
#[inline(never)]
fn stop(workload: &Workload, facts: FrameFacts, reason: Reason, scratch: &mut Scratch) -> Fate {
    count_stopped(Some(workload), facts, reason);
    let destination = Address::default();
    let flow = Flow { workload: Some(workload), destination, port: 0, protocol: 0 };
    count::report_packet(&flow, Layer::Cgroup, &Decision::deny(reason), &mut scratch.event);
    Fate::Stop
}

#[inline(always)]
fn count_stopped(workload: Option<&Workload>, facts: FrameFacts, reason: Reason) {
    let id = workload.map_or(WorkloadId::default(), |workload| workload.id);
    let tally = Tally { flows: 1, bytes: facts.length as u64 };
    count::count(id, Layer::Cgroup, Verdict::Deny, reason, tally);
}

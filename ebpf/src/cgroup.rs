//! The cgroup layer: packets of workloads without a veth, where their sockets send and receive
//! them. Those with a veth pass at once: the wire layer has them.
//!
//! A packet cannot be changed or answered here, only let through or dropped. Dropped on its way
//! out, the call that sent it fails with EPERM.

use aya_ebpf::programs::TcContext;
use exeat_common::{
    abi::Workload,
    bytes::Bytes,
    cgroup::{arrive, arrives_here, leave, leaves_here},
    flow::Flow,
    id::WorkloadId,
    packet::parse_ip,
    reason::{Layer, Reason, Verdict},
    wire::{Arrive, Leave},
};

use crate::{
    count::{self, Tally},
    dns,
    load::{self, Claim, FrameFacts, Scratch},
    tables::{Maps, settings, workload_by_cgroup},
    wire::Fate,
};

/// Index of the loopback interface in every network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

#[inline(always)]
pub(crate) fn egress(ctx: &TcContext) -> Fate {
    let facts = load::frame_facts(ctx);
    let Some(workload) = workload_of_socket(ctx) else {
        return stop(None, facts, Reason::UnknownWorkload);
    };
    if !leaves_here(workload) {
        return Fate::Go;
    }
    let Some(mut claim) = Claim::take(workload.id) else {
        return stop(Some(workload), facts, Reason::ShareUsed);
    };
    let scratch = claim.scratch();
    if let Err(reason) = read(ctx, scratch) {
        return stop(Some(workload), facts, reason);
    }
    match judge(workload, scratch) {
        Judged::Go => Fate::Go,
        Judged::Stop => Fate::Stop,
        Judged::Query => dns::query_at_socket(ctx, workload, scratch),
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
        return stop(Some(workload), load::frame_facts(ctx), Reason::ShareUsed);
    };
    let scratch = claim.scratch();
    if read(ctx, scratch).is_err() {
        return Fate::Go;
    }
    let on_loopback = scratch.facts.ifindex == LOOPBACK;
    match arrive(workload, &scratch.packet, on_loopback, &Maps::new(&scratch.veil)) {
        Arrive::Pass => Fate::Go,
        Arrive::Answer => dns::answer(ctx, workload, scratch),
    }
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

/// Reads the headers of the packet into the scratch.
#[inline(never)]
fn read(ctx: &TcContext, scratch: &mut Scratch) -> Result<(), Reason> {
    let facts = load::frame_facts(ctx);
    let loaded =
        load::load_header(ctx, facts.length, &mut scratch.header).ok_or(Reason::Malformed)?;
    match parse_ip(&Bytes::new(&scratch.header, loaded), facts.length) {
        Ok(packet) => {
            scratch.packet = packet;
            scratch.facts = facts;
            Ok(())
        }
        Err(invalid) => Err(invalid.reason()),
    }
}

/// The outcome of [`judge`].
enum Judged {
    Go,
    Stop,
    Query,
}

/// Judges the packet in the scratch, counts the verdict and reports it if it is worth it.
#[inline(never)]
fn judge(workload: &Workload, scratch: &Scratch) -> Judged {
    let packet = &scratch.packet;
    let on_loopback = scratch.facts.ifindex == LOOPBACK;
    let decision = match leave(workload, packet, on_loopback, &Maps::new(&scratch.veil)) {
        Leave::Judged(decision) => decision,
        Leave::Query => return Judged::Query,
    };
    let known_flow = matches!(decision.reason, Reason::Established | Reason::Inbound);
    let tally = Tally { flows: u64::from(!known_flow), bytes: scratch.facts.length as u64 };
    count::count(workload.id, Layer::Cgroup, decision.verdict, decision.reason, tally);
    let flow = Flow {
        workload: Some(workload),
        destination: packet.destination,
        port: packet.destination_port,
        protocol: packet.protocol,
    };
    match decision.verdict {
        Verdict::Allow => Judged::Go,
        Verdict::Deny | Verdict::Redirect => {
            count::report(&flow, Layer::Cgroup, &decision);
            Judged::Stop
        }
    }
}

/// Refuses a packet of which no flow can be told.
#[inline(always)]
fn stop(workload: Option<&Workload>, facts: FrameFacts, reason: Reason) -> Fate {
    let id = workload.map_or(WorkloadId::default(), |workload| workload.id);
    let tally = Tally { flows: 1, bytes: facts.length as u64 };
    count::count(id, Layer::Cgroup, Verdict::Deny, reason, tally);
    Fate::Stop
}

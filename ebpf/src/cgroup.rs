//! The cgroup layer: packets of workloads without a veth, where their sockets send and receive
//! them. Those with a veth pass at once: the wire layer has them.
//!
//! A packet cannot be changed or answered here, only let through or dropped. Dropped on its way
//! out, the call that sent it fails with EPERM.

use aya_ebpf::programs::TcContext;
use exeat_common::{
    abi::Workload,
    cgroup::{arrive, arrives_here, leave, leaves_here},
    flow::protocol,
    packet::Packet,
    reason::{Layer, Reason},
    wire::Arrive,
};

use crate::{
    answer, dns, header,
    load::{self, Claim, Scratch},
    place, segment,
    tables::Maps,
    verdict::{Judged, count_stopped, report_dropped, settle, stop},
    wire::Fate,
};

/// Index of the loopback interface in every network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

#[inline(always)]
pub(crate) fn egress(ctx: &TcContext) -> Fate {
    let facts = load::frame_facts(ctx);
    let Some(workload) = workload_of_socket(ctx) else {
        count_stopped(Layer::Cgroup, None, facts, Reason::UnknownWorkload);
        return Fate::Stop;
    };
    if !leaves_here(workload) {
        return Fate::Go;
    }
    let Some(mut claim) = Claim::take(workload.id) else {
        count_stopped(Layer::Cgroup, Some(workload), facts, Reason::ShareUsed);
        return Fate::Stop;
    };
    let read = header::read_ip(ctx, facts, claim.slot());
    let scratch = claim.scratch();
    if let Err(reason) = read {
        return stop(Layer::Cgroup, Some(workload), facts, reason, scratch);
    }
    match judge(ctx, workload, scratch) {
        Judged::Go => Fate::Go,
        // Nothing can be sent from here, so nobody is told.
        Judged::Refused | Judged::Ended => Fate::Stop,
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
    let facts = load::frame_facts(ctx);
    let Some(workload) = workload_of_socket(ctx) else {
        return Fate::Go;
    };
    if !arrives_here(workload) {
        return Fate::Go;
    }
    let Some(mut claim) = Claim::take(workload.id) else {
        count_stopped(Layer::Cgroup, Some(workload), facts, Reason::ShareUsed);
        return Fate::Stop;
    };
    if header::read_ip(ctx, facts, claim.slot()).is_err() {
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
        Arrive::Drop(reason) => stop(Layer::Cgroup, Some(workload), scratch.facts, reason, scratch),
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
    let (workload, _) = place::find(|depth| load::ancestor_cgroup_of_socket(ctx, depth))?;
    Some(workload)
}

/// Judges the packet in the scratch.
#[inline(never)]
fn judge(ctx: &TcContext, workload: &Workload, scratch: &mut Scratch) -> Judged {
    let leave = {
        let Scratch { packet, facts, veil, .. } = &*scratch;
        leave(workload, packet, facts.ifindex == LOOPBACK, &Maps::about(veil, ctx))
    };
    settle(leave, Layer::Cgroup, workload, scratch)
}

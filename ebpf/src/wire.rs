//! The wire layer: every frame of a pod, whoever made it, on the host side of its veth.

use aya_ebpf::programs::TcContext;
use exeat_common::{
    abi::Workload,
    cgroup::is_past_wire,
    flow::protocol,
    id::WorkloadId,
    packet::Packet,
    reason::{Layer, Reason},
    wire::{Arrive, arrive, leave},
};

use crate::{
    answer, dns, header, known,
    load::{self, FrameFacts, Hook, Scratch},
    refuse, segment,
    tables::{Maps, workload_by_ifindex},
    verdict::{Judged, count_stopped, report_dropped, settle, stop},
};

/// What becomes of a frame.
#[derive(Clone, Copy)]
pub(crate) enum Fate {
    Go,
    Stop,
    /// Goes back to the pod: it was turned into its own answer.
    Return,
}

#[inline(always)]
pub(crate) fn from_pod(ctx: &TcContext) -> Fate {
    let facts = load::frame_facts(ctx);
    let workload = workload_by_ifindex(facts.ifindex);
    if workload.is_some_and(|workload| !facts.tagged && known::leaves(ctx, facts.length, workload))
    {
        return Fate::Go;
    }
    let read = header::read(ctx, facts, Hook::FromPod as u32);
    let Some(scratch) = load::scratch(Hook::FromPod) else {
        count_stopped(Layer::Wire, workload, facts, Reason::Malformed);
        return Fate::Stop;
    };
    if let Err(reason) = read {
        return stop(Layer::Wire, workload, facts, reason, scratch);
    }
    let Some(workload) = workload else {
        // Who sent it is not known, so nobody is told of it in a record; the sender is.
        count_stopped(Layer::Wire, None, facts, Reason::UnknownWorkload);
        return refuse::sender(ctx, WorkloadId::default(), scratch);
    };
    match judge(ctx, workload, scratch) {
        Judged::Go => Fate::Go,
        Judged::Refused => refuse::sender(ctx, workload.id, scratch),
        Judged::Ended => refuse::both_ends(ctx, workload.id, scratch),
        Judged::Query => {
            scratch.dropped = 0;
            scratch.telling.target = 0;
            let fate = if scratch.packet.protocol == protocol::TCP {
                segment::query(ctx, workload, scratch)
            } else {
                dns::query(ctx, workload, scratch)
            };
            if scratch.telling.target != 0 {
                return dns::answer_here(ctx, workload.id, scratch);
            }
            let Packet { destination, destination_port, .. } = scratch.packet;
            report_dropped(workload, destination, destination_port, scratch);
            fate
        }
    }
}

#[inline(always)]
pub(crate) fn to_pod(ctx: &TcContext) -> Fate {
    let facts = load::frame_facts(ctx);
    let Some(workload) = workload_by_ifindex(facts.ifindex) else {
        return Fate::Go;
    };
    if is_past_wire(workload) {
        // Not all of it comes by here, so its sockets are where it is looked at.
        return Fate::Go;
    }
    if !facts.tagged && known::arrives(ctx, facts.length, workload) {
        return Fate::Go;
    }
    match receive(ctx, facts, workload) {
        Arrive::Pass => Fate::Go,
        // By now nothing here holds the scratch.
        Arrive::Answer => {
            let fate = answer::answer(ctx, workload, Hook::ToPod as u32);
            if let Some(scratch) = load::scratch(Hook::ToPod) {
                let Packet { source, source_port, .. } = scratch.packet;
                report_dropped(workload, source, source_port, scratch);
            }
            fate
        }
        Arrive::Accepted => match load::scratch(Hook::ToPod) {
            Some(scratch) => dns::accepted(workload, scratch),
            None => Fate::Stop,
        },
        Arrive::Drop(reason) => match load::scratch(Hook::ToPod) {
            Some(scratch) => stop(Layer::Wire, Some(workload), scratch.facts, reason, scratch),
            None => Fate::Stop,
        },
    }
}

#[inline(always)]
fn receive(ctx: &TcContext, facts: FrameFacts, workload: &Workload) -> Arrive {
    // What cannot be parsed is no DNS answer and begins no flow; the pod's own stack judges it.
    let Ok(()) = header::read(ctx, facts, Hook::ToPod as u32) else {
        return Arrive::Pass;
    };
    load::scratch(Hook::ToPod).map_or(Arrive::Pass, |scratch| notice(workload, scratch))
}

/// Notes what the packet in the scratch begins or answers. Its frame is gone when it returns: older
/// kernels (6.1 does) round each frame up to 32 bytes, and the way to a learned address is three calls deep.
#[inline(never)]
fn notice(workload: &Workload, scratch: &Scratch) -> Arrive {
    arrive(Some(workload), &scratch.packet, &Maps::new(&scratch.veil))
}

/// Judges the packet in the scratch.
#[inline(never)]
fn judge(ctx: &TcContext, workload: &Workload, scratch: &mut Scratch) -> Judged {
    let leave = {
        let Scratch { packet, veil, .. } = &*scratch;
        leave(Some(workload), packet, &Maps::about(veil, ctx))
    };
    settle(leave, Layer::Wire, workload, scratch)
}

//! The wire layer: every frame of a pod, whoever made it, on the host side of its veth.

use aya_ebpf::programs::TcContext;
use exeat_common::{
    abi::Workload,
    address::Address,
    cgroup::is_past_wire,
    decide::Decision,
    flow::{Flow, protocol},
    id::WorkloadId,
    packet::Packet,
    reason::{Layer, Reason, Verdict},
    wire::{Arrive, Leave, arrive, leave},
};

use crate::{
    answer,
    count::{self, Tally},
    dns, header,
    load::{self, FrameFacts, Hook, Scratch},
    refuse, segment,
    tables::{Maps, workload_by_ifindex},
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
    let read = header::read(ctx, Hook::FromPod as u32);
    let Some(scratch) = load::scratch(Hook::FromPod) else {
        count_stopped(workload, facts, Reason::Malformed);
        return Fate::Stop;
    };
    if let Err(reason) = read {
        return stop(workload, facts, reason, scratch);
    }
    let Some(workload) = workload else {
        // Who sent it is not known, so nobody is told of it in a record; the sender is.
        count_stopped(None, facts, Reason::UnknownWorkload);
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
    match receive(ctx, workload) {
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
            Some(scratch) => stop(Some(workload), scratch.facts, reason, scratch),
            None => Fate::Stop,
        },
    }
}

#[inline(always)]
fn receive(ctx: &TcContext, workload: &Workload) -> Arrive {
    // What cannot be parsed is no DNS answer and begins no flow; the pod's own stack judges it.
    let Ok(()) = header::read(ctx, Hook::ToPod as u32) else {
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

/// The outcome of [`judge`].
enum Judged {
    Go,
    /// Its sender is told.
    Refused,
    /// Its sender and the far end of its connection are told.
    Ended,
    Query,
}

/// Judges the packet in the scratch, counts the verdict and reports it if it is worth it.
#[inline(never)]
fn judge(ctx: &TcContext, workload: &Workload, scratch: &mut Scratch) -> Judged {
    let Scratch { packet, facts, veil, event, .. } = scratch;
    let maps = Maps::about(veil, ctx);
    let (decision, denied) = match leave(Some(workload), packet, &maps) {
        Leave::Judged(decision) => (decision, Judged::Refused),
        Leave::Ended(decision) => (decision, Judged::Ended),
        Leave::Query => return Judged::Query,
    };
    let known_flow = matches!(decision.reason, Reason::Established | Reason::Inbound);
    let tally = Tally { flows: u64::from(!known_flow), bytes: facts.length as u64 };
    count::count(workload.id, Layer::Wire, decision.verdict, decision.reason, tally);
    let flow = Flow {
        workload: Some(workload),
        destination: packet.destination,
        port: packet.port(),
        protocol: packet.protocol,
    };
    match decision.verdict {
        Verdict::Allow => Judged::Go,
        Verdict::Deny | Verdict::Redirect => {
            count::report_packet(&flow, Layer::Wire, &decision, event);
            denied
        }
    }
}

/// Reports a DNS message that was dropped, under the resolver it went to or came from.
#[inline(never)]
pub(crate) fn report_dropped(
    workload: &Workload,
    resolver: Address,
    port: u16,
    scratch: &mut Scratch,
) {
    let Scratch { packet, event, dropped, .. } = scratch;
    if *dropped == 0 {
        return;
    }
    let decision = Decision::deny(Reason::from_u8(*dropped).unwrap_or_default());
    let protocol = packet.protocol;
    let flow = Flow { workload: Some(workload), destination: resolver, port, protocol };
    count::report_packet(&flow, Layer::Dns, &decision, event);
}

/// Refuses a frame of which no flow can be told: where it went stays unsaid.
#[inline(never)]
fn stop(
    workload: Option<&Workload>,
    facts: FrameFacts,
    reason: Reason,
    scratch: &mut Scratch,
) -> Fate {
    count_stopped(workload, facts, reason);
    let flow = Flow { workload, destination: Address::default(), port: 0, protocol: 0 };
    count::report_packet(&flow, Layer::Wire, &Decision::deny(reason), &mut scratch.event);
    Fate::Stop
}

#[inline(always)]
fn count_stopped(workload: Option<&Workload>, facts: FrameFacts, reason: Reason) {
    let id = workload.map_or(WorkloadId::default(), |workload| workload.id);
    let tally = Tally { flows: 1, bytes: facts.length as u64 };
    count::count(id, Layer::Wire, Verdict::Deny, reason, tally);
}

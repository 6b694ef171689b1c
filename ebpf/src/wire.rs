//! The wire layer: every frame of a pod, whoever made it, on the host side of its veth.

use aya_ebpf::programs::TcContext;
use exeat_common::{
    abi::Workload,
    bytes::Bytes,
    flow::Flow,
    id::WorkloadId,
    packet::{Frame, parse},
    reason::{Layer, Reason, Verdict},
    wire::{Arrive, Leave, arrive, leave},
};

use crate::{
    answer,
    count::{self, Tally},
    dns,
    load::{self, FrameFacts, Hook, Scratch},
    refuse,
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
    let Some(scratch) = load::scratch(Hook::FromPod) else {
        return stop(workload, facts, Reason::Malformed);
    };
    match read(ctx, scratch) {
        Ok(Known::Packet) => {}
        Ok(Known::Arp) => return Fate::Go,
        Err(reason) => return stop(workload, facts, reason),
    }
    let Some(workload) = workload else {
        let _dropped = stop(None, facts, Reason::UnknownWorkload);
        return refuse::sender(ctx, WorkloadId::default(), scratch);
    };
    match judge(workload, scratch) {
        Judged::Go => Fate::Go,
        Judged::Refused => refuse::sender(ctx, workload.id, scratch),
        Judged::Ended => refuse::both_ends(ctx, workload.id, scratch),
        Judged::Query => dns::query(ctx, workload, scratch),
    }
}

#[inline(always)]
pub(crate) fn to_pod(ctx: &TcContext) -> Fate {
    let facts = load::frame_facts(ctx);
    let Some(workload) = workload_by_ifindex(facts.ifindex) else {
        return Fate::Go;
    };
    match receive(ctx, workload) {
        Arrive::Pass => Fate::Go,
        // By now nothing here holds the scratch.
        Arrive::Answer => answer::answer(ctx, workload),
    }
}

#[inline(always)]
fn receive(ctx: &TcContext, workload: &Workload) -> Arrive {
    let Some(scratch) = load::scratch(Hook::ToPod) else {
        return Arrive::Pass;
    };
    // What cannot be parsed is no DNS answer and begins no flow; the pod's own stack judges it.
    let Ok(Known::Packet) = read(ctx, scratch) else {
        return Arrive::Pass;
    };
    arrive(Some(workload), &scratch.packet, &Maps::new(&scratch.veil))
}

/// What [`read`] found.
enum Known {
    Arp,
    /// An IP packet; its headers are in the scratch.
    Packet,
}

#[inline(never)]
fn read(ctx: &TcContext, scratch: &mut Scratch) -> Result<Known, Reason> {
    let facts = load::frame_facts(ctx);
    if facts.tagged {
        return Err(Reason::NotIp);
    }
    let loaded =
        load::load_header(ctx, facts.length, &mut scratch.header).ok_or(Reason::Malformed)?;
    match parse(&Bytes::new(&scratch.header, loaded), facts.length) {
        Ok(Frame::Arp) => Ok(Known::Arp),
        Ok(Frame::Ip(packet)) => {
            scratch.packet = packet;
            scratch.facts = facts;
            Ok(Known::Packet)
        }
        Err(invalid) => Err(invalid.reason()),
    }
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
fn judge(workload: &Workload, scratch: &Scratch) -> Judged {
    let packet = &scratch.packet;
    let maps = Maps::new(&scratch.veil);
    let (decision, denied) = match leave(Some(workload), packet, &maps) {
        Leave::Judged(decision) => (decision, Judged::Refused),
        Leave::Ended(decision) => (decision, Judged::Ended),
        Leave::Query => return Judged::Query,
    };
    let known_flow = matches!(decision.reason, Reason::Established | Reason::Inbound);
    let tally = Tally { flows: u64::from(!known_flow), bytes: scratch.facts.length as u64 };
    count::count(workload.id, Layer::Wire, decision.verdict, decision.reason, tally);
    let flow = Flow {
        workload: Some(workload),
        destination: packet.destination,
        port: packet.destination_port,
        protocol: packet.protocol,
    };
    match decision.verdict {
        Verdict::Allow => Judged::Go,
        Verdict::Deny | Verdict::Redirect => {
            count::report(&flow, Layer::Wire, &decision);
            denied
        }
    }
}

/// Refuses a frame of which no flow can be told.
#[inline(always)]
fn stop(workload: Option<&Workload>, facts: FrameFacts, reason: Reason) -> Fate {
    let id = workload.map_or(WorkloadId::default(), |workload| workload.id);
    let tally = Tally { flows: 1, bytes: facts.length as u64 };
    count::count(id, Layer::Wire, Verdict::Deny, reason, tally);
    Fate::Stop
}

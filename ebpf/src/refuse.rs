//! Telling the ends of a denied packet: the sender in any case, the receiver where it had a connection.

use aya_ebpf::programs::TcContext;
use exeat_common::{
    bytes::Bytes,
    id::WorkloadId,
    packet::HeaderBytes,
    reply::{abort, is_due, refuse},
};

use crate::{
    load::{self, Scratch},
    tables::{Maps, may_reply},
    wire::Fate,
};

/// Turns the frame in the scratch into the reply to its sender. Without one, or over the
/// workload's limit, it is dropped in silence.
#[inline(never)]
pub(crate) fn sender(ctx: &TcContext, workload: WorkloadId, scratch: &mut Scratch) -> Fate {
    if is_owed(scratch) && may_reply(workload) && turn_round(ctx, scratch) {
        Fate::Return
    } else {
        Fate::Stop
    }
}

/// The same, and the reset for the other end of the connection takes the frame's way.
#[inline(never)]
pub(crate) fn both_ends(ctx: &TcContext, workload: WorkloadId, scratch: &mut Scratch) -> Fate {
    if !may_reply(workload) {
        return Fate::Stop;
    }
    // A reset of the pod itself has no other addressee than the far end.
    if is_owed(scratch) && turn_round(ctx, scratch) {
        // Without its copy the pod sends again, and hears then.
        let _sent = load::copy_to_pod(ctx);
    }
    let Scratch { packet, header, reply, facts, .. } = scratch;
    let made = abort(packet, &Bytes::new(header, facts.length), reply);
    if made && load::replace(ctx, packet, reply, header) { Fate::Go } else { Fate::Stop }
}

/// Not inlined, like the next: what one finds out about addresses would stay known in the other,
/// which is then verified for each case.
#[inline(never)]
fn is_owed(scratch: &Scratch) -> bool {
    let header: HeaderBytes<'_> = Bytes::new(&scratch.header, scratch.facts.length);
    is_due(&scratch.packet, &header)
}

#[inline(never)]
fn turn_round(ctx: &TcContext, scratch: &mut Scratch) -> bool {
    let Scratch { packet, header, reply, facts, veil, .. } = scratch;
    refuse(packet, &Bytes::new(header, facts.length), &Maps::new(veil), reply)
        && load::replace(ctx, packet, reply, header)
}

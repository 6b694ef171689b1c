//! What becomes of a verdict about a packet, at the wire and at sockets alike: it is counted, and reported if it
//! is worth it.

use exeat_common::{
    abi::Workload,
    address::Address,
    decide::Decision,
    flow::Flow,
    id::WorkloadId,
    reason::{Layer, Reason, Verdict},
    wire::Leave,
};

use crate::{
    count::{self, Tally},
    load::{FrameFacts, Scratch},
    wire::Fate,
};

/// What is to be done about a packet that was judged.
pub(crate) enum Judged {
    Go,
    /// Its sender is told, where that is possible.
    Refused,
    /// Its sender and the far end of its connection are told, likewise.
    Ended,
    /// The DNS path decides on the message in it.
    Query,
}

/// Counts the verdict about the packet in the scratch and reports it if it is worth it.
#[inline(always)]
pub(crate) fn settle(
    leave: Leave,
    layer: Layer,
    workload: &Workload,
    scratch: &mut Scratch,
) -> Judged {
    let (decision, denied) = match leave {
        Leave::Judged(decision) => (decision, Judged::Refused),
        Leave::Ended(decision) => (decision, Judged::Ended),
        Leave::Query => return Judged::Query,
    };
    let Scratch { packet, facts, event, .. } = scratch;
    let known_flow = matches!(decision.reason, Reason::Established | Reason::Inbound);
    let tally = Tally { flows: u64::from(!known_flow), bytes: facts.length as u64 };
    count::count(workload.id, layer, decision.verdict, decision.reason, tally);
    let flow = Flow {
        workload: Some(workload),
        destination: packet.destination,
        port: packet.port(),
        protocol: packet.protocol,
    };
    match decision.verdict {
        Verdict::Allow => Judged::Go,
        Verdict::Deny | Verdict::Redirect => {
            count::report_packet(&flow, layer, &decision, event);
            denied
        }
    }
}

/// Refuses a packet of which no flow can be told: where it went stays unsaid.
#[inline(never)]
pub(crate) fn stop(
    layer: Layer,
    workload: Option<&Workload>,
    facts: FrameFacts,
    reason: Reason,
    scratch: &mut Scratch,
) -> Fate {
    count_stopped(layer, workload, facts, reason);
    let flow = Flow { workload, destination: Address::default(), port: 0, protocol: 0 };
    count::report_packet(&flow, layer, &Decision::deny(reason), &mut scratch.event);
    Fate::Stop
}

#[inline(always)]
pub(crate) fn count_stopped(
    layer: Layer,
    workload: Option<&Workload>,
    facts: FrameFacts,
    reason: Reason,
) {
    let id = workload.map_or(WorkloadId::default(), |workload| workload.id);
    let tally = Tally { flows: 1, bytes: facts.length as u64 };
    count::count(id, layer, Verdict::Deny, reason, tally);
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

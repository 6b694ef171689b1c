//! The wire layer's judgement of one packet, in either direction.

use crate::{
    abi::{FlowKey, FlowValue, Workload, direction, workload_flag},
    decide::{Decision, Tables, decide, is_still_allowed},
    flow::{Flow, protocol},
    id::{SubjectId, WorkloadId},
    limits::RESETS_PER_FLOW,
    memory::Memory,
    packet::{Packet, icmp_type},
    reason::{Reason, Verdict},
};

/// What to do with a packet from the pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Leave {
    /// Carry the decision out.
    Judged(Decision),
    /// Deny, and tell the remote end of the connection as well: it had been allowed until now.
    Ended(Decision),
    /// Goes to a trusted resolver: the DNS path decides on the message.
    Query,
}

/// What to do with a packet to the pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Arrive {
    Pass,
    /// Comes from a trusted resolver: the DNS path decides on the message.
    Answer,
}

/// Judges a packet that the pod sends. New flows go to [`decide`]; flows that were allowed are
/// judged again only when the rules change, so that an expired name ends no open connection.
#[inline(always)]
pub fn leave<M: Memory>(workload: Option<&Workload>, packet: &Packet, memory: &M) -> Leave {
    let Some(known) = workload else {
        return Leave::Judged(Decision::deny(Reason::UnknownWorkload));
    };
    if known.flags & workload_flag::EXEMPT != 0 {
        return Leave::Judged(Decision::allow(Reason::Exempt));
    }
    // Loopback is exempt at the socket, where it stays inside the pod. On the wire it is forged.
    if packet.destination.is_loopback() {
        return Leave::Judged(Decision::deny(Reason::Malformed));
    }
    if is_neighbour_traffic(packet) {
        return Leave::Judged(Decision::allow(Reason::Neighbour));
    }
    if !is_own_source(known, packet) {
        return Leave::Judged(Decision::deny(Reason::SpoofedSource));
    }
    if is_to_resolver(packet, memory) {
        return if packet.protocol == protocol::TCP && packet.payload_length == 0 {
            Leave::Judged(Decision::allow(Reason::TrustedResolver))
        } else {
            Leave::Query
        };
    }
    let flow = Flow {
        workload,
        destination: packet.destination,
        port: packet.destination_port,
        protocol: packet.protocol,
    };
    let key = outbound_key(known.id, packet);
    // An opening segment begins a new flow, whatever used the same ports before.
    let recalled = if packet.opens() { None } else { memory.flow(&key) };
    let mut lapsed = NO_FLOW;
    if let Some(known_flow) = recalled {
        match recall(&flow, &key, &known_flow, packet, memory) {
            Recall::Goes(reason) => return Leave::Judged(Decision::allow(reason)),
            Recall::Anew => lapsed = known_flow,
        }
    }
    let decision = judge_new(&flow, &key, packet, memory);
    if decision.verdict == Verdict::Allow || lapsed.direction == NO_FLOW.direction {
        return Leave::Judged(decision);
    }
    end(&key, &lapsed, decision, memory)
}

/// What stands for no flow. An `Option` would leave its payload undefined on one path, and the
/// verifier refuses the register that LLVM leaves it in.
const NO_FLOW: FlowValue = FlowValue {
    generation: 0,
    last_seen: 0,
    subject: SubjectId::NONE,
    direction: 0,
    closing: 0,
    resets: 0,
    reserved: 0,
};

/// Denies a packet of a flow that was allowed when it began. A TCP connection stays known for a
/// while, so that the remote end is told, and a few times at most: what tells it is a packet to
/// where nothing is allowed any more.
#[inline(always)]
fn end<M: Memory>(key: &FlowKey, flow: &FlowValue, decision: Decision, memory: &M) -> Leave {
    let decision = if flow.subject.is_some() {
        Decision { subject: flow.subject, ..Decision::deny(Reason::Revoked) }
    } else {
        decision
    };
    if key.protocol != protocol::TCP {
        memory.remove_flow(key);
        return Leave::Judged(decision);
    }
    if flow.resets >= RESETS_PER_FLOW {
        return Leave::Judged(decision);
    }
    let told =
        FlowValue { direction: direction::REVOKED, closing: 1, resets: flow.resets + 1, ..*flow };
    // A reset that could not be counted is not sent.
    if !memory.renew_flow(key, &told) {
        return Leave::Judged(decision);
    }
    Leave::Ended(decision)
}

/// Looks at a packet for the pod. Nothing is refused here but DNS answers nobody asked for; flows
/// that begin outside are remembered, so that the pod may answer them.
#[inline(always)]
pub fn arrive<M: Memory>(workload: Option<&Workload>, packet: &Packet, memory: &M) -> Arrive {
    let Some(known) = workload else {
        return Arrive::Pass;
    };
    if known.flags & workload_flag::EXEMPT != 0 {
        return Arrive::Pass;
    }
    if matches!(packet.protocol, protocol::UDP | protocol::TCP)
        && memory.is_resolver(packet.source, packet.source_port)
    {
        let empty_segment = packet.protocol == protocol::TCP && packet.payload_length == 0;
        return if empty_segment { Arrive::Pass } else { Arrive::Answer };
    }
    let key = inbound_key(known.id, packet);
    if let Some(flow) = memory.flow(&key)
        && !packet.opens()
    {
        // Not judged here: who keeps sending must not make the flow one of the rules of now.
        if flow.direction != direction::REVOKED {
            touch(&key, &flow, flow.generation, packet, memory);
        }
        return Arrive::Pass;
    }
    if begins_inbound(packet) {
        let value = FlowValue {
            generation: memory.generation(),
            last_seen: memory.now(),
            subject: SubjectId::NONE,
            direction: direction::INBOUND,
            closing: 0,
            ..NO_FLOW
        };
        if let Err(full) = memory.begin_flow(&key, &value) {
            memory.note(known.id, full.reason());
        }
    }
    Arrive::Pass
}

/// What a remembered flow says about its next packet.
enum Recall {
    /// It goes on.
    Goes(Reason),
    /// The rules changed since, and what allowed it is gone or was no rule: judge it anew.
    Anew,
}

#[inline(always)]
fn recall<M: Memory>(
    flow: &Flow<'_>,
    key: &FlowKey,
    known: &FlowValue,
    packet: &Packet,
    memory: &M,
) -> Recall {
    let generation = memory.generation();
    let reason = if known.direction == direction::INBOUND {
        Reason::Inbound
    } else if known.direction == direction::OUTBOUND
        && (known.generation == generation
            || (known.subject.is_some() && is_still_allowed(flow, known.subject, memory)))
    {
        Reason::Established
    } else {
        return Recall::Anew;
    };
    if packet.resets() {
        // The pod itself ends it; a reset that arrives may be forged, and only marks the flow.
        memory.remove_flow(key);
    } else {
        touch(key, known, generation, packet, memory);
    }
    Recall::Goes(reason)
}

/// Judges the first packet of a flow and remembers the flow if it may go on. If the table is full
/// the flow is still judged packet by packet, which is stricter, not looser.
#[inline(always)]
fn judge_new<M: Memory>(flow: &Flow<'_>, key: &FlowKey, packet: &Packet, memory: &M) -> Decision {
    // A packet on the wire was not redirected at the socket, so it goes past the target.
    let decision = decide(flow, memory).without_redirect();
    if decision.verdict == Verdict::Allow {
        let value = FlowValue {
            generation: memory.generation(),
            last_seen: memory.now(),
            subject: decision.subject,
            direction: direction::OUTBOUND,
            closing: u8::from(packet.closes()),
            ..NO_FLOW
        };
        if let Err(full) = memory.begin_flow(key, &value) {
            memory.note(key.workload, full.reason());
        }
    }
    decision
}

/// Writes a flow back if something changed, at most once a second for its time alone. `generation`
/// is that under which it was last judged.
#[inline(always)]
fn touch<M: Memory>(
    key: &FlowKey,
    value: &FlowValue,
    generation: u32,
    packet: &Packet,
    memory: &M,
) {
    let renewed = FlowValue {
        generation,
        last_seen: memory.now(),
        closing: u8::from(packet.closes()) | value.closing,
        ..*value
    };
    if renewed != *value {
        // If it was collected meanwhile, the next packet is judged anew.
        let _collected = memory.renew_flow(key, &renewed);
    }
}

/// Neighbour discovery and listener reports that cannot leave the link (RFC 4861 §7, RFC 3810).
/// The destination is checked too: to any other address the node would forward them.
#[inline(always)]
fn is_neighbour_traffic(packet: &Packet) -> bool {
    packet.protocol == protocol::ICMPV6
        && (matches!(
            packet.detail,
            icmp_type::V6_LISTENER_QUERY..=icmp_type::V6_NEIGHBOUR_ADVERTISEMENT
        ) || packet.detail == icmp_type::V6_LISTENER_REPORT_2)
        && (packet.destination.is_v6_link_local() || packet.destination.is_v6_link_multicast())
}

#[inline(always)]
fn is_own_source(workload: &Workload, packet: &Packet) -> bool {
    if workload.address_count == 0 {
        return true;
    }
    let [a, b, c, d] = workload.addresses;
    let count = workload.address_count;
    packet.source == a
        || (count > 1 && packet.source == b)
        || (count > 2 && packet.source == c)
        || (count > 3 && packet.source == d)
}

#[inline(always)]
fn is_to_resolver<T: Tables>(packet: &Packet, tables: &T) -> bool {
    matches!(packet.protocol, protocol::UDP | protocol::TCP)
        && tables.is_resolver(packet.destination, packet.destination_port)
}

/// Whether a packet to the pod may be the first of a flow that the pod will answer.
#[inline(always)]
fn begins_inbound(packet: &Packet) -> bool {
    match packet.protocol {
        protocol::TCP => packet.opens(),
        protocol::UDP => true,
        protocol::ICMP => packet.detail == icmp_type::ECHO,
        protocol::ICMPV6 => packet.detail == icmp_type::V6_ECHO,
        _ => false,
    }
}

/// The flow of a packet from the pod.
#[inline(always)]
fn outbound_key(workload: WorkloadId, packet: &Packet) -> FlowKey {
    let local = (packet.source, packet.source_port);
    FlowKey::new(workload, packet.protocol, local, (packet.destination, packet.destination_port))
}

/// The flow of a packet to the pod. Echo keeps its identifier as the local port in both.
#[inline(always)]
fn inbound_key(workload: WorkloadId, packet: &Packet) -> FlowKey {
    let (local_port, remote_port) = match packet.protocol {
        protocol::ICMP | protocol::ICMPV6 => (packet.source_port, 0),
        _ => (packet.destination_port, packet.source_port),
    };
    let local = (packet.destination, local_port);
    FlowKey::new(workload, packet.protocol, local, (packet.source, remote_port))
}

//! The wire layer's judgement of one packet, in either direction.

use crate::{
    abi::{FlowKey, FlowValue, Workload, direction, workload_flag},
    address::Address,
    cgroup::{layer_of_arriving, layer_of_leaving},
    decide::{Decision, Tables, decide, is_still_allowed, is_still_redirected},
    flow::{Flow, protocol},
    id::{SubjectId, WorkloadId},
    limits::RESETS_PER_FLOW,
    memory::Memory,
    packet::{Packet, icmp_type, is_echo, is_error},
    reason::{Layer, Reason, Verdict},
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
    /// A trusted resolver accepts a connection: the DNS path notes where it begins.
    Accepted,
    /// Comes from a trusted resolver: the DNS path decides on the message.
    Answer,
    /// Is not for the pod at all.
    Drop(Reason),
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
    if packet.arp || is_between_neighbours(packet) {
        if !speaks_for_itself(known, packet) {
            return Leave::Judged(Decision::deny(Reason::SpoofedSource));
        }
        if packet.arp || stays_on_link(packet) {
            return Leave::Judged(Decision::allow(Reason::Neighbour));
        }
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
    // An ICMP error is judged by the flow that it is about.
    let flow = Flow {
        workload,
        destination: packet.destination,
        port: packet.destination_port,
        protocol: packet.flow_protocol,
    };
    let key = outbound_key(known.id, packet);
    // An opening segment begins a new flow, whatever used the same ports before.
    if !packet.opens()
        && let Some(known_flow) = memory.flow(&key)
        && let Recall::Goes(reason) = recall(&flow, &key, &known_flow, packet, memory)
    {
        return Leave::Judged(Decision::allow(reason));
    }
    let flow = Flow { port: packet.port(), protocol: packet.protocol, ..flow };
    let decision = judge_new(&flow, &key, packet, memory);
    if decision.verdict == Verdict::Allow || packet.opens() {
        return Leave::Judged(decision);
    }
    // Looked up again rather than kept: `decide` would be verified once for each of its states.
    match memory.flow(&key) {
        Some(lapsed) => end(&key, &lapsed, decision, packet, memory),
        None => Leave::Judged(decision),
    }
}

/// Denies a packet of a flow that was allowed when it began. A TCP connection stays known for a
/// while, so that the remote end is told, and a few times at most: what tells it is a packet to
/// where nothing is allowed any more.
#[inline(always)]
fn end<M: Memory>(
    key: &FlowKey,
    flow: &FlowValue,
    decision: Decision,
    packet: &Packet,
    memory: &M,
) -> Leave {
    let decision = if flow.subject.is_some() {
        Decision { subject: flow.subject, ..Decision::deny(Reason::Revoked) }
    } else {
        decision
    };
    if key.protocol != protocol::TCP {
        memory.remove_flow(key);
        return Leave::Judged(decision);
    }
    // An ICMP error about the connection is no segment of it that a reset could answer.
    if packet.protocol != protocol::TCP || flow.resets >= RESETS_PER_FLOW {
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

/// Looks at a packet for the pod. Nothing is refused here but DNS answers nobody asked for, and what
/// is for another host; flows that begin outside are remembered, so that the pod may answer them.
#[inline(always)]
pub fn arrive<M: Memory>(workload: Option<&Workload>, packet: &Packet, memory: &M) -> Arrive {
    let Some(known) = workload else {
        return Arrive::Pass;
    };
    if known.flags & workload_flag::EXEMPT != 0 {
        return Arrive::Pass;
    }
    if packet.arp {
        return Arrive::Pass;
    }
    if !is_for(known, packet) {
        return Arrive::Drop(Reason::SpoofedLink);
    }
    receive(known, packet, memory)
}

/// The same for a packet of which it is known that it has come to the right one.
#[inline(always)]
pub(crate) fn receive<M: Memory>(known: &Workload, packet: &Packet, memory: &M) -> Arrive {
    if matches!(packet.protocol, protocol::UDP | protocol::TCP)
        && memory.is_resolver(packet.source, packet.source_port)
    {
        return if packet.protocol == protocol::UDP || packet.payload_length != 0 {
            Arrive::Answer
        } else if packet.accepts() {
            Arrive::Accepted
        } else {
            Arrive::Pass
        };
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
    if begins_inbound(packet) || begins_neighbourhood(known, packet, &key) {
        let value = FlowValue {
            generation: memory.generation(),
            last_seen: memory.now(),
            subject: SubjectId::NONE,
            direction: direction::INBOUND,
            closing: 0,
            resets: 0,
            reserved: [0; _],
            dialled_port: 0,
        };
        if let Err(full) = memory.begin_flow(&key, &value) {
            memory.note(known.id, layer_of_arriving(known), full.reason());
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
        && (known.generation == generation || stands(flow, known, memory))
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

/// Whether the rule is still there that a remembered flow rests on.
#[inline(always)]
fn stands<M: Memory>(flow: &Flow<'_>, known: &FlowValue, memory: &M) -> bool {
    if known.dialled_port == 0 {
        return known.subject.is_some() && is_still_allowed(flow, known.subject, memory);
    }
    let dialled = (known.dialled_port, flow.protocol);
    match flow.workload {
        Some(workload) => is_still_redirected(workload, known.subject, dialled, memory),
        None => false,
    }
}

/// Judges the first packet of a flow and remembers the flow if it may go on. If the table is full
/// the flow is still judged packet by packet, which is stricter, not looser.
#[inline(always)]
fn judge_new<M: Memory>(flow: &Flow<'_>, key: &FlowKey, packet: &Packet, memory: &M) -> Decision {
    // What is redirected does not go where it was dialled, so this goes past the target.
    let mut decision = decide(flow, memory).without_redirect();
    let mut dialled_port = 0;
    if decision.verdict == Verdict::Deny
        && packet.flow_protocol == packet.protocol
        && let Some(workload) = flow.workload
        && let Some(passage) = memory.redirected(packet.destination, packet.destination_port)
        && passage.stands(workload, packet.protocol, memory)
    {
        // Its socket dialled something that is sent here. Only its own packets say so.
        decision = Decision::allow(Reason::Redirected).about(passage.subject);
        dialled_port = passage.dialled_port;
    }
    if decision.reason == Reason::Registered && is_icmp_beyond_echo(packet) {
        let stray = is_error(packet.protocol, packet.detail);
        let reason = if stray { Reason::StrayError } else { Reason::PortNotDeclared };
        return Decision { subject: decision.subject, ..Decision::deny(reason) };
    }
    if decision.verdict == Verdict::Allow && packet.flow_protocol == packet.protocol {
        let value = FlowValue {
            generation: memory.generation(),
            last_seen: memory.now(),
            subject: decision.subject,
            direction: direction::OUTBOUND,
            closing: u8::from(packet.closes()),
            resets: 0,
            reserved: [0; _],
            dialled_port,
        };
        if let Err(full) = memory.begin_flow(key, &value) {
            let layer = flow.workload.map_or(Layer::Wire, layer_of_leaving);
            memory.note(key.workload, layer, full.reason());
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

/// ICMP that an entry does not grant with its ports: what is about other packets, or asks for more
/// than a sign of life.
#[inline(always)]
fn is_icmp_beyond_echo(packet: &Packet) -> bool {
    matches!(packet.protocol, protocol::ICMP | protocol::ICMPV6)
        && !is_echo(packet.protocol, packet.detail)
}

/// Neighbour discovery and listener reports (RFC 4861, RFC 2710, RFC 3810), as far as a host that
/// is no router sends them.
#[inline(always)]
fn is_between_neighbours(packet: &Packet) -> bool {
    packet.protocol == protocol::ICMPV6
        && matches!(
            packet.detail,
            icmp_type::V6_LISTENER_REPORT
                | icmp_type::V6_LISTENER_DONE
                | icmp_type::V6_ROUTER_SOLICITATION
                | icmp_type::V6_NEIGHBOUR_SOLICITATION
                | icmp_type::V6_NEIGHBOUR_ADVERTISEMENT
                | icmp_type::V6_LISTENER_REPORT_2
        )
}

/// The node forwards packets for any other address. A neighbour's answer to such an address passes
/// as one that was asked for.
#[inline(always)]
fn stays_on_link(packet: &Packet) -> bool {
    packet.destination.is_v6_link_local() || packet.destination.is_v6_link_multicast()
}

/// Whether a message between neighbours is about its sender. Its link-local address is the pod's own
/// choice, and who has no address yet says so (RFC 4861 §4.3, RFC 5227 §2.1.1).
#[inline(always)]
fn speaks_for_itself(workload: &Workload, packet: &Packet) -> bool {
    let told = !asks_or_tells(packet, icmp_type::V6_NEIGHBOUR_ADVERTISEMENT)
        || may_speak_for(workload, packet.target);
    told && may_speak_for(workload, packet.source)
}

#[inline(always)]
const fn asks_or_tells(packet: &Packet, kind: u8) -> bool {
    packet.protocol == protocol::ICMPV6 && packet.detail == kind
}

#[inline(always)]
fn may_speak_for(workload: &Workload, address: Address) -> bool {
    is_own(workload, address) || address.is_v6_link_local() || address.is_unspecified()
}

/// Whether the source is one of the workload's own, as far as those are known.
#[inline(always)]
pub(crate) fn is_own_source(workload: &Workload, packet: &Packet) -> bool {
    is_own(workload, packet.source)
}

/// Whether a packet is for the pod, or for everybody. One for another host got here because its
/// sender put the pod's hardware address on it.
#[inline(always)]
fn is_for(workload: &Workload, packet: &Packet) -> bool {
    let to = packet.destination;
    is_own(workload, to) || to.is_v6_link_local() || to.is_group()
}

/// Whether an address is the workload's. If it has none that we know of, each may be.
#[inline(always)]
pub(crate) fn is_own(workload: &Workload, address: Address) -> bool {
    if workload.address_count == 0 {
        return true;
    }
    let [a, b, c, d] = workload.addresses;
    let count = workload.address_count;
    address == a
        || (count > 1 && address == b)
        || (count > 2 && address == c)
        || (count > 3 && address == d)
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

/// Whether a neighbour asks for the pod's address or tells its own, so that the pod may answer and
/// ask again at that address (RFC 4861 §7.2.4 and §7.3.3). To link-local addresses it always may.
#[inline(always)]
fn begins_neighbourhood(workload: &Workload, packet: &Packet, key: &FlowKey) -> bool {
    (asks_or_tells(packet, icmp_type::V6_NEIGHBOUR_SOLICITATION)
        || asks_or_tells(packet, icmp_type::V6_NEIGHBOUR_ADVERTISEMENT))
        && is_own(workload, key.local)
        && !key.remote.is_v6_link_local()
        && !key.remote.is_unspecified()
}

/// The flow of a packet from the pod.
#[inline(always)]
pub(crate) fn outbound_key(workload: WorkloadId, packet: &Packet) -> FlowKey {
    let local = (packet.source, packet.source_port);
    let remote = (packet.destination, packet.destination_port);
    FlowKey::new(workload, packet.flow_protocol, local, remote)
}

/// The flow of a packet to the pod. Echo keeps its identifier as the local port in both.
#[inline(always)]
pub(crate) fn inbound_key(workload: WorkloadId, packet: &Packet) -> FlowKey {
    let (local_port, remote_port) = match packet.flow_protocol {
        protocol::ICMP | protocol::ICMPV6 => (packet.source_port, packet.destination_port),
        _ => (packet.destination_port, packet.source_port),
    };
    // A question goes to a group, and an answer may come from any address of who answers: the target
    // is who is meant.
    let asks = asks_or_tells(packet, icmp_type::V6_NEIGHBOUR_SOLICITATION);
    let tells = asks_or_tells(packet, icmp_type::V6_NEIGHBOUR_ADVERTISEMENT);
    let local = (if asks { packet.target } else { packet.destination }, local_port);
    let remote = (if tells { packet.target } else { packet.source }, remote_port);
    FlowKey::new(workload, packet.flow_protocol, local, remote)
}

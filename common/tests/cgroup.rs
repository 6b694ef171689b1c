//! Packets at the sockets of a workload without a veth, through the parser and the judgement.

#![cfg(test)]

mod support;

use std::net::IpAddr;

use exeat_common::{
    abi::{RuleValue, Workload, workload_flag},
    bytes::Bytes,
    cgroup::{arrive, arrives_here, is_at_home, leave, leaves_here, may_create},
    dns::stream::{Piece, Segment, accept, locate},
    flow::protocol,
    id::SubjectId,
    packet::{HEADER_BUFFER_BYTES, InvalidFrame, Packet, parse_ip},
    reason::{Layer, Reason, Verdict},
    wire::{Arrive, Leave},
};
use support::{RESOLVER, World, workload};

const EXACT: SubjectId = SubjectId::pattern(1, true, 3);
const SITE: &str = "192.0.2.1";
const HOST: &str = "100.64.0.1";
const SYN: u8 = 0x02;

/// On the network of the host: nothing is said of its addresses.
fn daemon() -> Workload {
    Workload { address_count: 0, flags: 0, netns_cookie: 1, ..workload() }
}

fn udp(from: (&str, u16), to: (&str, u16)) -> Packet {
    packet(from, to, protocol::UDP, &[0, 12, 0, 0, 1, 2, 3, 4])
}

fn syn(from: (&str, u16), to: (&str, u16)) -> Packet {
    tcp(from, to, SYN)
}

fn tcp(from: (&str, u16), to: (&str, u16), flags: u8) -> Packet {
    let rest = [0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0];
    packet(from, to, protocol::TCP, &rest)
}

fn packet(from: (&str, u16), to: (&str, u16), proto: u8, rest: &[u8]) -> Packet {
    let segment = [&from.1.to_be_bytes()[..], &to.1.to_be_bytes(), rest].concat();
    let bytes = ip(from.0, to.0, proto, &segment);
    read(&bytes).expect("a packet")
}

fn ip(from: &str, to: &str, proto: u8, segment: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    match (from.parse().expect("one"), to.parse().expect("one")) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total = u16::try_from(20 + segment.len()).expect("short");
            bytes.extend([0x45, 0]);
            bytes.extend(total.to_be_bytes());
            bytes.extend([0, 0, 0, 0, 64, proto, 0, 0]);
            bytes.extend(from.octets().into_iter().chain(to.octets()));
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            bytes.extend([0x60, 0, 0, 0]);
            bytes.extend(u16::try_from(segment.len()).expect("short").to_be_bytes());
            bytes.extend([proto, 64]);
            bytes.extend(from.octets().into_iter().chain(to.octets()));
        }
        mixed => panic!("{mixed:?}"),
    }
    bytes.extend(segment);
    bytes
}

fn read(bytes: &[u8]) -> Result<Packet, InvalidFrame> {
    let mut buffer = [0; HEADER_BUFFER_BYTES];
    buffer[..bytes.len()].copy_from_slice(bytes);
    parse_ip(&Bytes::new(&buffer, bytes.len()), bytes.len(), &World::default())
}

fn world() -> World {
    let mut world = World::default();
    world.grant(EXACT, 443, protocol::TCP, RuleValue::ALLOW);
    world.told(SITE, EXACT, 2_000);
    world
}

#[track_caller]
fn check(packet: &Packet, on_loopback: bool, verdict: Verdict, reason: Reason) {
    check_of(&daemon(), packet, on_loopback, verdict, reason);
}

#[track_caller]
fn check_of(of: &Workload, packet: &Packet, on_loopback: bool, verdict: Verdict, reason: Reason) {
    match leave(of, packet, on_loopback, &world()) {
        Leave::Judged(decision) => {
            assert_eq!((decision.verdict, decision.reason), (verdict, reason));
        }
        other @ (Leave::Ended(_) | Leave::Query) => panic!("{other:?}"),
    }
}

#[test]
fn packets_without_a_link_header_are_read() {
    let v4 = udp((HOST, 5000), (SITE, 53));
    assert_eq!((v4.transport, v4.payload, v4.payload_length), (20, 28, 4));
    let v6 = udp(("fd00::1", 5000), ("2001:db8::1", 53));
    assert_eq!((v6.transport, v6.payload, v6.payload_length), (40, 48, 4));
    assert_eq!(v6.destination_port, 53);
    assert_eq!(read(&[]), Err(InvalidFrame::Malformed));
    assert_eq!(read(&[0x55; 40]), Err(InvalidFrame::NotIp));
    assert_eq!(read(&ip(HOST, SITE, protocol::UDP, &[])), Err(InvalidFrame::Malformed));
}

#[test]
fn source_routes_are_refused() {
    let with_option = |option: &[u8]| {
        let mut bytes = ip(HOST, SITE, protocol::UDP, &[0; 8]);
        bytes[25] = 8;
        bytes[0] = 0x47;
        bytes[3] += 8;
        bytes.splice(20..20, option.iter().copied());
        read(&bytes)
    };
    for kind in [131, 137] {
        let option = [1, kind, 7, 4, 192, 0, 2, 1];
        assert_eq!(with_option(&option), Err(InvalidFrame::SourceRoute));
    }
    assert_eq!(with_option(&[1; 8]).expect("a packet").transport, 28);
}

#[test]
fn flows_are_judged_as_on_the_wire() {
    check(&syn((HOST, 5000), (SITE, 443)), false, Verdict::Allow, Reason::Registered);
    check(&syn((HOST, 5000), (SITE, 80)), false, Verdict::Deny, Reason::PortNotDeclared);
    check(&syn((HOST, 5000), ("203.0.113.9", 443)), false, Verdict::Deny, Reason::NotRegistered);
    let query = udp((HOST, 5000), (RESOLVER, 53));
    assert_eq!(leave(&daemon(), &query, false, &world()), Leave::Query);
}

#[test]
fn an_inbound_flow_is_answered() {
    let world = world();
    let back = tcp((HOST, 8080), ("203.0.113.9", 6000), 0x12);
    assert!(matches!(
        leave(&daemon(), &back, false, &world),
        Leave::Judged(decision) if decision.verdict == Verdict::Deny
    ));
    let opening = syn(("203.0.113.9", 6000), (HOST, 8080));
    assert_eq!(arrive(&daemon(), &opening, false, &world), Arrive::Pass);
    assert!(matches!(
        leave(&daemon(), &back, false, &world),
        Leave::Judged(decision) if decision.reason == Reason::Inbound
    ));
}

/// The host puts another address in the place of a Service address as the segment leaves.
#[test]
fn a_connection_to_a_translated_resolver_is_known_again() {
    const SERVICE: &str = "10.96.0.10";
    let segment = Segment { sequence: 1, length: 20, head: 18 };
    let leaving = tcp((HOST, 5000), (RESOLVER, 53), 0x10);
    let back = ip(
        SERVICE,
        HOST,
        protocol::TCP,
        &[0, 53, 0x13, 0x88, 0, 0, 0, 9, 0, 0, 0, 1, 0x50, 0x12, 0, 0, 0, 0, 0, 0],
    );
    let accepted = read(&back).expect("a packet");
    let mut buffer = [0; HEADER_BUFFER_BYTES];
    buffer[..back.len()].copy_from_slice(&back);
    for (of, piece) in [
        (daemon(), Piece::Messages),
        // The twin: on the wire the addresses stay, and such a connection was never seen.
        (workload(), Piece::Broken),
    ] {
        let world = World { resolver: SERVICE, ..world() };
        assert_eq!(arrive(&daemon(), &accepted, false, &world), Arrive::Accepted);
        accept(&of, &accepted, &Bytes::new(&buffer, back.len()), &world);
        assert_eq!(locate(&of, &leaving, segment, &world).0, piece);
    }
}

/// A host has more addresses than are declared. The kernel knows best whose a packet is.
#[test]
fn what_arrives_at_a_socket_is_its_own() {
    let pod = Workload { address_count: 1, ..daemon() };
    let to_another = udp(("203.0.113.9", 6000), (HOST, 8080));
    assert_eq!(arrive(&pod, &to_another, false, &world()), Arrive::Pass);
    let on_wire = exeat_common::wire::arrive(Some(&pod), &to_another, &world());
    assert_eq!(on_wire, Arrive::Drop(Reason::SpoofedLink));
}

#[test]
fn loopback_goes_and_is_not_remembered() {
    for (from, to) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), (HOST, "127.0.0.9")] {
        check(&udp((from, 5000), (to, 4000)), true, Verdict::Allow, Reason::Loopback);
        check(&syn((from, 5000), (to, 4000)), true, Verdict::Allow, Reason::Loopback);
        // On any other device it is forged.
        check(&udp((from, 5000), (to, 4000)), false, Verdict::Deny, Reason::Malformed);
    }
    let world = world();
    let inbound = udp(("127.0.0.1", 6000), ("127.0.0.1", 8080));
    assert_eq!(arrive(&daemon(), &inbound, true, &world), Arrive::Pass);
    assert!(world.flows.borrow().is_empty());
    // The host's own addresses are addresses like others, also over loopback.
    check(&syn((HOST, 5000), (HOST, 443)), true, Verdict::Deny, Reason::NotRegistered);
}

#[test]
fn a_name_server_on_loopback_must_be_trusted() {
    let asked = |to| leave(&daemon(), &udp(("127.0.0.1", 5000), (to, 53)), true, &world());
    assert_eq!(
        asked("127.0.0.53"),
        Leave::Judged(exeat_common::decide::Decision::deny(Reason::NotRegistered))
    );
    let local = World { resolver: "127.0.0.53", ..world() };
    let query = udp(("127.0.0.1", 5000), ("127.0.0.53", 53));
    assert_eq!(leave(&daemon(), &query, true, &local), Leave::Query);
    let answer = udp(("127.0.0.53", 53), ("127.0.0.1", 5000));
    assert_eq!(arrive(&daemon(), &answer, true, &local), Arrive::Answer);
    // Its address on another device is forged.
    assert_eq!(arrive(&daemon(), &answer, false, &local), Arrive::Pass);
}

#[test]
fn nobody_answers_in_the_place_of_a_resolver() {
    let forged = udp((RESOLVER, 53), (HOST, 5000));
    for on_loopback in [false, true] {
        check(&forged, on_loopback, Verdict::Deny, Reason::SpoofedSource);
        // But for whoever has that address: then it is the resolver.
        let mut resolver = daemon();
        resolver.addresses[0] = support::address(RESOLVER);
        resolver.address_count = 1;
        let denied = Reason::NotRegistered;
        check_of(&resolver, &forged, on_loopback, Verdict::Deny, denied);
    }
    // A pod which is judged on the wire as it sends could: nothing is taken from its loopback.
    let flags = workload_flag::ON_WIRE | workload_flag::PAST_WIRE;
    let pod = Workload { flags, ..workload() };
    assert_eq!(arrive(&pod, &forged, true, &world()), Arrive::Pass);
    assert_eq!(arrive(&pod, &forged, false, &world()), Arrive::Answer);
}

#[test]
fn flags_say_where_a_workload_is_judged() {
    let of = |flags| Workload { flags, ..daemon() };
    let both = |flags| (leaves_here(&of(flags)), arrives_here(&of(flags)));
    assert_eq!(both(0), (true, true));
    assert_eq!(both(workload_flag::ON_WIRE), (false, false));
    assert_eq!(both(workload_flag::ON_WIRE | workload_flag::PAST_WIRE), (false, true));
    assert_eq!(both(workload_flag::EXEMPT), (false, false));
    assert!(is_at_home(&of(0), 1) && !is_at_home(&of(0), 2));
    assert!(is_at_home(&of(workload_flag::ON_WIRE), 2));
    // Not known is nowhere.
    assert!(!is_at_home(&Workload { netns_cookie: 0, ..of(0) }, 1));
}

#[test]
fn sockets_of_declarable_transports_may_be_made() {
    for (kind, protocol) in [(1, 6), (1, 262), (2, 17), (2, 1), (2, 58)] {
        assert!(may_create(kind, protocol), "{kind} {protocol}");
    }
    // Raw ones of any protocol, UDP-Lite, SCTP, DCCP, L2TP.
    for (kind, protocol) in
        [(3, 1), (3, 17), (3, 6), (3, 255), (3, 0), (2, 136), (1, 132), (5, 132), (6, 33), (2, 115)]
    {
        assert!(!may_create(kind, protocol), "{kind} {protocol}");
    }
}

#[test]
fn a_flow_that_finds_no_room_is_counted_where_its_packet_was_seen() {
    let out = syn((HOST, 40_000), (SITE, 443));
    let back = syn((SITE, 40_000), (HOST, 443));
    for (flags, left, arrived) in [
        (0, Layer::Cgroup, Layer::Cgroup),
        (workload_flag::ON_WIRE, Layer::Wire, Layer::Wire),
        (workload_flag::ON_WIRE | workload_flag::PAST_WIRE, Layer::Wire, Layer::Cgroup),
    ] {
        let world = World { full: true, ..world() };
        let workload = Workload { flags, ..daemon() };
        let _allowed = leave(&workload, &out, false, &world);
        let _passes = arrive(&workload, &back, false, &world);
        let notes = [left, arrived].map(|layer| (layer, Reason::ShareUsed));
        assert_eq!(*world.notes.borrow(), notes, "{flags}");
    }
}

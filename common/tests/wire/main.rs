//! Whole frames through the parser and the wire layer's judgement.

#![cfg(test)]

mod headers;
mod icmp;
mod known;
mod neighbours;
mod redirects;
#[path = "../support/mod.rs"]
mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use exeat_common::{
    abi::{RuleValue, Workload, action, mode},
    bytes::Bytes,
    flow::protocol,
    id::SubjectId,
    limits::RESETS_PER_FLOW,
    packet::{HEADER_BUFFER_BYTES, InvalidFrame, Packet, parse, tcp_flag},
    reason::{Layer, Reason, Verdict},
    wire::{Arrive, Leave, arrive, leave},
};
use proptest::prelude::{ProptestConfig, any, proptest};
use support::{NOW, POD, RESOLVER, World, workload};

pub(crate) const EXACT: SubjectId = SubjectId::pattern(1, true, 3);
pub(crate) const OTHER: SubjectId = SubjectId::pattern(2, true, 3);
pub(crate) const SITE: &str = "192.0.2.1";

pub(crate) fn read(frame: &[u8]) -> Result<Packet, InvalidFrame> {
    let mut buffer = [0; HEADER_BUFFER_BYTES];
    let length = frame.len().min(256);
    buffer[..length].copy_from_slice(&frame[..length]);
    parse(&Bytes::new(&buffer, length), frame.len(), &World::default())
}

pub(crate) fn packet(frame: &[u8]) -> Packet {
    read(frame).expect("a frame that is read")
}

/// An IPv4 or IPv6 frame around a transport segment.
pub(crate) fn frame(from: &str, to: &str, proto: u8, segment: &[u8]) -> Vec<u8> {
    let (from, to): (IpAddr, IpAddr) = (from.parse().expect("one"), to.parse().expect("one"));
    let mut bytes = vec![2; 12];
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => v4(&mut bytes, from, to, proto, segment),
        (IpAddr::V6(from), IpAddr::V6(to)) => v6(&mut bytes, from, to, proto, segment),
        mixed => panic!("{mixed:?}"),
    }
    bytes
}

fn v4(bytes: &mut Vec<u8>, from: Ipv4Addr, to: Ipv4Addr, proto: u8, segment: &[u8]) {
    let total = u16::try_from(20 + segment.len()).expect("short");
    bytes.extend([0x08, 0x00, 0x45, 0]);
    bytes.extend(total.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 64, proto, 0, 0]);
    bytes.extend(from.octets().into_iter().chain(to.octets()));
    bytes.extend(segment);
}

fn v6(bytes: &mut Vec<u8>, from: Ipv6Addr, to: Ipv6Addr, proto: u8, segment: &[u8]) {
    bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    bytes.extend(u16::try_from(segment.len()).expect("short").to_be_bytes());
    bytes.extend([proto, 64]);
    bytes.extend(from.octets().into_iter().chain(to.octets()));
    bytes.extend(segment);
}

pub(crate) fn tcp(from: u16, to: u16, flags: u8) -> Vec<u8> {
    let mut bytes = [from.to_be_bytes(), to.to_be_bytes()].concat();
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
    bytes
}

pub(crate) fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).expect("short");
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &length.to_be_bytes(), &[0, 0], payload].concat()
}

#[track_caller]
pub(crate) fn check(world: &World, frame: &[u8], verdict: Verdict, reason: Reason) {
    check_as(&workload(), world, frame, verdict, reason);
}

#[track_caller]
pub(crate) fn check_as(
    workload: &Workload,
    world: &World,
    frame: &[u8],
    verdict: Verdict,
    reason: Reason,
) {
    match leave(Some(workload), &packet(frame), world) {
        Leave::Judged(decision) => {
            assert_eq!((decision.verdict, decision.reason), (verdict, reason));
        }
        other @ (Leave::Ended(_) | Leave::Query) => panic!("{other:?}"),
    }
}

pub(crate) fn granted() -> World {
    let mut world = World { generation: 1, ..World::default() };
    world.grant(EXACT, 443, protocol::TCP, RuleValue::ALLOW);
    world.told(SITE, EXACT, NOW);
    world
}

#[test]
fn headers_are_read_in_both_families() {
    let v4 = packet(&frame(POD, SITE, protocol::TCP, &tcp(4000, 443, tcp_flag::SYN)));
    assert_eq!((v4.source_port, v4.destination_port, v4.protocol), (4000, 443, protocol::TCP));
    assert!(v4.opens() && !v4.closes() && v4.payload_length == 0);
    let v6 = packet(&frame("2001:db8::2", "2001:db8::1", protocol::UDP, &udp(1, 53, b"abc")));
    assert_eq!((v6.destination_port, v6.payload_length, v6.payload), (53, 3, 14 + 40 + 8));
}

#[test]
fn what_contradicts_itself_is_refused() {
    let good = frame(POD, SITE, protocol::UDP, &udp(1, 2, b"abc"));
    for length in 0..good.len() {
        assert!(read(&good[..length]).is_err(), "cut to {length}");
    }
    let mut padded = good.clone();
    padded.extend([0; 20]);
    assert_eq!(packet(&padded).payload_length, 3, "padding is not payload");
    let change = |at: usize, byte: u8| {
        let mut bad = good.clone();
        bad[at] = byte;
        read(&bad)
    };
    assert_eq!(change(14, 0x44), Err(InvalidFrame::Malformed), "a header of 16 bytes");
    assert_eq!(change(20, 0x20), read(&good), "a first fragment that is whole");
    assert_eq!(change(21, 1), Err(InvalidFrame::LaterFragment));
    assert_eq!(change(12, 0x81), Err(InvalidFrame::NotIp), "a VLAN tag");
    let longer = frame(POD, SITE, protocol::UDP, &[&udp(1, 2, b"")[..4], &[0, 99, 0, 0]].concat());
    assert_eq!(read(&longer), Err(InvalidFrame::Malformed), "UDP past the end of the packet");
}

#[test]
fn a_flow_is_judged_once_and_again_when_the_rules_change() {
    let mut world = granted();
    let syn = frame(POD, SITE, protocol::TCP, &tcp(4000, 443, tcp_flag::SYN));
    let data = frame(POD, SITE, protocol::TCP, &tcp(4000, 443, tcp_flag::ACK));
    check(&world, &syn, Verdict::Allow, Reason::Registered);
    world.later = 500;
    check(&world, &data, Verdict::Allow, Reason::Established);
    check(&world, &syn, Verdict::Deny, Reason::NameExpired);
    world.generation = 2;
    check(&world, &data, Verdict::Allow, Reason::Established);
    world.generation = 3;
    world.rules.clear();
    assert_eq!(ended(&world, &data), Some(Reason::Revoked));
}

/// The reason with which both ends of a connection are told, if they are.
fn ended(world: &World, frame: &[u8]) -> Option<Reason> {
    match leave(Some(&workload()), &packet(frame), world) {
        Leave::Ended(decision) => {
            assert_eq!(decision.verdict, Verdict::Deny);
            Some(decision.reason)
        }
        Leave::Judged(_) | Leave::Query => None,
    }
}

#[test]
fn the_far_end_of_a_revoked_connection_is_told_a_few_times() {
    let mut world = granted();
    world.told(SITE, EXACT, NOW + 100);
    let syn = frame(POD, SITE, protocol::TCP, &tcp(4000, 443, tcp_flag::SYN));
    let data = frame(POD, SITE, protocol::TCP, &tcp(4000, 443, tcp_flag::ACK));
    let reset = frame(POD, SITE, protocol::TCP, &tcp(4000, 443, tcp_flag::RST));
    let back = packet(&frame(SITE, POD, protocol::TCP, &tcp(443, 4000, tcp_flag::ACK)));
    check(&world, &syn, Verdict::Allow, Reason::Registered);
    let allow = std::mem::take(&mut world.rules);
    world.generation = 2;
    world.later = 1;
    for number in 0..RESETS_PER_FLOW {
        let frame = if number % 2 == 0 { &data } else { &reset };
        assert_eq!(ended(&world, frame), Some(Reason::Revoked), "{number}");
        // Neither a packet from there nor an attempt to begin anew starts the count again.
        assert_eq!(arrive(Some(&workload()), &back, &world), Arrive::Pass);
        check(&world, &syn, Verdict::Deny, Reason::PortNotDeclared);
    }
    check(&world, &data, Verdict::Deny, Reason::Revoked);
    let kept = *world.flows.borrow().values().next().expect("the flow is kept");
    assert_eq!((kept.closing, kept.last_seen), (1, NOW), "it ends by its age");
    // The rules come back: so may the flow.
    world.rules = allow;
    world.generation = 3;
    check(&world, &data, Verdict::Allow, Reason::Registered);
    check(&world, &data, Verdict::Allow, Reason::Established);
}

#[test]
fn nothing_is_sent_to_where_nothing_was_ever_allowed() {
    let mut world = granted();
    let elsewhere = "192.0.2.9";
    for flags in [tcp_flag::SYN, tcp_flag::ACK, tcp_flag::RST, tcp_flag::FIN | tcp_flag::ACK] {
        let stray = frame(POD, elsewhere, protocol::TCP, &tcp(4000, 443, flags));
        check(&world, &stray, Verdict::Deny, Reason::NotRegistered);
    }
    // Datagrams have no end to be told of.
    world.grant(EXACT, 4000, protocol::UDP, RuleValue::ALLOW);
    let datagram = frame(POD, SITE, protocol::UDP, &udp(4000, 4000, b"x"));
    check(&world, &datagram, Verdict::Allow, Reason::Registered);
    world.rules.clear();
    world.generation = 2;
    check(&world, &datagram, Verdict::Deny, Reason::Revoked);
    assert!(world.flows.borrow().is_empty());
}

/// The other end may go on sending: that alone keeps no flow alive.
#[test]
fn what_arrives_does_not_renew_the_judgement_of_a_flow() {
    let mut world = granted();
    let syn = frame(POD, SITE, protocol::TCP, &tcp(4000, 443, tcp_flag::SYN));
    let data = frame(POD, SITE, protocol::TCP, &tcp(4000, 443, tcp_flag::ACK));
    let back = packet(&frame(SITE, POD, protocol::TCP, &tcp(443, 4000, tcp_flag::ACK)));
    check(&world, &syn, Verdict::Allow, Reason::Registered);
    world.generation = 2;
    world.later = 1;
    assert_eq!(arrive(Some(&workload()), &back, &world), Arrive::Pass);
    check(&world, &data, Verdict::Allow, Reason::Established);
    world.generation = 3;
    world.later = 2;
    world.rules.clear();
    assert_eq!(arrive(Some(&workload()), &back, &world), Arrive::Pass);
    assert_eq!(ended(&world, &data), Some(Reason::Revoked));
}

#[test]
fn a_redirect_that_is_seen_on_the_wire_went_past_its_target() {
    let mut world = granted();
    let redirect =
        RuleValue { action: action::REDIRECT, reason: 0, rank: 0, reserved: 0, target: 3 };
    world.grant(EXACT, 443, protocol::TCP, redirect);
    let begin = frame(POD, SITE, protocol::TCP, &tcp(4000, 443, tcp_flag::SYN));
    check(&world, &begin, Verdict::Deny, Reason::NoRedirect);
    assert!(world.flows.borrow().is_empty());

    let behind = Workload { mode: mode::GATEWAY, default_target: 3, ..workload() };
    let begin = frame(POD, "192.0.2.99", protocol::TCP, &tcp(4000, 443, tcp_flag::SYN));
    let Leave::Judged(decision) = leave(Some(&behind), &packet(&begin), &world) else {
        panic!("taken for a query");
    };
    assert_eq!((decision.verdict, decision.reason), (Verdict::Deny, Reason::NoRedirect));
    assert!(world.flows.borrow().is_empty());
}

#[test]
fn another_entry_may_take_a_flow_over() {
    let mut world = granted();
    let data = frame(POD, SITE, protocol::TCP, &tcp(4000, 443, tcp_flag::ACK));
    check(&world, &data, Verdict::Allow, Reason::Registered);
    world.generation = 2;
    world.rules.clear();
    world.grant(OTHER, 443, protocol::TCP, RuleValue::ALLOW);
    world.told(SITE, OTHER, NOW);
    check(&world, &data, Verdict::Allow, Reason::Registered);
    check(&world, &data, Verdict::Allow, Reason::Established);
}

#[test]
fn a_full_table_is_stricter_and_not_looser() {
    let world = World { full: true, ..granted() };
    let syn = frame(POD, SITE, protocol::TCP, &tcp(4000, 443, tcp_flag::SYN));
    check(&world, &syn, Verdict::Allow, Reason::Registered);
    assert_eq!(*world.notes.borrow(), [(Layer::Wire, Reason::ShareUsed)]);
    let stray = frame(POD, "192.0.2.9", protocol::TCP, &tcp(4000, 443, tcp_flag::SYN));
    check(&world, &stray, Verdict::Deny, Reason::NotRegistered);
}

#[test]
fn a_flow_ends_with_the_pods_own_reset_and_not_with_one_that_arrives() {
    let world = granted();
    let syn = frame(POD, SITE, protocol::TCP, &tcp(4000, 443, tcp_flag::SYN));
    check(&world, &syn, Verdict::Allow, Reason::Registered);
    let forged = packet(&frame(SITE, POD, protocol::TCP, &tcp(443, 4000, tcp_flag::RST)));
    assert_eq!(arrive(Some(&workload()), &forged, &world), Arrive::Pass);
    let own = frame(POD, SITE, protocol::TCP, &tcp(4000, 443, tcp_flag::RST));
    check(&world, &own, Verdict::Allow, Reason::Established);
    assert!(world.flows.borrow().is_empty());
}

#[test]
fn who_came_in_is_answered_and_nobody_else() {
    let world = granted();
    let client = "198.51.100.7";
    let answer = frame(POD, client, protocol::TCP, &tcp(8080, 5000, tcp_flag::SYN | tcp_flag::ACK));
    check(&world, &answer, Verdict::Deny, Reason::NotRegistered);
    let syn = packet(&frame(client, POD, protocol::TCP, &tcp(5000, 8080, tcp_flag::SYN)));
    assert_eq!(arrive(Some(&workload()), &syn, &world), Arrive::Pass);
    check(&world, &answer, Verdict::Allow, Reason::Inbound);
    // The same ports do not carry a connection the other way.
    let outward = frame(POD, client, protocol::TCP, &tcp(8080, 5000, tcp_flag::SYN));
    check(&world, &outward, Verdict::Deny, Reason::NotRegistered);
}

#[test]
fn echo_is_answered_by_its_identifier() {
    let world = granted();
    let echo = |kind: u8| [kind, 0, 0, 0, 0x12, 0x34, 0, 1];
    let ping = packet(&frame("198.51.100.7", POD, protocol::ICMP, &echo(8)));
    assert_eq!((ping.detail, ping.source_port), (8, 0x1234));
    let reply = frame(POD, "198.51.100.7", protocol::ICMP, &echo(0));
    check(&world, &reply, Verdict::Deny, Reason::NotRegistered);
    assert_eq!(arrive(Some(&workload()), &ping, &world), Arrive::Pass);
    check(&world, &reply, Verdict::Allow, Reason::Inbound);
    check(&world, &frame(POD, SITE, protocol::ICMP, &echo(8)), Verdict::Allow, Reason::Registered);
}

#[test]
fn forged_addresses_and_loopback_on_the_wire_are_refused() {
    let world = granted();
    let syn = tcp(4000, 443, tcp_flag::SYN);
    let forged = frame("10.9.0.3", SITE, protocol::TCP, &syn);
    check(&world, &forged, Verdict::Deny, Reason::SpoofedSource);
    let loopback = frame(POD, "127.0.0.1", protocol::TCP, &syn);
    check(&world, &loopback, Verdict::Deny, Reason::Malformed);
    let stranger = leave(None, &packet(&forged), &world);
    assert_eq!(
        stranger,
        Leave::Judged(exeat_common::decide::Decision::deny(Reason::UnknownWorkload))
    );
}

#[test]
fn messages_to_a_resolver_are_for_the_dns_path() {
    let world = granted();
    let to = |segment: &[u8], proto| {
        leave(Some(&workload()), &packet(&frame(POD, RESOLVER, proto, segment)), &world)
    };
    assert_eq!(to(&udp(4000, 53, b"x"), protocol::UDP), Leave::Query);
    let with_data = [tcp(4000, 53, tcp_flag::SYN), b"x".to_vec()].concat();
    assert_eq!(to(&with_data, protocol::TCP), Leave::Query, "also with the opening segment");
    assert!(matches!(to(&tcp(4000, 53, tcp_flag::SYN), protocol::TCP), Leave::Judged(_)));
    let both = tcp_flag::SYN | tcp_flag::ACK;
    for (flags, expected) in [(both, Arrive::Accepted), (tcp_flag::ACK, Arrive::Pass)] {
        let accepted = packet(&frame(RESOLVER, POD, protocol::TCP, &tcp(53, 4000, flags)));
        assert_eq!(arrive(Some(&workload()), &accepted, &world), expected);
    }
    let answer = packet(&frame(RESOLVER, POD, protocol::UDP, &udp(53, 4000, b"x")));
    assert_eq!(arrive(Some(&workload()), &answer, &world), Arrive::Answer);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn no_frame_makes_the_parser_panic_or_reach_past_the_frame(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..120),
        kind in 0..4_u8,
        icmp in any::<bool>(),
    ) {
        // Most random bytes are no IP at all: help them over the first hurdles.
        if bytes.len() > 20 {
            let (ethertype, version) = if kind % 2 == 0 { (0x0800_u16, 0x45) } else { (0x86dd, 0x60) };
            bytes[12..14].copy_from_slice(&ethertype.to_be_bytes());
            if kind < 2 {
                bytes[14] = version;
            }
            if icmp && bytes.len() > 24 {
                bytes[20 + usize::from(kind % 2 == 0) * 3] = if kind % 2 == 0 { 1 } else { 58 };
            }
        }
        if let Ok(packet) = read(&bytes) {
            assert!(packet.payload + packet.payload_length <= bytes.len());
            let world = granted();
            let _judged = leave(Some(&workload()), &packet, &world);
            let _passed = arrive(Some(&workload()), &packet, &world);
        }
    }
}

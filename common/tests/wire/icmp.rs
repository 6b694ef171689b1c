//! ICMP: echo where a port is granted, errors about flows that are there, and nothing else.

use exeat_common::{
    abi::{Workload, mode},
    flow::protocol,
    packet::tcp_flag,
    reason::{Reason, Verdict},
    wire::{Arrive, Leave, arrive, leave},
};

use crate::{
    SITE, check, frame, granted, packet,
    support::{POD, workload},
    tcp, udp,
};

/// "Port unreachable" from the pod, about a packet that it claims to have received.
fn error(to: &str, cited: &[u8]) -> Vec<u8> {
    frame(POD, to, protocol::ICMP, &[&[3, 3, 0, 0, 0, 0, 0, 0], &cited[14..]].concat())
}

#[test]
fn an_error_leaves_if_it_is_about_a_flow_that_is_there() {
    let world = granted();
    let answer = frame(SITE, POD, protocol::TCP, &tcp(443, 4000, tcp_flag::ACK));
    check(&world, &error(SITE, &answer), Verdict::Deny, Reason::StrayError);
    assert!(world.flows.borrow().is_empty(), "nor does it begin one");
    let syn = frame(POD, SITE, protocol::TCP, &tcp(4000, 443, tcp_flag::SYN));
    check(&world, &syn, Verdict::Allow, Reason::Registered);
    check(&world, &error(SITE, &answer), Verdict::Allow, Reason::Established);
    let other = frame(SITE, POD, protocol::TCP, &tcp(443, 4001, tcp_flag::ACK));
    check(&world, &error(SITE, &other), Verdict::Deny, Reason::StrayError);
    let datagram = frame(SITE, POD, protocol::UDP, &udp(443, 4000, b""));
    check(&world, &error(SITE, &datagram), Verdict::Deny, Reason::StrayError);
    check(&world, &error("192.0.2.99", &answer), Verdict::Deny, Reason::NotRegistered);
}

#[test]
fn who_sent_a_datagram_in_is_told_that_nobody_listens() {
    let world = granted();
    let client = "198.51.100.7";
    let datagram = frame(client, POD, protocol::UDP, &udp(5000, 8080, b"x"));
    check(&world, &error(client, &datagram), Verdict::Deny, Reason::NotRegistered);
    assert_eq!(arrive(Some(&workload()), &packet(&datagram), &world), Arrive::Pass);
    check(&world, &error(client, &datagram), Verdict::Allow, Reason::Inbound);
}

#[test]
fn an_error_ends_with_the_rule_of_its_flow() {
    let mut world = granted();
    let syn = frame(POD, SITE, protocol::TCP, &tcp(4000, 443, tcp_flag::SYN));
    check(&world, &syn, Verdict::Allow, Reason::Registered);
    world.generation = 2;
    world.rules.clear();
    let answer = frame(SITE, POD, protocol::TCP, &tcp(443, 4000, tcp_flag::ACK));
    // It is judged, and no reset is made of it: the flow is as it was.
    let before = world.flows.borrow().clone();
    check(&world, &error(SITE, &answer), Verdict::Deny, Reason::Revoked);
    assert_eq!(*world.flows.borrow(), before);
}

#[test]
fn errors_are_read_in_ipv6_as_well() {
    let (pod, client) = ("2001:db8::2", "2001:db8::7");
    let mut known = workload();
    known.addresses[0] = crate::support::address(pod);
    let world = granted();
    let datagram = frame(client, pod, protocol::UDP, &udp(5000, 8080, b"x"));
    let body = [&[1, 4, 0, 0, 0, 0, 0, 0], &datagram[14..]].concat();
    let error = packet(&frame(pod, client, protocol::ICMPV6, &body));
    assert_eq!((error.flow_protocol, error.source_port, error.destination_port), (17, 8080, 5000));
    let verdict = |judged| match judged {
        Leave::Judged(decision) | Leave::Ended(decision) => decision.reason,
        Leave::Query => panic!("taken for a query"),
    };
    assert_eq!(verdict(leave(Some(&known), &error, &world)), Reason::NotRegistered);
    assert_eq!(arrive(Some(&known), &packet(&datagram), &world), Arrive::Pass);
    assert_eq!(verdict(leave(Some(&known), &error, &world)), Reason::Inbound);
}

/// An error that arrives may come from any router on the way. It is for the pod, and opens nothing.
#[test]
fn errors_that_arrive_pass() {
    let world = granted();
    let syn = frame(POD, SITE, protocol::TCP, &tcp(4000, 443, tcp_flag::SYN));
    let cited = [&[3, 4, 0, 0, 0, 0, 5, 0], &syn[14..]].concat();
    let too_big = packet(&frame("100.64.0.1", POD, protocol::ICMP, &cited));
    assert_eq!(arrive(Some(&workload()), &too_big, &world), Arrive::Pass);
    assert!(world.flows.borrow().is_empty());
}

#[test]
fn of_icmp_an_entry_grants_echo_alone() {
    let world = granted();
    let message =
        |kind: u8| frame(POD, SITE, protocol::ICMP, &[&[kind, 0, 0, 0], &[0; 40][..]].concat());
    check(&world, &message(8), Verdict::Allow, Reason::Registered);
    for kind in [5, 9, 10, 13, 15, 17] {
        check(&world, &message(kind), Verdict::Deny, Reason::PortNotDeclared);
    }
    check(&world, &message(3), Verdict::Deny, Reason::StrayError);
}

/// An identifier of echo is no port: what came in by echo opens nothing else.
#[test]
fn one_kind_of_icmp_opens_no_other() {
    let world = granted();
    let client = "198.51.100.7";
    let message = |from: &str, to: &str, kind: u8| {
        frame(from, to, protocol::ICMP, &[&[kind, 0, 0, 0], &[0; 40][..]].concat())
    };
    let ping = packet(&message(client, POD, 8));
    assert_eq!(arrive(Some(&workload()), &ping, &world), Arrive::Pass);
    check(&world, &message(POD, client, 0), Verdict::Allow, Reason::Inbound);
    for kind in [3, 5, 13, 14] {
        check(&world, &message(POD, client, kind), Verdict::Deny, Reason::NotRegistered);
    }
}

#[test]
fn where_everything_is_allowed_so_is_every_error() {
    let world = granted();
    let open = Workload { mode: mode::ALLOW_ANY, ..workload() };
    let stranger = "192.0.2.99";
    let cited = frame(stranger, POD, protocol::UDP, &udp(1, 2, b""));
    let judged = leave(Some(&open), &packet(&error(stranger, &cited)), &world);
    assert!(matches!(judged, Leave::Judged(it) if it.reason == Reason::AllowAny), "{judged:?}");
    assert!(world.flows.borrow().is_empty(), "an error begins no flow");
}

//! The link: who a pod may speak for, and what is delivered to it.

use exeat_common::{
    abi::Workload,
    flow::protocol,
    packet::InvalidFrame,
    reason::{Reason, Verdict},
    wire::{Arrive, arrive},
};

use crate::{
    check, frame, granted, packet, read,
    support::{POD, address, workload},
    tcp, udp,
};

const POD_6: &str = "fd00:9::2";
const NEIGHBOUR: &str = "fd00:9::7";

/// The workload with an address of each IP version.
fn dual() -> Workload {
    let mut workload = workload();
    workload.addresses[1] = address(POD_6);
    workload.address_count = 2;
    workload
}

#[track_caller]
fn judge(world: &crate::support::World, frame: &[u8], expected: (Verdict, Reason)) {
    crate::check_as(&dual(), world, frame, expected.0, expected.1);
}

const PASS: (Verdict, Reason) = (Verdict::Allow, Reason::Neighbour);
const SPOOFED: (Verdict, Reason) = (Verdict::Deny, Reason::SpoofedSource);

/// An ARP message from 02:02:02:02:02:02, as all frames here are.
fn arp(operation: u8, sender: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![2; 12];
    bytes.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
    bytes.extend([2; 6]);
    bytes.extend(sender);
    bytes.extend([0; 6]);
    bytes.extend([10, 9, 0, 1]);
    bytes
}

#[test]
fn arp_is_about_its_sender() {
    let world = granted();
    for operation in [1, 2] {
        judge(&world, &arp(operation, [10, 9, 0, 2]), PASS);
        judge(&world, &arp(operation, [10, 9, 0, 3]), SPOOFED);
        judge(&world, &arp(operation, [10, 9, 0, 1]), SPOOFED);
    }
    // Before it takes an address a host asks whether somebody has it, in nobody's name.
    judge(&world, &arp(1, [0; 4]), PASS);
    // Who has no addresses that we know of may have any.
    let unknown = Workload { address_count: 0, ..workload() };
    crate::check_as(&unknown, &world, &arp(2, [10, 9, 0, 3]), PASS.0, PASS.1);
}

#[test]
fn arp_is_short_and_plain() {
    let good = arp(1, [10, 9, 0, 2]);
    let mut padded = good.clone();
    padded.resize(60, 0);
    assert!(read(&padded).is_ok());
    padded.resize(65, 0);
    assert_eq!(read(&padded), Err(InvalidFrame::Malformed));
    for length in 0..good.len() {
        assert!(read(&good[..length]).is_err(), "cut to {length}");
    }
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        read(&bytes)
    };
    for (at, byte) in [(15, 6), (16, 0x86), (18, 8), (19, 16), (21, 0), (21, 3), (21, 8)] {
        assert_eq!(changed(at, byte), Err(InvalidFrame::Malformed), "{byte} at {at}");
    }
    assert_eq!(changed(22, 4), Err(InvalidFrame::SpoofedLink));
    assert_eq!(changed(6, 4), Err(InvalidFrame::SpoofedLink));
}

#[test]
fn arp_to_the_pod_passes() {
    let world = granted();
    let asked = packet(&arp(1, [10, 9, 0, 9]));
    assert_eq!(arrive(Some(&workload()), &asked, &world), Arrive::Pass);
    assert!(world.flows.borrow().is_empty());
}

/// A message of neighbour discovery about `target`.
fn discovery(kind: u8, from: &str, to: &str, target: &str) -> Vec<u8> {
    let mut body = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    body.extend(address(target).octets());
    frame(from, to, protocol::ICMPV6, &body)
}

#[test]
fn neighbour_discovery_stays_on_the_link() {
    let world = granted();
    for link in ["ff02::1:ff00:1", "fe80::1"] {
        for from in ["fe80::2", POD_6, "::"] {
            judge(&world, &discovery(135, from, link, "fe80::1"), PASS);
        }
        judge(&world, &discovery(135, NEIGHBOUR, link, "fe80::1"), SPOOFED);
    }
    let away = discovery(135, "fe80::2", "2001:db8::1", "2001:db8::1");
    judge(&world, &away, SPOOFED);
    let away = discovery(135, POD_6, "2001:db8::1", "2001:db8::1");
    judge(&world, &away, (Verdict::Deny, Reason::NotRegistered));
}

#[test]
fn an_advertisement_is_about_its_sender() {
    let world = granted();
    for all in ["ff02::1", "fe80::1"] {
        judge(&world, &discovery(136, POD_6, all, POD_6), PASS);
        judge(&world, &discovery(136, "fe80::2", all, "fe80::2"), PASS);
        judge(&world, &discovery(136, POD_6, all, NEIGHBOUR), SPOOFED);
        judge(&world, &discovery(136, "fe80::2", all, NEIGHBOUR), SPOOFED);
    }
}

#[test]
fn a_pod_is_no_router_and_its_messages_are_short() {
    let world = granted();
    for kind in [130, 134, 137] {
        let body = [&[kind, 0, 0, 0], &[0; 36][..]].concat();
        let message = frame("fe80::2", "ff02::1", protocol::ICMPV6, &body);
        judge(&world, &message, SPOOFED);
    }
    let mut long = discovery(135, POD_6, "ff02::1", NEIGHBOUR);
    long.extend([0; 41]);
    let length = u16::try_from(long.len() - 54).expect("short");
    long[18..20].copy_from_slice(&length.to_be_bytes());
    assert_eq!(read(&long), Err(InvalidFrame::Malformed));
}

/// RFC 4861 §7.2.4 sends the answer to the address that asked, which may be any.
#[test]
fn who_asks_for_the_pod_is_answered_at_its_address() {
    let world = granted();
    let answer = discovery(136, POD_6, NEIGHBOUR, POD_6);
    judge(&world, &answer, (Verdict::Deny, Reason::NotRegistered));
    let asked = packet(&discovery(135, NEIGHBOUR, "ff02::1:ff00:2", POD_6));
    assert_eq!(arrive(Some(&dual()), &asked, &world), Arrive::Pass);
    judge(&world, &answer, (Verdict::Allow, Reason::Inbound));
    let lie = discovery(136, POD_6, NEIGHBOUR, "fd00:9::8");
    judge(&world, &lie, SPOOFED);
    let elsewhere = discovery(136, POD_6, "fd00:9::8", POD_6);
    judge(&world, &elsewhere, (Verdict::Deny, Reason::NotRegistered));
    let about_another = packet(&discovery(135, "fd00:9::9", "ff02::1:ff00:8", "fd00:9::8"));
    assert_eq!(arrive(Some(&dual()), &about_another, &world), Arrive::Pass);
    assert_eq!(world.flows.borrow().len(), 1, "it was not the pod that was asked for");
}

/// RFC 4861 §7.3.3: whether a neighbour is still there is asked at its address.
#[test]
fn who_told_its_address_is_asked_again_there() {
    let world = granted();
    let again = discovery(135, POD_6, NEIGHBOUR, NEIGHBOUR);
    judge(&world, &again, (Verdict::Deny, Reason::NotRegistered));
    let told = packet(&discovery(136, NEIGHBOUR, POD_6, NEIGHBOUR));
    assert_eq!(arrive(Some(&dual()), &told, &world), Arrive::Pass);
    judge(&world, &again, (Verdict::Allow, Reason::Inbound));
    let ping = frame(POD_6, NEIGHBOUR, protocol::ICMPV6, &[128, 0, 0, 0, 0, 0, 0, 1]);
    judge(&world, &ping, (Verdict::Deny, Reason::NotRegistered));
}

/// On a bridge a neighbour chooses the hardware address, and so who gets its frame.
#[test]
fn what_is_for_another_host_is_not_delivered() {
    let world = granted();
    let to = |to: &str| packet(&frame("198.51.100.7", to, protocol::UDP, &udp(1, 2, b"x")));
    for own in [POD, "224.0.0.251", "255.255.255.255"] {
        assert_eq!(arrive(Some(&dual()), &to(own), &world), Arrive::Pass, "{own}");
    }
    for other in ["203.0.113.40", "10.9.0.3"] {
        let dropped = Arrive::Drop(Reason::SpoofedLink);
        assert_eq!(arrive(Some(&dual()), &to(other), &world), dropped, "{other}");
    }
    let unknown = Workload { address_count: 0, ..workload() };
    assert_eq!(arrive(Some(&unknown), &to("10.9.0.3"), &world), Arrive::Pass);
    let syn = tcp(1, 2, 2);
    for (own, expected) in [
        (POD_6, Arrive::Pass),
        ("fe80::2", Arrive::Pass),
        ("ff02::1", Arrive::Pass),
        (NEIGHBOUR, Arrive::Drop(Reason::SpoofedLink)),
    ] {
        let packet = packet(&frame("2001:db8::7", own, protocol::TCP, &syn));
        assert_eq!(arrive(Some(&dual()), &packet, &world), expected, "{own}");
    }
    check(
        &world,
        &frame(POD, "192.0.2.1", protocol::TCP, &tcp(1, 443, 2)),
        Verdict::Allow,
        Reason::Registered,
    );
}

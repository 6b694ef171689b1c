//! Packets of flows that the socket layer sent elsewhere.

use exeat_common::{
    abi::{Redirect, RuleValue, Workload, action, mode},
    flow::protocol,
    id::{SubjectId, WorkloadId},
    packet::tcp_flag,
    reason::{Reason, Verdict},
    wire::{Leave, leave},
};

use super::{
    EXACT, OTHER, SITE, check, ended, frame, granted, packet,
    support::{NOW, POD, WORKLOAD, address, workload},
    tcp,
};

const BACKEND: &str = "198.51.100.9";

#[test]
fn what_its_socket_was_sent_to_passes_while_the_rule_redirects() {
    let mut world = granted();
    let redirect =
        RuleValue { action: action::REDIRECT, reason: 0, rank: 0, reserved: 0, target: 3 };
    world.grant(EXACT, 443, protocol::TCP, redirect);
    let syn = frame(POD, BACKEND, protocol::TCP, &tcp(4000, 8443, tcp_flag::SYN));
    let data = frame(POD, BACKEND, protocol::TCP, &tcp(4000, 8443, tcp_flag::ACK));
    // Of a socket that was not redirected, raw ones among them.
    check(&world, &syn, Verdict::Deny, Reason::NotRegistered);

    let sent = Redirect {
        dialled: address(SITE),
        sent_to: address(BACKEND),
        dialled_port: 443,
        sent_to_port: 8443,
        workload: WORKLOAD,
        subject: EXACT,
        target: 3,
        last_used: NOW,
    };
    for other in [
        Redirect { sent_to_port: 8444, ..sent },
        Redirect { sent_to: address("198.51.100.10"), ..sent },
        Redirect { workload: WorkloadId::new(8), ..sent },
        Redirect { dialled_port: 80, ..sent },
        Redirect { subject: OTHER, ..sent },
        Redirect { subject: SubjectId::NONE, ..sent },
    ] {
        world.redirect = Some(other);
        check(&world, &syn, Verdict::Deny, Reason::NotRegistered);
    }
    world.redirect = Some(sent);
    check(&world, &syn, Verdict::Allow, Reason::Redirected);
    world.redirect = None;
    check(&world, &data, Verdict::Allow, Reason::Established);
    // Another target does not end what goes on; no redirect does.
    world.generation = 2;
    world.grant(EXACT, 443, protocol::TCP, RuleValue { target: 9, ..redirect });
    check(&world, &data, Verdict::Allow, Reason::Established);
    world.generation = 3;
    world.redirect = Some(sent);
    world.grant(EXACT, 443, protocol::TCP, RuleValue::ALLOW);
    assert_eq!(ended(&world, &data), Some(Reason::Revoked));
}

#[test]
fn what_nothing_declares_passes_to_the_default_target_while_there_is_one() {
    let mut world = granted();
    world.redirect = Some(Redirect {
        dialled: address("192.0.2.99"),
        sent_to: address(BACKEND),
        dialled_port: 443,
        sent_to_port: 8443,
        workload: WORKLOAD,
        subject: SubjectId::NONE,
        target: 3,
        last_used: NOW,
    });
    let syn = frame(POD, BACKEND, protocol::TCP, &tcp(4000, 8443, tcp_flag::SYN));
    let behind = Workload { mode: mode::GATEWAY, default_target: 3, ..workload() };
    let Leave::Judged(decision) = leave(Some(&behind), &packet(&syn), &world) else {
        panic!("taken for a query");
    };
    assert_eq!((decision.verdict, decision.reason), (Verdict::Allow, Reason::Redirected));
    check(&world, &syn, Verdict::Deny, Reason::NotRegistered);
}

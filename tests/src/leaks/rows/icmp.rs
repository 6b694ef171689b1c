//! ICMP beside echo: only errors about flows that are there may leave.

use crate::frame::{Ends, echo, error, icmp, protocol};
use crate::leaks::row::{Aim, BOTH, Row, Toward, V4, V6, arrived};

pub(super) fn rows() -> [Row; 6] {
    [
        Row::frames("ICMP error about no flow", |aim| vec![error_about(aim, 41_000)])
            .toward(Toward::Allowed)
            .seen(is_error)
            .instead(|aim| vec![datagram(aim, 42_000), error_about(aim, 42_000)], is_error)
            .versions(BOTH),
        Row::frames("ICMP error about an allowed flow, to somebody else", |aim| {
            let allowed = Aim { to: aim.via, ..*aim };
            let cited = cited(&allowed, 43_000);
            vec![datagram(&allowed, 43_000), message(aim, error(&aim.ends(), &cited))]
        })
        .instead(|aim| vec![datagram(aim, 45_000), error_about(aim, 45_000)], is_error),
        Row::frames("ICMP timestamp, to an allowed host", |aim| {
            vec![message(aim, icmp(&aim.ends(), 13, 0, &[0; 16]))]
        })
        .versions(V4)
        .toward(Toward::Allowed)
        .seen(|seen, aim| arrived(seen, aim) && seen.body().first() == Some(&13))
        .instead(ping, is_echo),
        Row::frames("ICMP redirect, to an allowed host", |aim| {
            let rest = [&[10, 9, 0, 9][..], &cited(aim, 44_000)].concat();
            vec![message(aim, icmp(&aim.ends(), 5, 1, &rest))]
        })
        .versions(V4)
        .toward(Toward::Allowed)
        .seen(|seen, aim| arrived(seen, aim) && seen.body().first() == Some(&5))
        .instead(ping, is_echo),
        Row::frames("ICMPv6 node information query, to an allowed host", |aim| {
            vec![message(aim, icmp(&aim.ends(), 139, 0, &[0; 12]))]
        })
        .versions(V6)
        .toward(Toward::Allowed)
        .seen(|seen, aim| arrived(seen, aim) && seen.body().first() == Some(&139))
        .instead(ping, is_echo),
        Row::frames("ICMPv6 redirect, to an allowed host", |aim| {
            vec![message(aim, icmp(&aim.ends(), 137, 0, &[0; 36]))]
        })
        .versions(V6)
        .toward(Toward::Allowed)
        .seen(|seen, aim| arrived(seen, aim) && seen.body().first() == Some(&137))
        .instead(ping, is_echo),
    ]
}

fn message(aim: &Aim, (number, body): (u8, Vec<u8>)) -> Vec<u8> {
    aim.link.ip(&aim.ends().packet(number, &body))
}

fn ping(aim: &Aim) -> Vec<Vec<u8>> {
    vec![message(aim, echo(&aim.ends()))]
}

fn is_echo(seen: &crate::capture::Seen, aim: &Aim) -> bool {
    arrived(seen, aim) && matches!(seen.body().first(), Some(8 | 128))
}

fn is_error(seen: &crate::capture::Seen, aim: &Aim) -> bool {
    let kind = if aim.own.is_ipv4() { 3 } else { 1 };
    let of_icmp = matches!(seen.next_header(), Some(protocol::ICMP | protocol::ICMPV6));
    arrived(seen, aim) && of_icmp && seen.body().first() == Some(&kind)
}

/// A datagram from a port of its own, which begins a flow if it is allowed.
fn datagram(aim: &Aim, port: u16) -> Vec<u8> {
    let ends = from_port(aim, port);
    aim.link.ip(&ends.packet(protocol::UDP, &ends.datagram(b"exeat")))
}

fn error_about(aim: &Aim, port: u16) -> Vec<u8> {
    message(aim, error(&aim.ends(), &cited(aim, port)))
}

/// What the pod claims to have received from its destination.
fn cited(aim: &Aim, port: u16) -> Vec<u8> {
    let ends = from_port(aim, port).reversed();
    ends.packet(protocol::UDP, &ends.datagram(b"exeat"))
}

fn from_port(aim: &Aim, port: u16) -> Ends {
    let mut ends = aim.ends();
    ends.source.set_port(port);
    ends
}

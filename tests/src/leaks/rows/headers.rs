//! IPv4 options, IPv6 extension headers, and lengths and addresses that are not what they seem.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::frame::{Ends, Extras, protocol, tcp_flag};
use crate::leaks::row::{Aim, Port, Row, Toward, V4, V6, arrived};
use crate::leaks::stage::ALLOWED_V4;

const RECORD_ROUTE: u8 = 7;
const LOOSE_ROUTE: u8 = 131;
const STRICT_ROUTE: u8 = 137;
/// An allowed IPv4 address in the clothes of IPv6.
const MAPPED_ALLOWED: Ipv6Addr = ALLOWED_V4.to_ipv6_mapped();
const NO_ROUTE: &str = "a source route is refused, wherever it leads";

pub(super) fn rows() -> [Row; 8] {
    [
        Row::frames("IPv4 option: record route", |aim| {
            with_options(aim, &[RECORD_ROUTE, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0])
        })
        .versions(V4)
        .port(Port::Http),
        Row::frames("IPv4 option: source route over an allowed host", |aim| {
            [LOOSE_ROUTE, STRICT_ROUTE]
                .into_iter()
                .flat_map(|kind| with_options(aim, &route(kind, &[])))
                .collect()
        })
        .versions(V4)
        .port(Port::Http)
        .toward(Toward::Allowed)
        .seen(|seen, aim| arrived(seen, aim) && seen.bytes.get(14) != Some(&0x45))
        .no_twin(NO_ROUTE),
        Row::frames("IPv4 option: source route behind others", |aim| {
            with_options(aim, &route(LOOSE_ROUTE, &[1, 1, 1, 1, 1, RECORD_ROUTE, 7, 8, 9, 9, 9, 9]))
        })
        .versions(V4)
        .port(Port::Http)
        .toward(Toward::Allowed)
        .seen(|seen, aim| arrived(seen, aim) && seen.bytes.get(14) != Some(&0x45))
        .instead(
            |aim| with_options(aim, &[1, 1, 1, 1, 1, RECORD_ROUTE, 7, 8, 9, 9, 9, 9]),
            |seen, aim| arrived(seen, aim) && seen.bytes.get(14) != Some(&0x45),
        ),
        Row::frames("IPv6 hop-by-hop options", |aim| {
            behind(aim, vec![(protocol::HOP_BY_HOP, vec![0, 0, 1, 4, 0, 0, 0, 0])])
        })
        .versions(V6)
        .port(Port::Http),
        Row::frames("IPv6 destination options", |aim| {
            behind(aim, vec![(protocol::DESTINATION_OPTIONS, vec![0, 0, 1, 4, 0, 0, 0, 0])])
        })
        .versions(V6)
        .port(Port::Http),
        Row::frames("IPv6 routing header over an allowed host", |aim| {
            [0, 4].into_iter().flat_map(|kind| behind(aim, vec![routing(kind)])).collect()
        })
        .versions(V6)
        .port(Port::Http)
        .toward(Toward::Allowed)
        .seen(|seen, aim| arrived(seen, aim) && seen.next_header() == Some(protocol::ROUTING))
        .no_twin(NO_ROUTE),
        Row::frames("IPv6 jumbogram, to a pod on the bridge", |aim| {
            let jumbo = (protocol::HOP_BY_HOP, vec![0, 0, 0xc2, 4, 0, 1, 0, 0]);
            let headers = vec![jumbo];
            let extras = Extras { headers, claimed_length: Some(0), ..Extras::default() };
            let packet = opening(aim, &extras);
            vec![aim.link.to(aim.someone_mac).ip(&packet)]
        })
        .versions(V6)
        .toward(Toward::Neighbour)
        .no_twin("no pod's interface carries a packet above 64 KiB"),
        Row::frames("IPv4-mapped address in an IPv6 packet", |aim| {
            let destination = SocketAddr::new(MAPPED_ALLOWED.into(), aim.to.port());
            let ends = Ends { destination, ..aim.ends() };
            let segment = ends.segment(tcp_flag::SYN, &[]);
            vec![aim.link.ip(&ends.packet_v6(protocol::TCP, &segment))]
        })
        .versions(V6)
        .port(Port::Http)
        .toward(Toward::Allowed)
        .seen(|seen, _| matches!(seen.destination(), Some(IpAddr::V6(ip)) if ip.to_ipv4_mapped().is_some()))
        .no_twin("such a packet is never meant: the address stands for IPv4"),
    ]
}

fn opening(aim: &Aim, extras: &Extras) -> Vec<u8> {
    let ends = aim.ends();
    ends.packet_with(extras, protocol::TCP, &ends.segment(tcp_flag::SYN, &[]))
}

fn with_options(aim: &Aim, options: &[u8]) -> Vec<Vec<u8>> {
    let extras = Extras { options: options.to_vec(), ..Extras::default() };
    vec![aim.link.ip(&opening(aim, &extras))]
}

fn behind(aim: &Aim, headers: Vec<(u8, Vec<u8>)>) -> Vec<Vec<u8>> {
    let extras = Extras { headers, ..Extras::default() };
    vec![aim.link.ip(&opening(aim, &extras))]
}

/// From the destination of the packet on to an address that nobody declared (RFC 791 §3.1).
fn route(kind: u8, before: &[u8]) -> Vec<u8> {
    [before, &[kind, 7, 4, 198, 18, 255, 1]].concat()
}

/// The same in IPv6 (RFC 5095, RFC 8754), with one more address to visit.
fn routing(kind: u8) -> (u8, Vec<u8>) {
    let mut header = vec![0, 2, kind, 1, 0, 0, 0, 0];
    header.extend([0x20, 0x01, 0x0d, 0xb8, 0xba, 0xd0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    (protocol::ROUTING, header)
}

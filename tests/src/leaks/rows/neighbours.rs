//! ARP and neighbour discovery: what a pod may say on its link is about itself, and short.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::capture::Seen;
use crate::frame::{
    ALL_NODES, Arp, BROADCAST, Extras, Mac, advertisement, between, icmp, multicast,
    router_advertisement, solicitation,
};
use crate::leaks::row::{Aim, Row, Toward, V4, V6};

const ARP: u16 = 0x0806;
const TEXT: &[u8] = b"exeat says hello behind what nobody reads";

pub(super) fn rows() -> [Row; 11] {
    [
        arp("ARP: the gateway is here", |aim| vec![announce(aim, aim.gateway)])
            .seen(|seen, aim| speaks_for(seen, aim.gateway))
            .instead(|aim| vec![announce(aim, aim.own)], |seen, aim| speaks_for(seen, aim.own)),
        arp("ARP: another pod is here", |aim| vec![announce(aim, aim.someone)])
            .seen(|seen, aim| speaks_for(seen, aim.someone))
            .instead(|aim| vec![announce(aim, aim.own)], |seen, aim| speaks_for(seen, aim.own)),
        arp("ARP: an answer for the gateway", |aim| vec![answer(aim, aim.gateway)])
            .seen(|seen, aim| speaks_for(seen, aim.gateway))
            .instead(|aim| vec![answer(aim, aim.own)], |seen, aim| speaks_for(seen, aim.own)),
        arp("ARP: a question in another's name", |aim| vec![question(aim, aim.gateway)])
            .seen(|seen, aim| speaks_for(seen, aim.gateway))
            .instead(|aim| vec![question(aim, aim.own)], |seen, aim| speaks_for(seen, aim.own)),
        arp("ARP: with data behind it", |aim| vec![[&question(aim, aim.own)[..], TEXT].concat()])
            .seen(|seen, _| seen.holds(TEXT))
            .instead(|aim| vec![question(aim, aim.own)], |seen, aim| speaks_for(seen, aim.own)),
        discovery("ND: the gateway is here", |aim| vec![advertise(aim, aim.gateway)])
            .seen(|seen, aim| advertises(seen, aim.gateway))
            .instead(|aim| vec![advertise(aim, aim.own)], |seen, aim| advertises(seen, aim.own)),
        discovery("ND: another pod is here", |aim| vec![advertise(aim, aim.someone)])
            .seen(|seen, aim| advertises(seen, aim.someone))
            .instead(|aim| vec![advertise(aim, aim.own)], |seen, aim| advertises(seen, aim.own)),
        discovery("ND: a question in another's name", |aim| vec![ask(aim, aim.gateway, &[])])
            .seen(|seen, aim| seen.source() == Some(aim.gateway))
            .instead(|aim| vec![ask(aim, aim.own, &[])], asks),
        discovery("ND: with data behind it", |aim| vec![ask(aim, aim.own, TEXT)])
            .seen(|seen, _| seen.holds(TEXT))
            .instead(|aim| vec![ask(aim, aim.own, &[])], asks),
        discovery("ND: this pod is a router", |aim| {
            let ends = between(link_local(aim.link.source).into(), ALL_NODES.into());
            vec![to_all(aim, ends.source.ip(), router_advertisement(&ends))]
        })
        .seen(|seen, _| kind(seen) == Some(134))
        .no_twin("a pod is no router"),
        discovery("ND: redirect to this pod", |aim| {
            let ends = between(link_local(aim.link.source).into(), ALL_NODES.into());
            vec![to_all(aim, ends.source.ip(), icmp(&ends, 137, 0, &[0; 36]))]
        })
        .seen(|seen, _| kind(seen) == Some(137))
        .no_twin("a pod is no router"),
    ]
}

const fn arp(way: &'static str, bytes: fn(&Aim) -> Vec<Vec<u8>>) -> Row {
    Row::frames(way, bytes).toward(Toward::Neighbour).versions(V4)
}

const fn discovery(way: &'static str, bytes: fn(&Aim) -> Vec<Vec<u8>>) -> Row {
    Row::frames(way, bytes).toward(Toward::Neighbour).versions(V6)
}

/// A gratuitous ARP (RFC 5227 §3).
fn announce(aim: &Aim, about: IpAddr) -> Vec<u8> {
    let (sender, target) = ((aim.link.source, v4(about)), ([0; 6], v4(about)));
    aim.link.to(BROADCAST).arp(&Arp { reply: false, sender, target })
}

fn question(aim: &Aim, asker: IpAddr) -> Vec<u8> {
    let (sender, target) = ((aim.link.source, v4(asker)), ([0; 6], v4(aim.someone)));
    aim.link.to(BROADCAST).arp(&Arp { reply: false, sender, target })
}

fn answer(aim: &Aim, about: IpAddr) -> Vec<u8> {
    let (sender, target) = ((aim.link.source, v4(about)), (aim.someone_mac, v4(aim.someone)));
    aim.link.to(aim.someone_mac).arp(&Arp { reply: true, sender, target })
}

/// Whether an ARP message has this address as its sender's.
fn speaks_for(seen: &Seen, ip: IpAddr) -> bool {
    seen.ethertype() == Some(ARP) && seen.bytes.get(28..32) == Some(&v4(ip).octets()[..])
}

fn advertise(aim: &Aim, about: IpAddr) -> Vec<u8> {
    let ends = between(aim.own, ALL_NODES.into());
    to_all(aim, aim.own, advertisement(&ends, v6(about), aim.link.source))
}

fn ask(aim: &Aim, asker: IpAddr, data: &[u8]) -> Vec<u8> {
    let ends = between(asker, ALL_NODES.into());
    if data.is_empty() {
        return to_all(aim, asker, solicitation(&ends, v6(aim.someone), aim.link.source));
    }
    let rest = [&[0; 4], &v6(aim.someone).octets()[..], data].concat();
    to_all(aim, asker, icmp(&ends, 135, 0, &rest))
}

fn to_all(aim: &Aim, source: IpAddr, (number, body): (u8, Vec<u8>)) -> Vec<u8> {
    let extras = Extras { hop_limit: Some(255), ..Extras::default() };
    let packet = between(source, ALL_NODES.into()).packet_with(&extras, number, &body);
    aim.link.to(multicast(ALL_NODES.into())).ip(&packet)
}

fn kind(seen: &Seen) -> Option<u8> {
    (seen.next_header() == Some(58)).then(|| seen.body().first().copied()).flatten()
}

fn advertises(seen: &Seen, ip: IpAddr) -> bool {
    kind(seen) == Some(136) && seen.body().get(8..24) == Some(&v6(ip).octets()[..])
}

fn asks(seen: &Seen, aim: &Aim) -> bool {
    kind(seen) == Some(135) && seen.source() == Some(aim.own)
}

fn v4(ip: IpAddr) -> Ipv4Addr {
    match ip {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

fn v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// The address that an interface gives itself (RFC 4291, appendix A).
pub(in crate::leaks) fn link_local(mac: Mac) -> Ipv6Addr {
    let [first, second, third, fourth, fifth, sixth] = mac;
    let octets =
        [0xfe, 0x80, 0, 0, 0, 0, 0, 0, first ^ 2, second, third, 0xff, 0xfe, fourth, fifth, sixth];
    octets.into()
}

//! Destinations that are no single host on the internet: groups, everybody, the link, the neighbour.

use crate::frame::protocol;
use crate::leaks::row::{Aim, BOTH, Port, Row, Toward, V4, V6};

pub(super) fn rows() -> [Row; 11] {
    [
        Row::call("a pod on the bridge, TCP", "connect", Port::Http).toward(Toward::Neighbour),
        Row::call("a pod on the bridge, UDP", "sendto", Port::Echo).toward(Toward::Neighbour),
        Row::call("multicast", "send", Port::Echo)
            .toward(Toward::Group("224.0.0.251"))
            .versions(V4),
        Row::call("multicast", "send", Port::Echo).toward(Toward::Group("ff02::fb")).versions(V6),
        Row::frames("multicast, AF_PACKET", group)
            .toward(Toward::Group("224.0.0.251"))
            .versions(V4),
        Row::frames("multicast, AF_PACKET", group).toward(Toward::Group("ff02::fb")).versions(V6),
        Row::call("broadcast", "send", Port::Echo)
            .toward(Toward::Group("255.255.255.255"))
            .versions(V4),
        Row::call("broadcast of the subnet", "send", Port::Echo)
            .toward(Toward::Group("10.9.1.255"))
            .versions(V4),
        Row::call("link-local: the metadata service, TCP", "connect", Port::Http)
            .toward(Toward::Metadata)
            .versions(V4),
        Row::call("link-local: a pod on the bridge", "sendto", Port::Echo)
            .toward(Toward::NeighbourLinkLocal)
            .versions(V6)
            .no_twin("an entry for a link-local address would mean another host on each link"),
        Row::frames("an allowed address, on another pod's hardware address", |aim| {
            vec![aim.link.to(aim.someone_mac).ip(&packet(aim))]
        })
        .toward(Toward::NeighbourHardware)
        .versions(BOTH)
        .no_twin("what is for somebody else is not delivered to a pod"),
    ]
}

fn packet(aim: &Aim) -> Vec<u8> {
    aim.ends().packet(protocol::UDP, &aim.ends().datagram(b"exeat"))
}

fn group(aim: &Aim) -> Vec<Vec<u8>> {
    vec![aim.link.to(crate::frame::multicast(aim.to.ip())).ip(&packet(aim))]
}

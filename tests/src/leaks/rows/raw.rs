//! Raw sockets and packet sockets with what an ordinary socket would send.

use crate::frame::{Ends, echo, protocol, tcp_flag};
use crate::leaks::row::{Aim, Port, Row, Toward, V4};

pub(super) fn rows() -> [Row; 9] {
    [
        Row::call("raw ICMP, sendto", "raw-sendto", Port::Echo)
            .raw(protocol::ICMP, protocol::ICMPV6, ping)
            .on_the_wire(),
        Row::call("raw ICMP, connected", "raw-connect", Port::Echo)
            .raw(protocol::ICMP, protocol::ICMPV6, ping)
            .on_the_wire(),
        Row::call("raw UDP", "raw-sendto", Port::Echo)
            .raw(protocol::UDP, protocol::UDP, datagram)
            .on_the_wire(),
        Row::call("raw TCP", "raw-sendto", Port::Http)
            .raw(protocol::TCP, protocol::TCP, opening)
            .on_the_wire(),
        Row::call("IP header by hand (IP_HDRINCL)", "raw-header", Port::Echo)
            .raw(255, 255, packet)
            .on_the_wire(),
        Row::call("IP header by hand, another pod's address", "raw-header", Port::Echo)
            .raw(255, 255, packet_of_another)
            .toward(Toward::Allowed)
            .on_the_wire()
            .versions(V4)
            .seen(|seen, aim| seen.source() == Some(aim.someone))
            .instead(packet, |seen, aim| seen.source() == Some(aim.own)),
        Row::frames("AF_PACKET, UDP", |aim| vec![aim.link.ip(&packet(aim)[0])]),
        Row::frames("AF_PACKET, the segment that opens a TCP connection", |aim| {
            vec![aim.link.ip(&aim.ends().packet(protocol::TCP, &opening(aim)[0]))]
        })
        .port(Port::Http),
        Row::frames("AF_PACKET, TCP segments of no connection", stray_segments).port(Port::Http),
    ]
}

fn ping(aim: &Aim) -> Vec<Vec<u8>> {
    vec![echo(&aim.ends()).1]
}

fn datagram(aim: &Aim) -> Vec<Vec<u8>> {
    vec![aim.ends().datagram(b"exeat")]
}

fn opening(aim: &Aim) -> Vec<Vec<u8>> {
    vec![aim.ends().segment(tcp_flag::SYN, &[])]
}

fn packet(aim: &Aim) -> Vec<Vec<u8>> {
    vec![aim.ends().packet(protocol::UDP, &datagram(aim)[0])]
}

fn packet_of_another(aim: &Aim) -> Vec<Vec<u8>> {
    packet(&Aim { own: aim.someone, ..*aim })
}

fn stray_segments(aim: &Aim) -> Vec<Vec<u8>> {
    let ends: Ends = aim.ends();
    [tcp_flag::ACK | tcp_flag::PUSH, tcp_flag::SYN | tcp_flag::ACK, tcp_flag::RST, 0]
        .map(|flags| aim.link.ip(&ends.packet(protocol::TCP, &ends.segment(flags, b"exeat"))))
        .to_vec()
}

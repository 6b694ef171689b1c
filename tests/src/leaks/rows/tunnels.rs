//! Packets in packets, and transports that no entry can declare, to a host that is allowed.

use crate::frame::{Ends, Link, protocol};
use crate::leaks::row::{Aim, Make, Port, Row, Toward, arrived_with_protocol};

const UNDECLARED: &str = "an entry cannot declare this protocol";

pub(super) fn rows() -> [Row; 8] {
    [
        tunnel("tunnel: IPv4 in IP (IPIP)", 4, inner_v4),
        tunnel("tunnel: IPv6 in IP (SIT, 6in4)", 41, inner_v6),
        tunnel("tunnel: GRE around IP", 47, |aim| {
            vec![[&[0, 0, 8, 0][..], &inner_v4(aim)[0]].concat()]
        }),
        tunnel("tunnel: GRE around Ethernet", 47, |aim| {
            vec![[&[0, 0, 0x65, 0x58][..], &Link::ANY.ip(&inner_v4(aim)[0])].concat()]
        }),
        tunnel("tunnel: ESP", 50, |_| {
            vec![[&[0, 0, 0x12, 0x34, 0, 0, 0, 1][..], &[0x5a; 24]].concat()]
        }),
        tunnel("tunnel: AH", 51, |aim| {
            let header =
                [17, 4, 0, 0, 0, 0, 0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            vec![[&header[..], &aim.ends().datagram(b"exeat")].concat()]
        }),
        tunnel("SCTP", 132, |_| {
            // An INIT chunk behind the common header (RFC 9260 §3).
            let ports = [0x9c, 0x40, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0];
            let init = [1, 0, 0, 20, 0, 0, 0, 7, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 7];
            vec![[&ports[..], &init].concat()]
        }),
        tunnel("DCCP", 33, |_| {
            // A request (RFC 4340 §5.1).
            vec![vec![0x9c, 0x40, 0, 80, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7]]
        }),
    ]
}

const fn tunnel(way: &'static str, number: u8, bytes: Make) -> Row {
    Row::call(way, "raw-sendto", Port::Echo)
        .raw(number, number, bytes)
        .toward(Toward::Allowed)
        .seen(arrived_with_protocol)
        .on_the_wire()
        .no_twin(UNDECLARED)
}

fn inner_v4(_: &Aim) -> Vec<Vec<u8>> {
    vec![inner("10.9.0.2:40000", "198.18.255.1:4000")]
}

fn inner_v6(_: &Aim) -> Vec<Vec<u8>> {
    vec![inner("[fd00:9::2]:40000", "[2001:db8:bad0::1]:4000")]
}

/// A datagram for an address that nobody declared.
fn inner(source: &str, destination: &str) -> Vec<u8> {
    let end = |text: &str| text.parse().expect("an end of a packet");
    let ends = Ends { source: end(source), destination: end(destination) };
    ends.packet(protocol::UDP, &ends.datagram(b"exeat"))
}

//! Messages of ICMP in both versions, neighbour discovery among them.

use std::net::{IpAddr, Ipv6Addr};

use super::{Ends, Mac, checksum, protocol};

/// An ICMP message of the family of `ends`, as the number of its protocol and its bytes: type, code,
/// and all that follows the checksum.
pub fn icmp(ends: &Ends, kind: u8, code: u8, rest: &[u8]) -> (u8, Vec<u8>) {
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest);
    let (protocol, sum) = match ends.addresses() {
        (IpAddr::V4(_), _) => (protocol::ICMP, checksum(&message)),
        (IpAddr::V6(_), _) => (protocol::ICMPV6, ends.sum(protocol::ICMPV6, &message)),
    };
    message.splice(2..4, sum.to_be_bytes());
    (protocol, message)
}

/// An echo request (RFC 792, RFC 4443 §4.1).
pub fn echo(ends: &Ends) -> (u8, Vec<u8>) {
    let kind = if ends.source.is_ipv4() { 8 } else { 128 };
    icmp(ends, kind, 0, &[0x12, 0x34, 0, 1, b'e', b'x', b'e', b'a', b't'])
}

/// "Port unreachable" about `packet`, which its sender cites (RFC 792, RFC 4443 §3.1).
pub fn error(ends: &Ends, packet: &[u8]) -> (u8, Vec<u8>) {
    let (kind, code) = if ends.source.is_ipv4() { (3, 3) } else { (1, 4) };
    icmp(ends, kind, code, &[&[0; 4], packet].concat())
}

/// A neighbour advertisement (RFC 4861 §4.4): `about` is to be found at `mac`.
pub fn advertisement(ends: &Ends, about: Ipv6Addr, mac: Mac) -> (u8, Vec<u8>) {
    const OVERRIDE: u8 = 0x20;
    icmp(ends, 136, 0, &[&[OVERRIDE, 0, 0, 0], &about.octets()[..], &[2, 1], &mac].concat())
}

/// A neighbour solicitation (RFC 4861 §4.3): who has `about`, and the asker is at `mac`.
pub fn solicitation(ends: &Ends, about: Ipv6Addr, mac: Mac) -> (u8, Vec<u8>) {
    icmp(ends, 135, 0, &[&[0; 4], &about.octets()[..], &[1, 1], &mac].concat())
}

/// A router advertisement (RFC 4861 §4.2): the sender routes for half an hour.
pub fn router_advertisement(ends: &Ends) -> (u8, Vec<u8>) {
    icmp(ends, 134, 0, &[64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0])
}

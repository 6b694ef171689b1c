//! What is in a captured packet, as another parser than ours reads it.

use std::net::{IpAddr, SocketAddr};

use etherparse::{NetSlice, SlicedPacket, TcpSlice, TransportSlice};

use crate::traffic::{Capture, Captured};

/// Type and code of "communication administratively prohibited" (RFC 1812 §5.2.7.1, RFC 4443 §3.1).
const V4_PROHIBITED: (u8, u8) = (3, 13);
const V6_PROHIBITED: (u8, u8) = (1, 1);

/// A TCP segment, as far as tests look at it.
#[derive(Clone, Debug)]
pub struct Segment {
    pub outgoing: bool,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub is_syn: bool,
    /// A reset with a right checksum, and with neither payload nor options.
    pub is_bare_reset: bool,
}

pub fn segment(captured: &Captured) -> Option<Segment> {
    let packet = SlicedPacket::from_ip(&captured.bytes).ok()?;
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { return None };
    let (from, to, sum) = match packet.net.as_ref()? {
        NetSlice::Ipv4(v4) => {
            let (from, to) = (v4.header().source(), v4.header().destination());
            (IpAddr::from(from), IpAddr::from(to), tcp.calc_checksum_ipv4(from, to).ok()?)
        }
        NetSlice::Ipv6(v6) => {
            let (from, to) = (v6.header().source(), v6.header().destination());
            (IpAddr::from(from), IpAddr::from(to), tcp.calc_checksum_ipv6(from, to).ok()?)
        }
        NetSlice::Arp(_) => return None,
    };
    Some(Segment {
        outgoing: captured.outgoing,
        from: SocketAddr::new(from, tcp.source_port()),
        to: SocketAddr::new(to, tcp.destination_port()),
        is_syn: tcp.syn(),
        is_bare_reset: is_bare_reset(tcp) && tcp.checksum() == sum,
    })
}

fn is_bare_reset(tcp: &TcpSlice<'_>) -> bool {
    tcp.rst() && tcp.payload().is_empty() && tcp.options().is_empty()
}

/// The segments captured so far.
pub fn segments(capture: &Capture) -> Vec<Segment> {
    capture.packets().iter().filter_map(segment).collect()
}

/// Source of an ICMP error that says "administratively prohibited", with a right checksum.
pub fn prohibited(captured: &Captured) -> Option<IpAddr> {
    let packet = SlicedPacket::from_ip(&captured.bytes).ok()?;
    match (packet.transport?, packet.net?) {
        (TransportSlice::Icmpv4(icmp), NetSlice::Ipv4(v4)) => {
            let is_valid = icmp.checksum() == icmp.icmp_type().calc_checksum(icmp.payload());
            let is_prohibited = (icmp.type_u8(), icmp.code_u8()) == V4_PROHIBITED;
            (is_valid && is_prohibited).then(|| v4.header().source_addr().into())
        }
        (TransportSlice::Icmpv6(icmp), NetSlice::Ipv6(v6)) => {
            let (from, to) = (v6.header().source(), v6.header().destination());
            let is_prohibited = (icmp.type_u8(), icmp.code_u8()) == V6_PROHIBITED;
            let is_valid = icmp.is_checksum_valid(from, to);
            (is_valid && is_prohibited).then(|| v6.header().source_addr().into())
        }
        _ => None,
    }
}

//! Packets written by hand, with valid checksums. Knows nothing of who reads them.

mod icmp;
mod link;
mod network;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

pub use icmp::{advertisement, echo, error, icmp, router_advertisement, solicitation};
pub use link::{Arp, BROADCAST, Link, Mac, multicast, tag};
pub use network::{Extras, fragment};

/// IP protocol numbers (IANA).
pub mod protocol {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IPV4: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const IPV6: u8 = 41;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const ICMPV6: u8 = 58;
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// TCP flag bits (RFC 9293 §3.1).
pub mod tcp_flag {
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PUSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
}

/// Sender and receiver of a packet, of one IP version. An IPv4-mapped address is IPv4, as it is on
/// the wire.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

impl Ends {
    /// The way back.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source }
    }

    /// A frame with a datagram.
    pub fn udp(&self, payload: &[u8]) -> Vec<u8> {
        Link::ANY.ip(&self.packet(protocol::UDP, &self.datagram(payload)))
    }

    /// A frame with the segment that opens a connection.
    pub fn syn(&self) -> Vec<u8> {
        Link::ANY.ip(&self.packet(protocol::TCP, &self.segment(tcp_flag::SYN, &[])))
    }

    /// A frame with a segment of a connection that is open.
    pub fn ack(&self, payload: &[u8]) -> Vec<u8> {
        Link::ANY.ip(&self.packet(protocol::TCP, &self.segment(tcp_flag::ACK, payload)))
    }

    /// A plain IP packet around `body`.
    pub fn packet(&self, protocol: u8, body: &[u8]) -> Vec<u8> {
        self.packet_with(&Extras::default(), protocol, body)
    }

    /// A UDP datagram (RFC 768).
    ///
    /// # Panics
    ///
    /// If the payload does not fit one packet.
    pub fn datagram(&self, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(8 + payload.len()).expect("a datagram fits its length");
        let mut datagram = self.ports();
        datagram.extend(length.to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(payload);
        // A sum of zero is sent as all ones, for zero says that there is none.
        let sum = match self.sum(protocol::UDP, &datagram) {
            0 => u16::MAX,
            sum => sum,
        };
        datagram.splice(6..8, sum.to_be_bytes());
        datagram
    }

    /// A TCP segment (RFC 9293 §3.1).
    pub fn segment(&self, flags: u8, payload: &[u8]) -> Vec<u8> {
        const FIVE_WORDS: u8 = 5 << 4;
        let mut segment = self.ports();
        segment.extend([0, 0, 0, 1, 0, 0, 0, 0, FIVE_WORDS, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(payload);
        let sum = self.sum(protocol::TCP, &segment);
        segment.splice(16..18, sum.to_be_bytes());
        segment
    }

    fn ports(&self) -> Vec<u8> {
        [self.source.port(), self.destination.port()]
            .into_iter()
            .flat_map(u16::to_be_bytes)
            .collect()
    }

    fn addresses(&self) -> (IpAddr, IpAddr) {
        (self.source.ip().to_canonical(), self.destination.ip().to_canonical())
    }

    /// The checksum of a segment whose own field is zero, over it and the pseudo-header
    /// (RFC 9293 §3.1, RFC 8200 §8.1). The two pseudo-headers have the same sum.
    fn sum(&self, protocol: u8, segment: &[u8]) -> u16 {
        let (from, to) = self.addresses();
        let length = u16::try_from(segment.len()).expect("a segment fits its length");
        let mut covered = octets(from);
        covered.extend(octets(to));
        covered.extend([0, protocol]);
        covered.extend(length.to_be_bytes());
        covered.extend(segment);
        checksum(&covered)
    }
}

/// The ends of a packet that has no ports.
pub fn between(source: IpAddr, destination: IpAddr) -> Ends {
    Ends { source: SocketAddr::new(source, 0), destination: SocketAddr::new(destination, 0) }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn octets_v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
    .octets()
}

/// The internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from);
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("the carries were added")
}

/// `ff02::1`, all nodes of a link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

#[cfg(test)]
mod tests {
    use super::{Ends, checksum};

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(!checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
        assert_eq!(checksum(&[0xff, 0xff, 0x12]), !0x1200);
    }

    /// A receiver sums header and segment with their checksums in place, and gets all ones.
    #[test]
    fn what_is_written_sums_to_all_ones() {
        let ends = Ends {
            source: "10.244.0.7:40000".parse().expect("an end"),
            destination: "192.0.2.1:443".parse().expect("an end"),
        };
        for (frame, protocol) in [(ends.syn(), 6), (ends.ack(b"even"), 6), (ends.udp(b"odd"), 17)] {
            assert_eq!(checksum(&frame[14..34]), 0);
            let mut covered = frame[26..34].to_vec();
            covered.extend([0, protocol, 0, u8::try_from(frame.len() - 34).expect("short")]);
            covered.extend(&frame[34..]);
            assert_eq!(checksum(&covered), 0);
        }
    }
}

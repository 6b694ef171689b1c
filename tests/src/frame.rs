//! Ethernet frames written by hand, with valid checksums. Knows nothing of who reads them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Two locally administered hardware addresses and no more: nobody looks at them.
const HARDWARE_ADDRESSES: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
const TCP: u8 = 6;
const UDP: u8 = 17;
const HOP_LIMIT: u8 = 64;

/// Sender and receiver of a frame, of one IP version. An IPv4-mapped address is IPv4, as it is on
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

    /// A datagram.
    ///
    /// # Panics
    ///
    /// If the payload does not fit one packet, or the ends are not of one IP version.
    pub fn udp(&self, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(8 + payload.len()).expect("a datagram fits its length");
        let mut segment = self.ports();
        segment.extend(length.to_be_bytes());
        segment.extend([0, 0]);
        segment.extend(payload);
        // RFC 768: a sum of zero is sent as all ones, for zero says that there is none.
        let sum = match self.sum(UDP, &segment) {
            0 => u16::MAX,
            sum => sum,
        };
        segment.splice(6..8, sum.to_be_bytes());
        self.frame(UDP, &segment)
    }

    /// The segment that opens a connection (RFC 9293 §3.1).
    ///
    /// # Panics
    ///
    /// If the ends are not of one IP version.
    pub fn syn(&self) -> Vec<u8> {
        const SYN: u8 = 0x02;
        self.tcp(SYN, &[])
    }

    /// A segment of a connection that is open.
    ///
    /// # Panics
    ///
    /// As [`Self::udp`].
    pub fn ack(&self, payload: &[u8]) -> Vec<u8> {
        const ACK: u8 = 0x10;
        self.tcp(ACK, payload)
    }

    fn tcp(&self, flags: u8, payload: &[u8]) -> Vec<u8> {
        const FIVE_WORDS: u8 = 5 << 4;
        let mut segment = self.ports();
        segment.extend([0, 0, 0, 1, 0, 0, 0, 0, FIVE_WORDS, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(payload);
        let sum = self.sum(TCP, &segment);
        segment.splice(16..18, sum.to_be_bytes());
        self.frame(TCP, &segment)
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

    fn frame(&self, protocol: u8, segment: &[u8]) -> Vec<u8> {
        let mut frame = HARDWARE_ADDRESSES.to_vec();
        match self.addresses() {
            (IpAddr::V4(from), IpAddr::V4(to)) => v4(&mut frame, from, to, protocol, segment),
            (IpAddr::V6(from), IpAddr::V6(to)) => v6(&mut frame, from, to, protocol, segment),
            mixed => panic!("no packet has addresses of both versions: {mixed:?}"),
        }
        frame
    }

    /// The checksum of a segment whose own field is zero, over it and the pseudo-header
    /// (RFC 9293 §3.1, RFC 8200 §8.1). The two pseudo-headers have the same sum.
    fn sum(&self, protocol: u8, segment: &[u8]) -> u16 {
        let octets = |ip| match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
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

/// RFC 791 §3.1.
fn v4(frame: &mut Vec<u8>, from: Ipv4Addr, to: Ipv4Addr, protocol: u8, segment: &[u8]) {
    let total = u16::try_from(20 + segment.len()).expect("a packet fits its length");
    let mut header = vec![0x45, 0];
    header.extend(total.to_be_bytes());
    header.extend([0, 0, 0, 0, HOP_LIMIT, protocol, 0, 0]);
    header.extend(from.octets().into_iter().chain(to.octets()));
    let sum = checksum(&header);
    header.splice(10..12, sum.to_be_bytes());
    frame.extend([0x08, 0x00]);
    frame.extend(header);
    frame.extend(segment);
}

/// RFC 8200 §3.
fn v6(frame: &mut Vec<u8>, from: Ipv6Addr, to: Ipv6Addr, protocol: u8, segment: &[u8]) {
    let length = u16::try_from(segment.len()).expect("a packet fits its length");
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([protocol, HOP_LIMIT]);
    frame.extend(from.octets().into_iter().chain(to.octets()));
    frame.extend(segment);
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

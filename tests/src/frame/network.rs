//! IPv4 and IPv6 headers, plain and with what may stand between them and the transport.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Ends, checksum, protocol};

const HOP_LIMIT: u8 = 64;

/// What a packet has beyond a plain header.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// IPv4 options; filled up to whole words.
    pub options: Vec<u8>,
    /// IPv4: flags and fragment offset, as the header has them.
    pub fragment: u16,
    /// IPv6 extension headers, from first to last, each with its number. The byte that names the
    /// next header is filled in.
    pub headers: Vec<(u8, Vec<u8>)>,
    /// Neighbour discovery wants 255 (RFC 4861 §7.1).
    pub hop_limit: Option<u8>,
    /// IPv6: what the header claims as payload length.
    pub claimed_length: Option<u16>,
}

/// An IPv6 fragment header (RFC 8200 §4.5), its offset in units of eight bytes.
pub fn fragment(offset: u16, more: bool) -> (u8, Vec<u8>) {
    let mut header = vec![0, 0];
    header.extend((offset << 3 | u16::from(more)).to_be_bytes());
    header.extend([0, 0, 0, 7]);
    (protocol::FRAGMENT, header)
}

impl Ends {
    /// An IP packet with more than a plain header.
    ///
    /// # Panics
    ///
    /// If the body does not fit one packet, or the ends are not of one IP version.
    pub fn packet_with(&self, extras: &Extras, protocol: u8, body: &[u8]) -> Vec<u8> {
        match self.addresses() {
            (IpAddr::V4(from), IpAddr::V4(to)) => v4(extras, from, to, protocol, body),
            (IpAddr::V6(from), IpAddr::V6(to)) => v6(extras, from, to, protocol, body),
            mixed => panic!("no packet has addresses of both versions: {mixed:?}"),
        }
    }

    /// An IPv6 packet whose addresses are what they are, even if they are IPv4-mapped.
    pub fn packet_v6(&self, protocol: u8, body: &[u8]) -> Vec<u8> {
        let [from, to] =
            [self.source, self.destination].map(|end| Ipv6Addr::from(super::octets_v6(end.ip())));
        v6(&Extras::default(), from, to, protocol, body)
    }
}

/// RFC 791 §3.1.
fn v4(extras: &Extras, from: Ipv4Addr, to: Ipv4Addr, protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut options = extras.options.clone();
    options.resize(options.len().next_multiple_of(4), 0);
    let length = 20 + options.len();
    let total = u16::try_from(length + body.len()).expect("a packet fits its length");
    let mut header = vec![0x40 | u8::try_from(length / 4).expect("at most 60 bytes"), 0];
    header.extend(total.to_be_bytes());
    header.extend([0, 7]);
    header.extend(extras.fragment.to_be_bytes());
    header.extend([extras.hop_limit.unwrap_or(HOP_LIMIT), protocol, 0, 0]);
    header.extend(from.octets().into_iter().chain(to.octets()));
    header.extend(options);
    let sum = checksum(&header);
    header.splice(10..12, sum.to_be_bytes());
    header.extend(body);
    header
}

/// RFC 8200 §3.
fn v6(extras: &Extras, from: Ipv6Addr, to: Ipv6Addr, protocol: u8, body: &[u8]) -> Vec<u8> {
    let numbers = extras.headers.iter().map(|(number, _)| *number).chain([protocol]);
    let numbers: Vec<u8> = numbers.collect();
    let mut behind = Vec::new();
    for (index, (_, header)) in extras.headers.iter().enumerate() {
        behind.push(numbers[index + 1]);
        behind.extend(&header[1..]);
    }
    behind.extend(body);
    let length = u16::try_from(behind.len()).expect("a packet fits its length");
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(extras.claimed_length.unwrap_or(length).to_be_bytes());
    packet.extend([numbers[0], extras.hop_limit.unwrap_or(HOP_LIMIT)]);
    packet.extend(from.octets().into_iter().chain(to.octets()));
    packet.extend(behind);
    packet
}

//! Ethernet, IPv4 and IPv6 headers as far as a verdict needs them. What cannot be read is refused.

use crate::{
    address::Address,
    bytes::{Bytes, SLACK},
    flow::protocol,
    limits::{EXTENSION_HEADERS, HEADER_BYTES},
    reason::Reason,
};

/// The first bytes of a frame.
pub type HeaderBytes<'a> = Bytes<'a, HEADER_BUFFER_BYTES>;

/// Size of the buffer behind [`HeaderBytes`].
pub const HEADER_BUFFER_BYTES: usize = HEADER_BYTES + SLACK;

/// Length of an Ethernet header without a VLAN tag.
pub const ETHERNET_BYTES: usize = 14;

/// TCP flag bits (RFC 9293 §3.1).
pub mod tcp_flag {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const ACK: u8 = 0x10;
}

/// ICMP types that are told apart (RFC 792, RFC 4443, RFC 4861, RFC 3810).
pub mod icmp_type {
    pub const ECHO_REPLY: u8 = 0;
    pub const ECHO: u8 = 8;
    pub const V6_ECHO: u8 = 128;
    pub const V6_ECHO_REPLY: u8 = 129;
    pub const V6_LISTENER_QUERY: u8 = 130;
    pub const V6_NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    pub const V6_LISTENER_REPORT_2: u8 = 143;
}

mod ethertype {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const ARP: u16 = 0x0806;
    pub(super) const IPV6: u16 = 0x86dd;
}

/// A frame that can be judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Frame {
    /// Address resolution; never leaves the link.
    Arp,
    Ip(Packet),
}

/// The headers of one IP packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packet {
    pub source: Address,
    pub destination: Address,
    /// IP protocol number of the payload, after extension headers.
    pub protocol: u8,
    /// TCP flags, or the ICMP type; 0 elsewhere.
    pub detail: u8,
    /// Host order. The identifier for ICMP echo, 0 for protocols without ports.
    pub source_port: u16,
    /// Host order. 0 for protocols without ports.
    pub destination_port: u16,
    /// Offset of the transport header in the frame, in bytes.
    pub transport: usize,
    /// Offset of the transport payload in the frame, in bytes.
    pub payload: usize,
    /// Bytes of the transport payload.
    pub payload_length: usize,
}

impl Packet {
    /// A TCP segment that opens a connection.
    #[inline(always)]
    pub const fn opens(&self) -> bool {
        self.protocol == protocol::TCP
            && self.detail & (tcp_flag::SYN | tcp_flag::ACK) == tcp_flag::SYN
    }

    /// A TCP segment that ends a connection at once.
    #[inline(always)]
    pub const fn resets(&self) -> bool {
        self.protocol == protocol::TCP && self.detail & tcp_flag::RST != 0
    }

    /// A TCP segment that ends a connection, in one direction at least.
    #[inline(always)]
    pub const fn closes(&self) -> bool {
        self.protocol == protocol::TCP && self.detail & (tcp_flag::FIN | tcp_flag::RST) != 0
    }
}

/// Why a frame was not parsed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InvalidFrame {
    /// Not IPv4, IPv6 or ARP.
    NotIp,
    /// Not the first fragment of its packet: it has no ports.
    LaterFragment,
    /// Cut short, or lengths that contradict each other, or an IPv6 routing header.
    Malformed,
}

impl InvalidFrame {
    pub const fn reason(self) -> Reason {
        match self {
            Self::NotIp => Reason::NotIp,
            Self::LaterFragment => Reason::Fragment,
            Self::Malformed => Reason::Malformed,
        }
    }
}

/// Where the transport header is and what it belongs to.
struct Network {
    source: Address,
    destination: Address,
    protocol: u8,
    transport: usize,
    /// Offset of the first byte after the packet; less than the frame if that is padded.
    end: usize,
}

/// Parses the headers of a frame of `frame_length` bytes, of which `bytes` holds the first ones.
#[inline(always)]
pub fn parse(bytes: &HeaderBytes<'_>, frame_length: usize) -> Result<Frame, InvalidFrame> {
    let network = match bytes.u16(12).ok_or(InvalidFrame::Malformed)? {
        ethertype::IPV4 => parse_v4(bytes, frame_length)?,
        ethertype::IPV6 => parse_v6(bytes, frame_length)?,
        ethertype::ARP => return Ok(Frame::Arp),
        _ => return Err(InvalidFrame::NotIp),
    };
    parse_transport(bytes, &network).map(Frame::Ip)
}

/// RFC 791 §3.1.
#[inline(always)]
fn parse_v4(bytes: &HeaderBytes<'_>, frame_length: usize) -> Result<Network, InvalidFrame> {
    const AT: usize = ETHERNET_BYTES;
    let first = bytes.u8(AT).ok_or(InvalidFrame::Malformed)?;
    let header = usize::from(first & 0x0f) * 4;
    let total = usize::from(bytes.u16(AT + 2).ok_or(InvalidFrame::Malformed)?);
    let fragment = bytes.u16(AT + 6).ok_or(InvalidFrame::Malformed)?;
    let protocol = bytes.u8(AT + 9).ok_or(InvalidFrame::Malformed)?;
    let source = bytes.array(AT + 12).ok_or(InvalidFrame::Malformed)?;
    let destination = bytes.array(AT + 16).ok_or(InvalidFrame::Malformed)?;
    if first >> 4 != 4 || header < 20 || total < header || AT + total > frame_length {
        return Err(InvalidFrame::Malformed);
    }
    if fragment & 0x1fff != 0 {
        return Err(InvalidFrame::LaterFragment);
    }
    Ok(Network {
        source: Address::from_v4(source),
        destination: Address::from_v4(destination),
        protocol,
        transport: AT + header,
        end: AT + total,
    })
}

/// RFC 8200 §3 and §4. Routing headers are refused: the real destination would be elsewhere.
#[inline(always)]
fn parse_v6(bytes: &HeaderBytes<'_>, frame_length: usize) -> Result<Network, InvalidFrame> {
    const AT: usize = ETHERNET_BYTES;
    const FIXED: usize = 40;
    let first = bytes.u8(AT).ok_or(InvalidFrame::Malformed)?;
    let payload = usize::from(bytes.u16(AT + 4).ok_or(InvalidFrame::Malformed)?);
    let mut next = bytes.u8(AT + 6).ok_or(InvalidFrame::Malformed)?;
    let source = bytes.array(AT + 8).ok_or(InvalidFrame::Malformed)?;
    let destination = bytes.array(AT + 24).ok_or(InvalidFrame::Malformed)?;
    let end = AT + FIXED + payload;
    if first >> 4 != 6 || end > frame_length {
        return Err(InvalidFrame::Malformed);
    }
    let mut transport = AT + FIXED;
    for _ in 0..EXTENSION_HEADERS {
        match next {
            protocol::HOP_BY_HOP | protocol::DESTINATION_OPTIONS => {
                let length = bytes.u8(transport + 1).ok_or(InvalidFrame::Malformed)?;
                next = bytes.u8(transport).ok_or(InvalidFrame::Malformed)?;
                transport += (usize::from(length) + 1) * 8;
            }
            protocol::FRAGMENT => {
                let offset = bytes.u16(transport + 2).ok_or(InvalidFrame::Malformed)?;
                if offset & 0xfff8 != 0 {
                    return Err(InvalidFrame::LaterFragment);
                }
                next = bytes.u8(transport).ok_or(InvalidFrame::Malformed)?;
                transport += 8;
            }
            _ => break,
        }
    }
    match next {
        protocol::HOP_BY_HOP
        | protocol::DESTINATION_OPTIONS
        | protocol::FRAGMENT
        | protocol::ROUTING => Err(InvalidFrame::Malformed),
        _ => Ok(Network {
            source: Address::from_v6(source),
            destination: Address::from_v6(destination),
            protocol: next,
            transport,
            end,
        }),
    }
}

#[inline(always)]
fn parse_transport(bytes: &HeaderBytes<'_>, network: &Network) -> Result<Packet, InvalidFrame> {
    let at = network.transport;
    let mut packet = Packet {
        source: network.source,
        destination: network.destination,
        protocol: network.protocol,
        detail: 0,
        source_port: 0,
        destination_port: 0,
        transport: at,
        payload: at,
        payload_length: 0,
    };
    let header = match network.protocol {
        protocol::TCP => {
            let offset = bytes.u8(at + 12).ok_or(InvalidFrame::Malformed)?;
            packet.detail = bytes.u8(at + 13).ok_or(InvalidFrame::Malformed)?;
            let header = usize::from(offset >> 4) * 4;
            if header < 20 {
                return Err(InvalidFrame::Malformed);
            }
            header
        }
        protocol::UDP => {
            let length = usize::from(bytes.u16(at + 4).ok_or(InvalidFrame::Malformed)?);
            if length < 8 || at + length > network.end {
                return Err(InvalidFrame::Malformed);
            }
            8
        }
        protocol::ICMP | protocol::ICMPV6 => {
            packet.detail = bytes.u8(at).ok_or(InvalidFrame::Malformed)?;
            if is_echo(network.protocol, packet.detail) {
                packet.source_port = bytes.u16(at + 4).ok_or(InvalidFrame::Malformed)?;
            }
            4
        }
        _ => 0,
    };
    if at + header > network.end {
        return Err(InvalidFrame::Malformed);
    }
    if matches!(network.protocol, protocol::TCP | protocol::UDP) {
        packet.source_port = bytes.u16(at).ok_or(InvalidFrame::Malformed)?;
        packet.destination_port = bytes.u16(at + 2).ok_or(InvalidFrame::Malformed)?;
    }
    packet.payload = at + header;
    packet.payload_length = network.end - packet.payload;
    Ok(packet)
}

/// Whether an ICMP type is an echo request or reply of its family.
#[inline(always)]
pub const fn is_echo(protocol: u8, icmp: u8) -> bool {
    match protocol {
        protocol::ICMP => matches!(icmp, icmp_type::ECHO | icmp_type::ECHO_REPLY),
        protocol::ICMPV6 => matches!(icmp, icmp_type::V6_ECHO | icmp_type::V6_ECHO_REPLY),
        _ => false,
    }
}

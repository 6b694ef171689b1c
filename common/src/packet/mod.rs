//! The headers of a frame as far as a verdict needs them. What cannot be read is refused.

mod arp;
mod network;
mod transport;

use crate::{
    address::Address,
    bytes::{Bytes, SLACK, Veil},
    flow::protocol,
    limits::HEADER_BYTES,
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
    pub const URG: u8 = 0x20;
}

/// ICMP types that are told apart (RFC 792, RFC 4443, RFC 4861, RFC 2710, RFC 3810).
pub mod icmp_type {
    pub const ECHO_REPLY: u8 = 0;
    pub const UNREACHABLE: u8 = 3;
    pub const ECHO: u8 = 8;
    pub const TIME_EXCEEDED: u8 = 11;
    pub const PARAMETER_PROBLEM: u8 = 12;
    pub const V6_UNREACHABLE: u8 = 1;
    pub const V6_PARAMETER_PROBLEM: u8 = 4;
    pub const V6_ECHO: u8 = 128;
    pub const V6_ECHO_REPLY: u8 = 129;
    pub const V6_LISTENER_REPORT: u8 = 131;
    pub const V6_LISTENER_DONE: u8 = 132;
    pub const V6_ROUTER_SOLICITATION: u8 = 133;
    pub const V6_NEIGHBOUR_SOLICITATION: u8 = 135;
    pub const V6_NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    pub const V6_LISTENER_REPORT_2: u8 = 143;
}

pub(crate) mod ethertype {
    pub(crate) const IPV4: u16 = 0x0800;
    pub(super) const ARP: u16 = 0x0806;
    pub(crate) const IPV6: u16 = 0x86dd;
}

/// The headers of one IP packet, or an ARP message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packet {
    pub source: Address,
    pub destination: Address,
    /// The target of a neighbour solicitation or advertisement; `source` in everything else.
    pub target: Address,
    /// Address resolution for IPv4, which never leaves the link. No other field but the addresses
    /// and `protocol` says anything then.
    pub arp: bool,
    /// IP protocol number of the payload, after extension headers. 0 for ARP.
    pub protocol: u8,
    /// IP protocol of the flow that the packet belongs to. That is `protocol`, but for an ICMP error
    /// about a packet over TCP or UDP: then it is that packet's.
    pub flow_protocol: u8,
    /// TCP flags, or the ICMP type; 0 elsewhere.
    pub detail: u8,
    /// Host order. The identifier for ICMP echo, the port that an ICMP error is about, 0 for
    /// protocols without ports.
    pub source_port: u16,
    /// Host order. The other port that an ICMP error is about; what tells other ICMP from echo, which
    /// has 0; 0 for protocols without ports.
    pub destination_port: u16,
    /// Offset of the transport header in the frame, in bytes.
    pub transport: usize,
    /// Offset of the transport payload in the frame, in bytes.
    pub payload: usize,
    /// Bytes of the transport payload.
    pub payload_length: usize,
}

impl Packet {
    /// A datagram between two ends, for whoever has a message and no frame around it.
    pub const fn udp(source: (Address, u16), destination: (Address, u16)) -> Self {
        Self {
            source: source.0,
            destination: destination.0,
            target: source.0,
            arp: false,
            protocol: protocol::UDP,
            flow_protocol: protocol::UDP,
            detail: 0,
            source_port: source.1,
            destination_port: destination.1,
            transport: 0,
            payload: 0,
            payload_length: 0,
        }
    }

    /// The port that the packet itself goes to; 0 for protocols without ports.
    #[inline(always)]
    pub const fn port(&self) -> u16 {
        match self.protocol {
            protocol::TCP | protocol::UDP => self.destination_port,
            _ => 0,
        }
    }

    /// A TCP segment that opens a connection.
    #[inline(always)]
    pub const fn opens(&self) -> bool {
        self.protocol == protocol::TCP
            && self.detail & (tcp_flag::SYN | tcp_flag::ACK) == tcp_flag::SYN
    }

    /// A TCP segment that answers one which opens a connection.
    #[inline(always)]
    pub const fn accepts(&self) -> bool {
        const BOTH: u8 = tcp_flag::SYN | tcp_flag::ACK;
        self.protocol == protocol::TCP && self.detail & BOTH == BOTH
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
    /// An IPv4 option or IPv6 header would send the packet to another destination.
    SourceRoute,
    /// An ARP message names another hardware address than the frame comes from.
    SpoofedLink,
    /// Cut short, or lengths that contradict each other.
    Malformed,
}

impl InvalidFrame {
    pub const fn reason(self) -> Reason {
        match self {
            Self::NotIp => Reason::NotIp,
            Self::LaterFragment => Reason::Fragment,
            Self::SourceRoute => Reason::SourceRoute,
            Self::SpoofedLink => Reason::SpoofedLink,
            Self::Malformed => Reason::Malformed,
        }
    }
}

/// Parses the headers of a frame of `frame_length` bytes, of which `bytes` holds the first ones.
#[inline(always)]
pub fn parse<V: Veil>(
    bytes: &HeaderBytes<'_>,
    frame_length: usize,
    veil: &V,
) -> Result<Packet, InvalidFrame> {
    let network = match bytes.u16(12).ok_or(InvalidFrame::Malformed)? {
        ethertype::IPV4 => network::parse_v4::<ETHERNET_BYTES, V>(bytes, frame_length, veil)?,
        ethertype::IPV6 => network::parse_v6::<ETHERNET_BYTES>(bytes, frame_length)?,
        ethertype::ARP => return arp::parse(bytes, frame_length),
        _ => return Err(InvalidFrame::NotIp),
    };
    transport::parse(bytes, &network)
}

/// The same for a packet without a link header: offsets then count from the IP header.
#[inline(always)]
pub fn parse_ip<V: Veil>(
    bytes: &HeaderBytes<'_>,
    packet_length: usize,
    veil: &V,
) -> Result<Packet, InvalidFrame> {
    let network = match bytes.u8(0).ok_or(InvalidFrame::Malformed)? >> 4 {
        4 => network::parse_v4::<0, V>(bytes, packet_length, veil)?,
        6 => network::parse_v6::<0>(bytes, packet_length)?,
        _ => return Err(InvalidFrame::NotIp),
    };
    transport::parse(bytes, &network)
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

/// Whether an ICMP type is an error, which cites the packet that it is about.
#[inline(always)]
pub const fn is_error(protocol: u8, icmp: u8) -> bool {
    match protocol {
        protocol::ICMP => matches!(
            icmp,
            icmp_type::UNREACHABLE | icmp_type::TIME_EXCEEDED | icmp_type::PARAMETER_PROBLEM
        ),
        protocol::ICMPV6 => {
            matches!(icmp, icmp_type::V6_UNREACHABLE..=icmp_type::V6_PARAMETER_PROBLEM)
        }
        _ => false,
    }
}

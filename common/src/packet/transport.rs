//! Transport headers, and ICMP messages with what they are about.

use super::{HeaderBytes, InvalidFrame, Packet, icmp_type, is_echo, is_error, network::Network};
use crate::{address::Address, flow::protocol};

/// Bytes of a message of neighbour discovery: 24, with options for a hardware address and a nonce
/// (RFC 4861 §4, RFC 3971 §5.3.2), and room for one more.
const DISCOVERY_BYTES: usize = 64;

/// Bytes of an ICMP error before the packet that it cites (RFC 792, RFC 4443 §3).
const CITED_AT: usize = 8;

#[inline(always)]
pub(super) fn parse(bytes: &HeaderBytes<'_>, network: &Network) -> Result<Packet, InvalidFrame> {
    let at = network.transport;
    let mut packet = Packet {
        source: network.source,
        destination: network.destination,
        target: network.source,
        arp: false,
        protocol: network.protocol,
        flow_protocol: network.protocol,
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
            parse_icmp(bytes, network, &mut packet)?;
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

/// What an ICMP message is and what it is about (RFC 792, RFC 4443, RFC 4861 §4).
#[inline(always)]
fn parse_icmp(
    bytes: &HeaderBytes<'_>,
    network: &Network,
    packet: &mut Packet,
) -> Result<(), InvalidFrame> {
    let at = network.transport;
    let kind = bytes.u8(at).ok_or(InvalidFrame::Malformed)?;
    packet.detail = kind;
    packet.destination_port = match kind {
        // Both belong to one exchange between neighbours.
        icmp_type::V6_NEIGHBOUR_ADVERTISEMENT => icmp_type::V6_NEIGHBOUR_SOLICITATION.into(),
        _ => kind.into(),
    };
    if is_echo(network.protocol, kind) {
        packet.source_port = bytes.u16(at + 4).ok_or(InvalidFrame::Malformed)?;
        packet.destination_port = 0;
    } else if is_error(network.protocol, kind) {
        parse_cited(bytes, network, packet)?;
    } else if network.protocol == protocol::ICMPV6
        && matches!(
            kind,
            icmp_type::V6_ROUTER_SOLICITATION
                | icmp_type::V6_NEIGHBOUR_SOLICITATION
                | icmp_type::V6_NEIGHBOUR_ADVERTISEMENT
        )
    {
        if network.end > at + DISCOVERY_BYTES {
            return Err(InvalidFrame::Malformed);
        }
        if kind != icmp_type::V6_ROUTER_SOLICITATION {
            let target = bytes.array(at + 8).ok_or(InvalidFrame::Malformed)?;
            packet.target = Address::from_v6(target);
        }
    }
    Ok(())
}

/// Notes the flow of the packet that an ICMP error cites: what is known between `packet.source` and
/// `packet.destination` with these ports. Whose addresses the citation has plays no part, for nothing
/// goes to them.
#[inline(always)]
fn parse_cited(
    bytes: &HeaderBytes<'_>,
    network: &Network,
    packet: &mut Packet,
) -> Result<(), InvalidFrame> {
    let at = network.transport + CITED_AT;
    let first = bytes.u8(at).ok_or(InvalidFrame::Malformed)?;
    let (protocol_at, header) = if network.protocol == protocol::ICMP {
        (9, usize::from(first & 0x0f) * 4)
    } else {
        (6, 40)
    };
    let protocol = bytes.u8(at + protocol_at).ok_or(InvalidFrame::Malformed)?;
    let ports: [u8; 4] = bytes.array(at + header).ok_or(InvalidFrame::Malformed)?;
    if matches!(protocol, protocol::TCP | protocol::UDP) {
        let [from_high, from_low, to_high, to_low] = ports;
        packet.flow_protocol = protocol;
        packet.source_port = u16::from_be_bytes([to_high, to_low]);
        packet.destination_port = u16::from_be_bytes([from_high, from_low]);
    }
    Ok(())
}

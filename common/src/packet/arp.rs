//! ARP for IPv4 over Ethernet (RFC 826). It never leaves the link, and says little.

use super::{ETHERNET_BYTES, HeaderBytes, InvalidFrame, Packet};
use crate::address::Address;

/// The longest frame with an ARP message in it: 28 bytes, filled up to what Ethernet wants at least.
const LONGEST_FRAME: usize = 64;

mod operation {
    pub(super) const REQUEST: u16 = 1;
    pub(super) const REPLY: u16 = 2;
}

#[inline(always)]
pub(super) fn parse(bytes: &HeaderBytes<'_>, frame_length: usize) -> Result<Packet, InvalidFrame> {
    const AT: usize = ETHERNET_BYTES;
    // Ethernet, IPv4, and the lengths of their addresses.
    const FIXED: [u8; 6] = [0, 1, 8, 0, 6, 4];
    let fixed: [u8; 6] = bytes.array(AT).ok_or(InvalidFrame::Malformed)?;
    let operation = bytes.u16(AT + 6).ok_or(InvalidFrame::Malformed)?;
    let hardware: [u8; 6] = bytes.array(AT + 8).ok_or(InvalidFrame::Malformed)?;
    let sender = bytes.array(AT + 14).ok_or(InvalidFrame::Malformed)?;
    let target = bytes.array(AT + 24).ok_or(InvalidFrame::Malformed)?;
    let from: [u8; 6] = bytes.array(6).ok_or(InvalidFrame::Malformed)?;
    if fixed != FIXED
        || !matches!(operation, operation::REQUEST | operation::REPLY)
        || frame_length > LONGEST_FRAME
    {
        return Err(InvalidFrame::Malformed);
    }
    if hardware != from {
        return Err(InvalidFrame::SpoofedLink);
    }
    let source = Address::from_v4(sender);
    Ok(Packet {
        source,
        destination: Address::from_v4(target),
        target: source,
        arp: true,
        protocol: 0,
        flow_protocol: 0,
        detail: 0,
        source_port: 0,
        destination_port: 0,
        transport: AT,
        payload: AT,
        payload_length: 0,
    })
}

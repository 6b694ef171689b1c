//! IPv4 and IPv6 headers, with options and extension headers.

use super::{HeaderBytes, InvalidFrame};
use crate::{address::Address, bytes::Veil, flow::protocol, limits::EXTENSION_HEADERS};

/// IPv4 options (RFC 791 §3.1).
mod option {
    pub(super) const END: u8 = 0;
    pub(super) const NOTHING: u8 = 1;
    pub(super) const LOOSE_SOURCE_ROUTE: u8 = 131;
    pub(super) const STRICT_SOURCE_ROUTE: u8 = 137;
}

/// The most bytes of options that an IPv4 header has room for.
const OPTIONS_BYTES: usize = 40;

/// Where the transport header is and what it belongs to.
pub(super) struct Network {
    pub(super) source: Address,
    pub(super) destination: Address,
    pub(super) protocol: u8,
    pub(super) transport: usize,
    /// Offset of the first byte after the packet; less than the frame if that is padded.
    pub(super) end: usize,
}

/// RFC 791 §3.1. The header begins at offset `AT`; likewise below.
#[inline(always)]
pub(super) fn parse_v4<const AT: usize, V: Veil>(
    bytes: &HeaderBytes<'_>,
    frame_length: usize,
    veil: &V,
) -> Result<Network, InvalidFrame> {
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
    // ICMPv6 has its meaning in IPv6 alone.
    if protocol == protocol::ICMPV6 {
        return Err(InvalidFrame::Malformed);
    }
    if header > 20 {
        walk_options(bytes, AT + 20, AT + header, veil)?;
    }
    Ok(Network {
        source: Address::from_v4(source),
        destination: Address::from_v4(destination),
        protocol,
        transport: AT + header,
        end: AT + total,
    })
}

/// Refuses source routes, and options that do not end where they should. The bytes between `at` and
/// `end` are options.
#[inline(always)]
fn walk_options<V: Veil>(
    bytes: &HeaderBytes<'_>,
    at: usize,
    end: usize,
    veil: &V,
) -> Result<(), InvalidFrame> {
    let mut at = at;
    for _ in 0..OPTIONS_BYTES {
        if at >= end {
            return Ok(());
        }
        let kind = bytes.u8(at).ok_or(InvalidFrame::Malformed)?;
        let length = match kind {
            option::END => return Ok(()),
            option::NOTHING => 1,
            option::LOOSE_SOURCE_ROUTE | option::STRICT_SOURCE_ROUTE => {
                return Err(InvalidFrame::SourceRoute);
            }
            _ => bytes.u8(at + 1).ok_or(InvalidFrame::Malformed)?,
        };
        if length == 0 || (length == 1 && kind != option::NOTHING) {
            return Err(InvalidFrame::Malformed);
        }
        at = veil.veil(at + usize::from(length));
    }
    if at == end { Ok(()) } else { Err(InvalidFrame::Malformed) }
}

/// RFC 8200 §3 and §4. Routing headers are refused: the real destination would be elsewhere.
#[inline(always)]
pub(super) fn parse_v6<const AT: usize>(
    bytes: &HeaderBytes<'_>,
    frame_length: usize,
) -> Result<Network, InvalidFrame> {
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
    let (source, destination) = (Address::from_v6(source), Address::from_v6(destination));
    // Such an address stands for IPv4 where there is no IPv4; on the wire it would pass for it.
    if source.is_v4() || destination.is_v4() {
        return Err(InvalidFrame::Malformed);
    }
    match next {
        protocol::ROUTING => Err(InvalidFrame::SourceRoute),
        // A longer chain than is followed; and ICMP for IPv4 has its meaning there alone.
        protocol::HOP_BY_HOP
        | protocol::DESTINATION_OPTIONS
        | protocol::FRAGMENT
        | protocol::ICMP => Err(InvalidFrame::Malformed),
        _ => Ok(Network { source, destination, protocol: next, transport, end }),
    }
}

//! Headers of a packet: loaded by whoever has the context, parsed by global functions, which the verifier
//! looks at once and by themselves. So what stood in the headers multiplies no path of what comes after.

use aya_ebpf::programs::TcContext;
use exeat_common::{
    bytes::Bytes,
    packet::{InvalidFrame, Packet, parse, parse_ip},
    reason::Reason,
};

use crate::{
    load::{self, FrameFacts, Scratch},
    tables::Maps,
};

/// What the global functions return for headers that could be read. No packet is refused for the reason
/// with this number.
const PARSED: u32 = 0;
const _: () = assert!(Reason::UnknownWorkload as u32 == PARSED);

/// Reads the headers of a frame into the scratch of this slot, to which nobody may hold a reference.
#[inline(always)]
pub(crate) fn read(ctx: &TcContext, facts: FrameFacts, slot: u32) -> Result<(), Reason> {
    if facts.tagged {
        return Err(Reason::NotIp);
    }
    let loaded = load(ctx, facts, slot)?;
    outcome(exeat_parse_frame(slot, loaded))
}

/// The same for a packet without a link header.
#[inline(always)]
pub(crate) fn read_ip(ctx: &TcContext, facts: FrameFacts, slot: u32) -> Result<(), Reason> {
    let loaded = load(ctx, facts, slot)?;
    outcome(exeat_parse_packet(slot, loaded))
}

/// Loads the first bytes beside what the context says; returns how many bytes.
#[inline(never)]
#[expect(clippy::cast_possible_truncation, reason = "a header is at most HEADER_BYTES long")]
fn load(ctx: &TcContext, facts: FrameFacts, slot: u32) -> Result<u32, Reason> {
    let scratch = load::scratch_at(slot).ok_or(Reason::Malformed)?;
    scratch.facts = facts;
    load::load_header(ctx, facts.length, &mut scratch.header)
        .map(|loaded| loaded as u32)
        .ok_or(Reason::Malformed)
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a reason is a byte")]
fn outcome(raw: u32) -> Result<(), Reason> {
    if raw == PARSED {
        Ok(())
    } else {
        Err(Reason::from_u8(raw as u8).unwrap_or(Reason::Malformed))
    }
}

#[inline(always)]
fn keep(scratch: &mut Scratch, parsed: Result<Packet, InvalidFrame>) -> u32 {
    match parsed {
        Ok(packet) => {
            scratch.packet = packet;
            PARSED
        }
        Err(invalid) => invalid.reason() as u32,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn exeat_parse_frame(slot: u32, loaded: u32) -> u32 {
    let Some(scratch) = load::scratch_at(slot) else {
        return Reason::Malformed as u32;
    };
    let bytes = Bytes::new(&scratch.header, loaded as usize);
    let parsed = parse(&bytes, scratch.facts.length, &Maps::new(&scratch.veil));
    keep(scratch, parsed)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn exeat_parse_packet(slot: u32, loaded: u32) -> u32 {
    let Some(scratch) = load::scratch_at(slot) else {
        return Reason::Malformed as u32;
    };
    let bytes = Bytes::new(&scratch.header, loaded as usize);
    let parsed = parse_ip(&bytes, scratch.facts.length, &Maps::new(&scratch.veil));
    keep(scratch, parsed)
}

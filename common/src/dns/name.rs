//! Domain names: read once, lower-cased, right-aligned, then matched suffix by suffix.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::message::{InvalidMessage, MessageBytes};
use crate::{
    abi::{NameKeyLong, name_flag},
    bytes::Veil,
    decide::Tables,
    id::SubjectId,
    limits::{NAME_BUFFER_BYTES, NAME_BYTES},
};

const MASK: usize = NAME_BUFFER_BYTES - 1;

/// Room for one name. The kernel keeps it in a per-CPU map: it is too large for the stack.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C, align(8))]
pub struct NameBuffer {
    /// As it stood in the message, lower-cased.
    forward: NameKeyLong,
    /// The same, ending at the end of the buffer with the root byte, zero before it. A suffix of
    /// the name is then the same buffer with more zeros, which is what the name tables hold.
    aligned: NameKeyLong,
}

impl NameBuffer {
    pub const fn new() -> Self {
        Self { forward: [0; NAME_BUFFER_BYTES], aligned: [0; NAME_BUFFER_BYTES] }
    }

    /// The name from the first byte on, lower-cased; what lies beyond its length is left over.
    #[inline(always)]
    pub const fn forward(&self) -> &NameKeyLong {
        &self.forward
    }

    /// The name as [`read_name`] left it, or what [`match_name`] left of it.
    #[inline(always)]
    pub const fn aligned(&self) -> &NameKeyLong {
        &self.aligned
    }
}

impl Default for NameBuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// The measures of a name in a [`NameBuffer`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Name {
    /// Bytes on the wire, with length bytes and the root byte: 1 to 255.
    pub length: usize,
}

/// What the tables say of a name: its most specific pattern, and whether it is internal.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct NameMatch {
    pub pattern: SubjectId,
    pub internal: bool,
}

/// Reads the uncompressed name at `at`, lower-cased for ASCII (RFC 4343), into `buffer`.
///
/// # Errors
///
/// A pointer or reserved label type, a name of more than 255 bytes, or the end of the message.
#[inline(always)]
pub fn read_name<V: Veil>(
    message: &MessageBytes<'_>,
    at: usize,
    buffer: &mut NameBuffer,
    veil: &V,
) -> Result<Name, InvalidMessage> {
    let message = message.veiled(veil);
    let mut left_of_label = 0_u8;
    let mut length = 0_usize;
    // One flat loop, a step a byte: a loop a label inside a loop over labels is too much for the
    // verifier.
    for step in 0..NAME_BYTES {
        let byte = message.u8(at + step).ok_or(InvalidMessage::Short)?;
        let is_length = left_of_label == 0;
        if is_length {
            if byte & 0xc0 != 0 {
                return Err(InvalidMessage::Label);
            }
            left_of_label = byte;
        } else {
            left_of_label -= 1;
        }
        if let Some(slot) = buffer.forward.get_mut(step & MASK) {
            *slot = if is_length { byte } else { byte.to_ascii_lowercase() };
        }
        if is_length && byte == 0 {
            length = step + 1;
            break;
        }
    }
    let length = veil.veil(length);
    if length == 0 || length > NAME_BYTES {
        return Err(InvalidMessage::NameTooLong);
    }
    veil.clear(&mut buffer.aligned);
    align(buffer, veil.veil(length));
    Ok(Name { length })
}

/// Copies the name to the end of the cleared key. The loop ends at any step, which tells the
/// verifier the length; so it gets a veiled copy.
#[inline(always)]
fn align(buffer: &mut NameBuffer, length: usize) {
    for step in 0..NAME_BYTES {
        if step >= length {
            break;
        }
        let byte = buffer.forward.get(step & MASK).copied().unwrap_or_default();
        if let Some(slot) =
            buffer.aligned.get_mut(NAME_BUFFER_BYTES.wrapping_sub(length).wrapping_add(step) & MASK)
        {
            *slot = byte;
        }
    }
}

/// Finds the most specific pattern of `name`: itself, else the longest wildcard. Label by label
/// the name is zeroed from the left; `buffer` holds no name afterwards.
#[inline(always)]
pub fn match_name<T: Tables + Veil>(buffer: &mut NameBuffer, name: Name, tables: &T) -> NameMatch {
    if let Some(value) = tables.name(&buffer.aligned, name.length) {
        let internal = value.flags & name_flag::INTERNAL != 0;
        if value.exact.is_some() || internal {
            return NameMatch { pattern: value.exact, internal };
        }
    }
    let longest = tables.longest_wildcard_bytes() as usize;
    // A copy, because where the loop ends tells the verifier the length.
    let length = tables.veil(name.length);
    let start = NAME_BUFFER_BYTES.wrapping_sub(length);
    let mut boundary = 0;
    for step in 0..NAME_BYTES {
        let suffix = length.wrapping_sub(step);
        if suffix <= 1 {
            break;
        }
        let at = start.wrapping_add(step) & MASK;
        if step == boundary {
            // Another copy, because it is compared on some paths only.
            let bytes = tables.veil(suffix);
            if step != 0
                && bytes <= longest
                && let Some(value) = tables.name(&buffer.aligned, bytes)
            {
                let internal = value.flags & name_flag::INTERNAL_BELOW != 0;
                if value.wildcard.is_some() || internal {
                    return NameMatch { pattern: value.wildcard, internal };
                }
            }
            let label = buffer.aligned.get(at).copied().unwrap_or_default();
            boundary = tables.veil(step + 1 + usize::from(label));
        }
        if let Some(slot) = buffer.aligned.get_mut(at) {
            *slot = 0;
        }
    }
    NameMatch::default()
}

//! Domain names: measured label by label, copied lower-cased word by word, matched suffix by suffix.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::message::{InvalidMessage, MessageBytes};
use crate::{
    abi::{NameKeyLong, name_flag},
    bytes::Veil,
    decide::Tables,
    id::SubjectId,
    limits::{NAME_BUFFER_BYTES, NAME_BYTES},
};

/// Bytes in a word.
pub(super) const WORD: usize = 8;
const WORDS: usize = NAME_BUFFER_BYTES / WORD;
/// One for each byte there is.
const COUNTS: usize = 1 << u8::BITS;
const MASK: usize = NAME_BUFFER_BYTES - 1;
/// Labels and the root of the longest name (RFC 1035 §2.3.4: one byte a label at least).
pub(super) const LABELS: usize = NAME_BYTES.div_ceil(2);

/// Room for one name. The kernel keeps it in a per-CPU map: it is too large for the stack.
///
/// The name begins at the first byte, and nothing but zeros follows it. So every suffix, up to the
/// size of a key, is a piece of the same bytes, which is what the name tables hold.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct NameBuffer {
    words: [u64; 2 * WORDS],
    /// How often each byte occurs, for whoever counts.
    counts: [u64; COUNTS / WORD],
}

impl NameBuffer {
    pub const fn new() -> Self {
        Self { words: [0; 2 * WORDS], counts: [0; _] }
    }

    /// The name, lower-cased and filled up with zeros.
    #[inline(always)]
    pub fn key(&self) -> &NameKeyLong {
        self.suffix(0)
    }

    /// The suffix that begins at byte `at` of the name, filled up with zeros.
    #[inline(always)]
    fn suffix(&self, at: usize) -> &NameKeyLong {
        let start = at & MASK;
        // The fallback is never taken: the mask keeps the start in the first half.
        self.words
            .as_bytes()
            .get(start..start + NAME_BUFFER_BYTES)
            .and_then(|key| key.try_into().ok())
            .unwrap_or(&[0; NAME_BUFFER_BYTES])
    }

    /// Says which name this is; another may have the same hash.
    #[inline(always)]
    pub fn hash<V: Veil>(&self, name: Name, veil: &V) -> u64 {
        // As FNV-1a, by words instead of bytes.
        const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x100_0000_01b3;
        let mut hash = BASIS;
        for (index, word) in self.words.iter().take(WORDS).enumerate() {
            if index * WORD >= veil.veil(name.length) {
                break;
            }
            // A product carries upwards only: the rotation brings the upper bytes down.
            hash = (hash ^ u64::from_le(*word)).wrapping_mul(PRIME).rotate_left(29);
        }
        hash
    }

    /// Keeps the first `at` bytes, which are whole labels, and ends the name there. Returns its
    /// length with the root byte.
    #[inline(always)]
    pub(super) fn cut<V: Veil>(&mut self, at: usize, veil: &V) -> usize {
        for (index, word) in self.words.iter_mut().take(WORDS).enumerate() {
            let (start, at) = (index * WORD, veil.veil(at));
            if start >= at {
                *word = 0;
            } else if at - start < WORD {
                *word &= ((1_u64 << (8 * (at - start))) - 1).to_le();
            }
        }
        at + 1
    }

    #[inline(always)]
    pub(super) fn byte(&self, at: usize) -> u8 {
        self.words.as_bytes().get(at & MASK).copied().unwrap_or_default()
    }

    /// The veil keeps the compiler from making one byte-wise fill of it.
    #[inline(always)]
    pub(super) fn clear_counts<V: Veil>(&mut self, veil: &V) {
        let mut zero = 0;
        for word in &mut self.counts {
            *word = zero;
            zero = veil.veil(0) as u64;
        }
    }

    /// The count of the byte at `at` of the name.
    #[inline(always)]
    pub(super) fn count_at(&mut self, at: usize) -> Option<&mut u8> {
        let byte = usize::from(self.byte(at));
        self.counts.as_mut_bytes().get_mut(byte)
    }
}

impl Default for NameBuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// The measures of a name in a [`NameBuffer`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Name {
    /// Bytes on the wire, with length bytes and the root byte: 1 to 255.
    pub length: usize,
}

/// Half of a hash.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "both halves are in it")]
pub const fn short_hash(hash: u64) -> u32 {
    (hash ^ hash >> 32) as u32
}

/// What the tables say of a name: its most specific pattern, and whether it is internal.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct NameMatch {
    pub pattern: SubjectId,
    pub internal: bool,
    /// Wire length of the suffix that matched, in bytes; all of the name for an exact match.
    pub suffix: usize,
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
    // The loops end at any step, which tells the verifier the length; so they get veiled copies.
    let length = veil.veil(measure(&message.veiled(veil), at, veil)?);
    copy(message, at, veil.veil(length), buffer, veil);
    if length == 0 || length > NAME_BYTES {
        return Err(InvalidMessage::NameTooLong);
    }
    Ok(Name { length })
}

/// Steps from label to label; returns the bytes up to and with the root.
#[inline(always)]
pub(super) fn measure<V: Veil>(
    message: &MessageBytes<'_>,
    start: usize,
    veil: &V,
) -> Result<usize, InvalidMessage> {
    let mut length = 0;
    for _ in 0..LABELS {
        let label = message.u8(start + length).ok_or(InvalidMessage::Short)?;
        if label & 0xc0 != 0 {
            return Err(InvalidMessage::Label);
        }
        length = veil.veil(length + 1 + usize::from(label));
        if length > NAME_BYTES {
            break;
        }
        if label == 0 {
            return Ok(length);
        }
    }
    Err(InvalidMessage::NameTooLong)
}

/// Copies `length` bytes and clears the rest of the first half; nobody writes into the second.
#[inline(always)]
fn copy<V: Veil>(
    message: &MessageBytes<'_>,
    start: usize,
    length: usize,
    buffer: &mut NameBuffer,
    veil: &V,
) {
    for (index, slot) in buffer.words.iter_mut().take(WORDS).enumerate() {
        // Whether this is the last word tells the verifier the length. Veiled anew each time, for a length that came
        // out of the veil would have every word wait for the one before.
        let (at, length) = (index * WORD, veil.veil(length));
        let word = if at < length {
            let word = u64::from_le_bytes(message.residue(start + at));
            let bytes = length - at;
            if bytes < WORD { word & ((1 << (8 * (bytes & 7))) - 1) } else { word }
        } else {
            0
        };
        *slot = lower(word).to_le();
    }
}

/// Eight bytes at once: sets bit 5 of those from `A` to `Z`. Length bytes lie below them, so the
/// words need not know where labels begin.
#[inline(always)]
pub(super) const fn lower(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let seven_bits = word & (0x7f * ONES);
    let from_a = seven_bits + (0x80 - b'A' as u64) * ONES;
    let past_z = seven_bits + (0x7f - b'Z' as u64) * ONES;
    let upper = (from_a ^ past_z) & !word & (0x80 * ONES);
    word | upper >> 2
}

/// Finds the most specific pattern of `name`: itself, else the longest wildcard.
#[inline(always)]
pub fn match_name<T: Tables + Veil>(buffer: &NameBuffer, name: Name, tables: &T) -> NameMatch {
    if let Some(value) = tables.name(buffer.key(), name.length) {
        let internal = value.flags & name_flag::INTERNAL != 0;
        if value.exact.is_some() || internal {
            return NameMatch { pattern: value.exact, internal, suffix: name.length };
        }
    }
    let longest = tables.longest_wildcard_bytes() as usize;
    let mut at = 0;
    for _ in 0..LABELS {
        at = tables.veil(at + 1 + usize::from(buffer.byte(at)));
        let length = tables.veil(name.length);
        // What is left is the root, or nothing.
        if at + 1 >= length {
            break;
        }
        let suffix = length - at;
        if suffix <= longest
            && let Some(value) = tables.name(buffer.suffix(at), suffix)
        {
            let internal = value.flags & name_flag::INTERNAL_BELOW != 0;
            if value.wildcard.is_some() || internal {
                return NameMatch { pattern: value.wildcard, internal, suffix };
            }
        }
    }
    NameMatch::default()
}

#[cfg(test)]
mod tests {
    use super::lower;

    #[test]
    fn words_are_lowered_as_bytes_are() {
        for byte in 0..=u8::MAX {
            let word = u64::from_le_bytes([byte, b'A', 0xff, byte, b'Z', b'[', b'@', byte]);
            let expected = word.to_le_bytes().map(|byte| byte.to_ascii_lowercase());
            assert_eq!(lower(word).to_le_bytes(), expected);
        }
    }
}

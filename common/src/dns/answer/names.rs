//! Whether two names of a message are the same, through all compression (RFC 1035 §4.1.4).

use crate::{
    bytes::Veil,
    dns::{
        message::MessageBytes,
        name::{WORD, lower},
    },
    limits::{NAME_BYTES, NAME_STEPS},
};

/// How one name stands to another. A plain number, as [`super::Turn`] is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Comparison(u32);

impl Comparison {
    pub const DIFFERENT: Self = Self(0);
    pub const SAME: Self = Self(1);
    /// One of them is no name.
    pub const INVALID: Self = Self(2);
    /// They are equal as far as was looked.
    pub const TOO_LONG: Self = Self(3);

    /// From here on, the first name ended while the second went on.
    const ENDED: u32 = 0x1000;

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a name is at most 255 bytes long")]
    const fn ended(shared: usize) -> Self {
        Self(Self::ENDED + shared as u32)
    }

    #[inline(always)]
    pub const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    #[inline(always)]
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// If the second name is the first and more: the bytes of the labels they share.
    #[inline(always)]
    pub const fn shared(self) -> Option<usize> {
        if self.0 >= Self::ENDED { Some((self.0 - Self::ENDED) as usize) } else { None }
    }
}

/// Compares names of the message at hand, by their offsets.
pub trait Names {
    fn compare(&self, first: usize, second: usize) -> Comparison;
    /// What comes after the name at this offset; 0 if there is no name, here or where it points to.
    fn end(&self, name: usize) -> usize;
}

/// A place in a name that is read. A name is some labels in a row, and perhaps a pointer to the rest of it,
/// which lies before all of them and does not reach into them: it is a *prior* occurrence of the same
/// labels (RFC 1035 §4.1.4). So no name comes back to where it was.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    /// Where the labels in this row begin.
    start: usize,
    /// Where the row began that a pointer led away from: nothing from there on belongs to the name.
    bound: usize,
}

impl Place {
    #[inline(always)]
    const fn new(at: usize) -> Self {
        Self { at, start: at, bound: usize::MAX }
    }

    #[inline(always)]
    fn veiled<V: Veil>(self, veil: &V) -> Self {
        Self { at: veil.veil(self.at), start: veil.veil(self.start), bound: veil.veil(self.bound) }
    }

    /// The byte here that begins a label, a pointer or the root, if it belongs to the name.
    #[inline(always)]
    fn first(self, message: &MessageBytes<'_>) -> Option<u8> {
        if self.at < self.bound { message.u8(self.at) } else { None }
    }

    /// Where the pointer here leads.
    #[inline(always)]
    fn led(self, message: &MessageBytes<'_>) -> Option<Self> {
        let at = usize::from(message.u16(self.at)? & 0x3fff);
        Some(Self { at, start: at, bound: self.start })
    }

    /// Whether no pointer led here.
    #[inline(always)]
    const fn is_direct(self) -> bool {
        self.bound == usize::MAX
    }
}

/// Reads the name at `start` to its root and returns what comes after it where it stands.
#[inline(always)]
pub fn end<V: Veil>(message: &MessageBytes<'_>, start: usize, veil: &V) -> usize {
    let mut place = Place::new(start);
    // What comes after the first pointer, once there was one.
    let mut after = 0;
    let mut bytes = 0;
    for _ in 0..NAME_STEPS {
        place = place.veiled(veil);
        after = veil.veil(after);
        bytes = veil.veil(bytes);
        let message = message.veiled(veil);
        let Some(first) = place.first(&message) else {
            return 0;
        };
        if first >= POINTER {
            let Some(led) = place.led(&message) else {
                return 0;
            };
            if after == 0 {
                after = place.at + 2;
            }
            place = led;
            continue;
        }
        place.at += 1 + usize::from(first);
        bytes += 1 + usize::from(first);
        if first > LABEL_MAX || bytes > NAME_BYTES {
            return 0;
        }
        if first == 0 {
            return if after == 0 { place.at } else { after };
        }
    }
    0
}

/// Compares the names at two offsets, label by label, eight bytes at a time, without regard to ASCII
/// case. The second is known to be a name, in the question or alone in the data of a record; the
/// first is at the beginning of a record, or as the second.
#[inline(always)]
pub fn compare<V: Veil>(
    message: &MessageBytes<'_>,
    first: usize,
    second: usize,
    veil: &V,
) -> Comparison {
    let (mut a, mut b) = (Place::new(first), Place::new(second));
    let mut shared = 0;
    // Bytes of the label at hand that are still to be compared.
    let mut left = 0;
    for _ in 0..NAME_STEPS {
        a = a.veiled(veil);
        b = b.veiled(veil);
        shared = veil.veil(shared);
        left = veil.veil(left);
        let message = message.veiled(veil);
        if left == 0 {
            if is_same(a, b, first) {
                return Comparison::SAME;
            }
            let (Some(in_a), Some(in_b)) = (a.first(&message), b.first(&message)) else {
                return Comparison::INVALID;
            };
            if in_a >= POINTER || in_b >= POINTER {
                let from = if in_a >= POINTER { a } else { b }.veiled(veil);
                let Some(led) = from.led(&message) else {
                    return Comparison::INVALID;
                };
                if in_a >= POINTER {
                    a = led;
                } else {
                    b = led;
                }
                continue;
            }
            if in_a != in_b {
                return if in_a == 0 { Comparison::ended(shared) } else { Comparison::DIFFERENT };
            }
            if in_a == 0 {
                return Comparison::SAME;
            }
            left = usize::from(in_a);
            shared += 1 + left;
            let end = message.length();
            if in_a > LABEL_MAX || shared >= NAME_BYTES || a.at + left >= end || b.at + left >= end
            {
                return Comparison::INVALID;
            }
            a.at += 1;
            b.at += 1;
        }
        // Here paths meet.
        a = a.veiled(veil);
        b = b.veiled(veil);
        left = veil.veil(left);
        let bytes = if left < WORD { left } else { WORD };
        let differing = lower(word(&message, a.at)) ^ lower(word(&message, b.at));
        if differing & (u64::MAX >> ((8 * (WORD - bytes)) & 63)) != 0 {
            return Comparison::DIFFERENT;
        }
        a.at += bytes;
        b.at += bytes;
        left -= bytes;
    }
    Comparison::TOO_LONG
}

/// Whether the rest of two names is the same for being in the same place, and a rest of both. The first
/// name began at `start`.
///
/// What is left of the second ends within its bound. So it is a rest of the first too if the first may
/// reach as far; or if no pointer led the second away from where it stands, which is wholly before
/// `start` if a pointer led the first there.
#[inline(always)]
const fn is_same(first: Place, second: Place, start: usize) -> bool {
    first.at == second.at
        && (first.bound >= second.bound || second.is_direct() && first.bound == start)
}

/// The first byte of a pointer, at least. Below it two values are reserved.
pub(super) const POINTER: u8 = 0xc0;
/// Bytes of the longest label (RFC 1035 §2.3.4).
pub(super) const LABEL_MAX: u8 = 63;

#[inline(always)]
fn word(message: &MessageBytes<'_>, at: usize) -> u64 {
    u64::from_le_bytes(message.residue(at))
}

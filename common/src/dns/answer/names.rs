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

/// Reads the name at `start` to its root and returns what comes after it where it stands.
#[inline(always)]
pub fn end<V: Veil>(message: &MessageBytes<'_>, start: usize, veil: &V) -> usize {
    let mut at = start;
    // What comes after the first pointer, once there was one.
    let mut after = 0;
    let mut bytes = 0;
    for _ in 0..NAME_STEPS {
        at = veil.veil(at);
        after = veil.veil(after);
        bytes = veil.veil(bytes);
        let message = message.veiled(veil);
        let Some(first) = message.u8(at) else {
            return 0;
        };
        if first >= POINTER {
            let Some(target) = target(&message, at) else {
                return 0;
            };
            if after == 0 {
                after = at + 2;
            }
            at = target;
            continue;
        }
        at += 1 + usize::from(first);
        bytes += 1 + usize::from(first);
        if first > LABEL_MAX || bytes > NAME_BYTES {
            return 0;
        }
        if first == 0 {
            return if after == 0 { at } else { after };
        }
    }
    0
}

/// Compares the names at two offsets, label by label, eight bytes at a time, without regard to ASCII
/// case. Pointers only lead backwards, so what is the same place is the same name.
#[inline(always)]
pub fn compare<V: Veil>(
    message: &MessageBytes<'_>,
    first: usize,
    second: usize,
    veil: &V,
) -> Comparison {
    let (mut a, mut b) = (first, second);
    let mut shared = 0;
    // Bytes of the label at hand that are still to be compared.
    let mut left = 0;
    for _ in 0..NAME_STEPS {
        a = veil.veil(a);
        b = veil.veil(b);
        shared = veil.veil(shared);
        left = veil.veil(left);
        let message = message.veiled(veil);
        if left == 0 {
            if a == b {
                return Comparison::SAME;
            }
            let (Some(in_a), Some(in_b)) = (message.u8(a), message.u8(b)) else {
                return Comparison::INVALID;
            };
            if in_a >= POINTER || in_b >= POINTER {
                let at = veil.veil(if in_a >= POINTER { a } else { b });
                let Some(target) = target(&message, at) else {
                    return Comparison::INVALID;
                };
                if in_a >= POINTER {
                    a = target;
                } else {
                    b = target;
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
            if in_a > LABEL_MAX || shared >= NAME_BYTES || a + left >= end || b + left >= end {
                return Comparison::INVALID;
            }
            a += 1;
            b += 1;
        }
        // Here paths meet.
        a = veil.veil(a);
        b = veil.veil(b);
        left = veil.veil(left);
        let bytes = if left < WORD { left } else { WORD };
        let differing = lower(word(&message, a)) ^ lower(word(&message, b));
        if differing & (u64::MAX >> ((8 * (WORD - bytes)) & 63)) != 0 {
            return Comparison::DIFFERENT;
        }
        a += bytes;
        b += bytes;
        left -= bytes;
    }
    Comparison::TOO_LONG
}

/// The first byte of a pointer, at least. Below it two values are reserved.
pub(super) const POINTER: u8 = 0xc0;
/// Bytes of the longest label (RFC 1035 §2.3.4).
pub(super) const LABEL_MAX: u8 = 63;

/// Where the pointer at `at` leads: to something before it.
#[inline(always)]
fn target(message: &MessageBytes<'_>, at: usize) -> Option<usize> {
    let target = usize::from(message.u16(at)? & 0x3fff);
    if target < at { Some(target) } else { None }
}

#[inline(always)]
fn word(message: &MessageBytes<'_>, at: usize) -> u64 {
    u64::from_le_bytes(message.residue(at))
}

//! Reading hostile bytes from a fixed buffer, in a way every kernel's verifier can follow.

use core::hint::black_box;

/// Bytes after the addressable part of a buffer, so that a field of up to this many bytes can be
/// taken at any masked offset.
pub const SLACK: usize = 16;

/// The first `length` bytes of a buffer of `N` bytes, where `N` is a power of two plus [`SLACK`].
///
/// Every offset is first compared with the length and then masked: the comparison is the rule,
/// the mask is what the verifier needs to bound the access without relating two variables (it
/// learned to do that only in 6.8).
#[derive(Clone, Copy)]
pub struct Bytes<'a, const N: usize> {
    buffer: &'a [u8; N],
    length: usize,
    /// [`Self::MASK`], which stays where a comparison made it redundant.
    mask: usize,
}

impl<'a, const N: usize> Bytes<'a, N> {
    const MASK: usize = {
        assert!((N - SLACK).is_power_of_two());
        N - SLACK - 1
    };

    /// `length` is cut to what the buffer can address.
    #[inline(always)]
    pub fn new(buffer: &'a [u8; N], length: usize) -> Self {
        let length = if length > N - SLACK { N - SLACK } else { length };
        Self { buffer, length, mask: kept(Self::MASK) }
    }

    #[inline(always)]
    pub const fn length(&self) -> usize {
        self.length
    }

    /// The same bytes with a length that is veiled, for a loop that compares it on every step.
    #[inline(always)]
    #[must_use]
    pub fn veiled<V: Veil>(&self, veil: &V) -> Self {
        Self::new(self.buffer, veil.veil(self.length))
    }

    /// `K` bytes at `at`, or nothing if they are not all there. `K` is at most [`SLACK`].
    #[inline(always)]
    pub fn array<const K: usize>(&self, at: usize) -> Option<[u8; K]> {
        const { assert!(K <= SLACK) };
        if at >= self.length || self.length - at < K {
            return None;
        }
        let start = at & self.mask;
        self.buffer.get(start..start + K)?.try_into().ok()
    }

    #[inline(always)]
    pub fn u8(&self, at: usize) -> Option<u8> {
        if at >= self.length {
            return None;
        }
        self.buffer.get(at & self.mask).copied()
    }

    /// `K` bytes at `at`, of which those past the length are whatever the buffer held. For copying
    /// in words what is then cut to its length.
    #[inline(always)]
    pub fn residue<const K: usize>(&self, at: usize) -> [u8; K] {
        const { assert!(K <= SLACK) };
        let start = at & self.mask;
        self.buffer.get(start..start + K).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; K])
    }

    /// Big-endian, as everything on the wire.
    #[inline(always)]
    pub fn u16(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_be_bytes)
    }

    #[inline(always)]
    pub fn u32(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_be_bytes)
    }
}

/// A mask that the compiler keeps: it does not know the number.
///
/// It would leave out a mask of a number that was compared before. The verifier of Linux before 6.8
/// may know less: it forgets what a comparison said of a number if another copy of it was compared.
#[inline(always)]
pub fn kept(mask: usize) -> usize {
    black_box(mask)
}

/// What plain Rust cannot say to the kernel's verifier and compiler.
pub trait Veil {
    /// Returns `number`, of which the verifier then knows nothing.
    ///
    /// A loop that ends at any of 255 steps leaves 255 possible constants behind, and the verifier
    /// would follow everything after it for each of them. A number it knows nothing about lets
    /// those paths meet again. Whoever uses it has to check its range anew.
    fn veil(&self, number: usize) -> usize;
}

/// The same for a whole word.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "usize is 64 bits wide wherever this runs")]
pub fn hidden<V: Veil>(word: u64, veil: &V) -> u64 {
    veil.veil(word as usize) as u64
}

#[cfg(test)]
mod tests {
    use super::{Bytes, SLACK};

    #[test]
    fn nothing_past_the_length_is_read() {
        let buffer = [7_u8; 8 + SLACK];
        let bytes = Bytes::new(&buffer, 6);
        assert_eq!(bytes.u8(5), Some(7));
        assert_eq!(bytes.u8(6), None);
        assert_eq!(bytes.u16(4), Some(0x0707));
        assert_eq!(bytes.u16(5), None);
        assert_eq!(bytes.array::<6>(0), Some([7; 6]));
        assert_eq!(bytes.array::<7>(0), None);
        assert_eq!(bytes.u32(usize::MAX), None);
        assert_eq!(Bytes::new(&buffer, 1000).length(), 8);
    }
}

//! What a name below a wildcard carries. The zone's own servers are asked about it, so whoever
//! chooses its labels writes to whoever runs those.

use super::name::{LABELS, NameBuffer};
use crate::{bytes::Veil, limits::NAME_BYTES};

/// Measures of the labels that a wildcard covers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Burden {
    /// Bytes of the labels with their length bytes, which are a matter of choice as well.
    pub bytes: u32,
    /// Bytes of the longest label, at most 63.
    pub label_bytes: u32,
    /// Shannon's entropy of those bytes, each taken for itself: the bits of one, times their number,
    /// rounded down. Words repeat few letters and are short; data is neither.
    pub entropy_bits: u32,
}

/// Weighs the first `covered` bytes of the name, which are whole labels.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a name is at most 255 bytes long")]
pub(super) fn weigh<V: Veil>(buffer: &mut NameBuffer, covered: usize, veil: &V) -> Burden {
    let covered = veil.veil(covered);
    let label_bytes = longest(buffer, covered, veil);
    let repeats = repeats(buffer, veil.veil(covered), veil);
    let surprise = weight(veil.veil(covered)).saturating_sub(repeats);
    Burden { bytes: covered as u32, label_bytes, entropy_bits: surprise >> FRACTION_BITS }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a label is at most 63 bytes long")]
fn longest<V: Veil>(buffer: &NameBuffer, covered: usize, veil: &V) -> u32 {
    let mut covered = covered;
    let mut at = 0;
    let mut longest = 0;
    for _ in 0..LABELS {
        if at >= covered {
            break;
        }
        let label = usize::from(buffer.byte(at));
        longest = veil.veil(if label > longest { label } else { longest });
        at = veil.veil(at + 1 + label);
        covered = veil.veil(covered);
    }
    longest as u32
}

/// The sum of [`weight`] over how often each byte occurs.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the sum is at most the largest weight")]
fn repeats<V: Veil>(buffer: &mut NameBuffer, covered: usize, veil: &V) -> u32 {
    buffer.clear_counts(veil);
    let mut covered = covered;
    let mut sum = 0;
    for at in 0..NAME_BYTES {
        if at >= covered {
            break;
        }
        let Some(count) = buffer.count_at(at) else {
            break;
        };
        let before = usize::from(*count);
        *count = count.wrapping_add(1);
        sum = veil.veil(sum + (weight(before + 1) - weight(before)) as usize);
        covered = veil.veil(covered);
    }
    sum as u32
}

/// Bits behind the point of a [`weight`].
const FRACTION_BITS: u32 = 16;

/// `count * log2(count)`: of `n` bytes of which some one occurs `count` times, the entropy is the
/// weight of `n` less the weights of the counts.
#[inline(always)]
fn weight(count: usize) -> u32 {
    WEIGHTS.get(count & (WEIGHTS.len() - 1)).copied().unwrap_or_default()
}

static WEIGHTS: [u32; 256] = {
    let mut weights = [0; 256];
    let mut count = 1_u32;
    while count < 256 {
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            weights[count as usize] = count * log2(count);
        }
        count += 1;
    }
    weights
};

/// With [`FRACTION_BITS`] bits behind the point, rounded down: squaring a number between one and two
/// gives the next bit of its logarithm.
const fn log2(number: u32) -> u32 {
    const ONE: u64 = 1 << 32;
    let mut bits = number.ilog2();
    let mut rest = (ONE >> bits) * number as u64;
    let mut bit = 0;
    while bit < FRACTION_BITS {
        rest = square(rest);
        bits <<= 1;
        if rest >= 2 * ONE {
            rest >>= 1;
            bits |= 1;
        }
        bit += 1;
    }
    bits
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the square of a number below two is below four"
)]
const fn square(number: u64) -> u64 {
    ((number as u128 * number as u128) >> 32) as u64
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{format, vec::Vec};

    use super::{Burden, FRACTION_BITS, WEIGHTS, weigh};
    use crate::{
        bytes::Veil,
        dns::{MESSAGE_BUFFER_BYTES, MessageBytes, NameBuffer, read_name},
    };

    struct Plain;

    impl Veil for Plain {
        fn veil(&self, number: usize) -> usize {
            number
        }
    }

    /// Weighs the labels before the first empty one, of which there are two at least.
    #[track_caller]
    fn weighed(buffer: &mut NameBuffer, labels: &str) -> Burden {
        let mut message = [0; MESSAGE_BUFFER_BYTES];
        let mut covered = 0;
        for label in labels.split('.') {
            let end = covered + 1 + label.len();
            message[covered] = u8::try_from(label.len()).expect("a label");
            message[covered + 1..end].copy_from_slice(label.as_bytes());
            covered = end;
        }
        message[covered..covered + 5].copy_from_slice(b"\x03com\0");
        let bytes = MessageBytes::new(&message, covered + 5);
        read_name(&bytes, 0, buffer, &Plain).expect("a name");
        weigh(buffer, covered, &Plain)
    }

    /// The textbook's formula.
    fn entropy(labels: &str) -> f64 {
        let mut bytes = Vec::new();
        for label in labels.split('.') {
            bytes.push(u8::try_from(label.len()).expect("a label"));
            bytes.extend(label.to_ascii_lowercase().bytes());
        }
        let mut counts = [0_u8; 256];
        for byte in &bytes {
            counts[usize::from(*byte)] += 1;
        }
        let all: f64 = counts.iter().copied().map(f64::from).sum();
        let share = |byte: u8| f64::from(counts[usize::from(byte)]) / all;
        bytes.iter().map(|byte| -share(*byte).log2()).sum()
    }

    #[test]
    fn names_weigh_what_their_bytes_tell() {
        let base32 = "abcdefghijklmnopqrstuvwxyz234567".repeat(7);
        let (first, rest) = base32.split_at(63);
        let (second, rest) = rest.split_at(63);
        let (third, rest) = rest.split_at(63);
        let full = format!("{first}.{second}.{third}.{rest}");
        let mut buffer = NameBuffer::new();
        for (labels, longest) in [
            ("w", 1),
            ("www", 3),
            ("WWW", 3),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 40),
            ("cdn-7.eu-west-1.static", 9),
            ("0b3f6a52-98c1-4c1e-a1d7-6f2e8c90d4ab", 36),
            (&full, 63),
            ("www", 3),
        ] {
            let burden = weighed(&mut buffer, labels);
            assert_eq!(burden.bytes as usize, labels.len() + 1, "{labels}");
            assert_eq!(burden.label_bytes, longest, "{labels}");
            let difference = entropy(labels) - f64::from(burden.entropy_bits);
            assert!((-0.01..1.01).contains(&difference), "{labels}: {burden:?}, {difference}");
        }
    }

    #[test]
    fn logarithms_are_those_of_the_library() {
        for (count, weight) in WEIGHTS.iter().enumerate().skip(1) {
            let count = f64::from(u32::try_from(count).expect("small"));
            let weight = f64::from(*weight) / f64::from(1 << FRACTION_BITS);
            let difference = count * count.log2() - weight;
            assert!((-1e-9..0.01).contains(&difference), "{count}: {difference}");
        }
    }
}

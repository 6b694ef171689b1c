//! How much questions below wildcards may carry, out of what a workload was granted.

use crate::{
    abi::WildcardLimits,
    dns::{
        burden::{Burden, weigh},
        name::NameBuffer,
    },
    id::WorkloadId,
    limits::WILDCARD_BURST_SECONDS,
    memory::Memory,
};

/// Whether a question that a wildcard grants, and which stands for the first `covered` bytes of its
/// name, is more than the workload may ask. One that is not is counted. Not inlined: the walk over the name shall be
/// verified by itself.
#[inline(never)]
pub(super) fn is_too_much<M: Memory>(
    workload: WorkloadId,
    buffer: &mut NameBuffer,
    covered: usize,
    memory: &M,
) -> bool {
    let burden = weigh(buffer, covered, memory);
    let limits = memory.wildcard_limits();
    is_too_heavy(&burden, &limits) || !memory.draw(workload, burden, limits.queries_per_second)
}

#[inline(always)]
fn is_too_heavy(burden: &Burden, limits: &WildcardLimits) -> bool {
    let is_over = |limit: u16, value: u32| limit != 0 && value > u32::from(limit);
    is_over(limits.label_bytes, burden.label_bytes)
        || is_over(limits.entropy_bits, burden.entropy_bits)
}

/// Takes one question out of a workload's rate: `spent` is what its last [`draw`] returned, and 0 at
/// first. Returns 0 if there is none left. Whoever was quiet may ask for
/// [`WILDCARD_BURST_SECONDS`] at once.
#[inline(always)]
pub fn draw(spent: u64, now: u32, per_second: u32) -> u64 {
    let rate = u64::from(per_second);
    let quiet = u64::from(now).saturating_sub(spent >> 32);
    let left = (spent & 0xffff_ffff).saturating_sub(quiet * rate);
    if left < rate * WILDCARD_BURST_SECONDS { u64::from(now) << 32 | (left + 1) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::{draw, is_too_heavy};
    use crate::{abi::WildcardLimits, dns::Burden};

    #[test]
    fn each_limit_is_the_most_there_may_be_and_zero_is_none() {
        let burden = |label_bytes, entropy_bits| Burden { bytes: 250, label_bytes, entropy_bits };
        let limits = |label_bytes, entropy_bits| WildcardLimits {
            queries_per_second: 1,
            label_bytes,
            entropy_bits,
        };
        for (label, entropy, allowed, refused) in [
            (0, 0, [(63, 2000), (1, 1)], None),
            (20, 0, [(20, 2000), (1, 1)], Some((21, 1))),
            (0, 90, [(63, 90), (1, 1)], Some((1, 91))),
            (20, 90, [(20, 90), (1, 1)], Some((21, 90))),
            (20, 90, [(20, 90), (1, 1)], Some((20, 91))),
        ] {
            let limits = limits(label, entropy);
            for (label, entropy) in allowed {
                assert!(!is_too_heavy(&burden(label, entropy), &limits), "{limits:?}");
            }
            if let Some((label, entropy)) = refused {
                assert!(is_too_heavy(&burden(label, entropy), &limits), "{limits:?}");
            }
        }
    }

    /// How many of `tries` questions at `now` there is something left for.
    fn drawn(spent: &mut u64, now: u32, per_second: u32, tries: u32) -> u32 {
        let mut count = 0;
        for _ in 0..tries {
            let next = draw(*spent, now, per_second);
            if next != 0 {
                *spent = next;
                count += 1;
            }
        }
        count
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_alone() {
        let mut spent = 0;
        assert_eq!(drawn(&mut spent, 1_000, 5, 1_000), 50);
        for second in 1_001..1_100 {
            assert_eq!(drawn(&mut spent, second, 5, 1_000), 5, "{second}");
        }
        // Half of the burst came back, and after a long time no more than all of it.
        assert_eq!(drawn(&mut spent, 1_104, 5, 1_000), 25);
        assert_eq!(drawn(&mut spent, u32::MAX, 5, 1_000), 50);
        // Another CPU was a second ahead.
        assert_eq!(drawn(&mut spent, u32::MAX - 1, 5, 1_000), 0);
    }

    #[test]
    fn who_keeps_to_the_rate_is_never_refused() {
        let mut spent = 0;
        for second in 0..10_000 {
            assert_eq!(drawn(&mut spent, second, 3, 3), 3, "{second}");
        }
    }

    #[test]
    fn the_largest_rate_does_not_overflow() {
        let mut spent = 0;
        assert_eq!(drawn(&mut spent, u32::MAX, u32::MAX, 10), 10);
        assert_eq!(spent & 0xffff_ffff, 10);
    }
}

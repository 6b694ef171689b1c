//! The monotonic clock.

use aya_ebpf::{
    btf_maps::PerCpuArray,
    helpers::{bpf_jiffies64, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns},
    macros::btf_map,
};

use super::word::Word;

/// What [`seconds_of_tick`] said last on this CPU: the lower bits of the tick it was in, above the second.
#[btf_map]
static LAST_SECOND: PerCpuArray<Word, 1> = PerCpuArray::new();

/// Bits of the second: 17 years since boot. The others tell the ticks of a year apart, at a thousand a second.
const SECOND_BITS: u32 = 29;

/// Since boot, in whole seconds.
///
/// Of the clock as of the last tick, some milliseconds ago at most: every packet asks, and reading
/// the time source itself takes much longer (kernel 5.11).
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "seconds since boot fit 32 bits for 136 years")]
pub(super) fn seconds() -> u32 {
    // SAFETY: takes no argument and cannot fail.
    let nanoseconds = unsafe { bpf_ktime_get_coarse_ns() };
    (nanoseconds / 1_000_000_000) as u32
}

/// The same, for who asks with most packets. Within a tick that clock stands still, so it is read once in each: to see
/// which tick it is takes one instruction. Not for all who ask: there are two ways through this, and the verifier
/// follows all that comes after for both.
#[inline(always)]
pub(super) fn seconds_of_tick() -> u32 {
    // SAFETY: takes no argument and cannot fail.
    let tick = unsafe { bpf_jiffies64() } << SECOND_BITS;
    let Some(last) = LAST_SECOND.get(0) else {
        return seconds();
    };
    if last.load() >> SECOND_BITS << SECOND_BITS != tick {
        last.store(tick | u64::from(seconds()));
    }
    (last.load() & ((1 << SECOND_BITS) - 1)) as u32
}

/// Since boot.
#[inline(always)]
pub(crate) fn nanoseconds() -> u64 {
    // SAFETY: takes no argument and cannot fail.
    unsafe { bpf_ktime_get_ns() }
}

//! The monotonic clock.

use aya_ebpf::helpers::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};

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

/// Since boot.
#[inline(always)]
pub(crate) fn nanoseconds() -> u64 {
    // SAFETY: takes no argument and cannot fail.
    unsafe { bpf_ktime_get_ns() }
}

//! Words in map values that other CPUs read and write at any time.

use core::{cell::UnsafeCell, mem::MaybeUninit, ptr};

/// A u64 in a map value that other CPUs read and write at any time. `core`'s atomics do not serve:
/// the BPF backend of LLVM knows neither their loads nor their exchanges.
#[repr(transparent)]
pub(crate) struct Word(UnsafeCell<u64>);

// SAFETY: every access is one whole load, store or atomic instruction.
unsafe impl Sync for Word {}

impl Word {
    #[inline(always)]
    pub(crate) const fn new(value: u64) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// One aligned 64-bit load, which is never torn.
    #[inline(always)]
    pub(super) fn load(&self) -> u64 {
        // SAFETY: the cell is live and aligned; volatile keeps the load single and in place.
        unsafe { ptr::read_volatile(self.0.get()) }
    }

    /// One aligned 64-bit store, which is never torn.
    #[inline(always)]
    pub(crate) fn store(&self, value: u64) {
        // SAFETY: as for `load`.
        unsafe { ptr::write_volatile(self.0.get(), value) }
    }

    /// Adds `amount`, atomically and wrapping; `u64::MAX` takes one off.
    #[inline(always)]
    pub(super) fn add(&self, amount: u64) {
        #[cfg(target_arch = "bpf")]
        // SAFETY: the cell is live and aligned, and the instruction touches nothing else.
        unsafe {
            core::arch::asm!("lock *(u64 *)({word} + 0) += {one}", word = in(reg) self.0.get(), one = in(reg) amount);
        }
        #[cfg(not(target_arch = "bpf"))]
        self.store(self.load().wrapping_add(amount));
    }

    /// Replaces `old` by `new`, atomically; says whether it did (kernel 5.12).
    #[inline(always)]
    pub(crate) fn exchange(&self, old: u64, new: u64) -> bool {
        #[cfg(target_arch = "bpf")]
        {
            let found: u64;
            // SAFETY: as for `add_one`; what was found comes back in r0.
            unsafe {
                core::arch::asm!(
                    "r0 = cmpxchg_64({word} + 0, r0, {new})",
                    word = in(reg) self.0.get(),
                    new = in(reg) new,
                    inlateout("r0") old => found,
                );
            }
            found == old
        }
        #[cfg(not(target_arch = "bpf"))]
        {
            let same = self.load() == old;
            if same {
                self.store(new);
            }
            same
        }
    }
}

/// A map value of `N` words, zero but for the first.
#[inline(always)]
pub(super) fn words<const N: usize>(first: u64) -> [Word; N] {
    let mut words = MaybeUninit::<[Word; N]>::uninit();
    let start = words.as_mut_ptr().cast::<u64>();
    for index in 0..N {
        // SAFETY: a word is one aligned `u64`, and `index` is one of theirs.
        let slot = unsafe { start.add(index) };
        let word = if index == 0 { first } else { 0 };
        // SAFETY: as above; volatile keeps the compiler from making one byte-wise fill of it.
        unsafe { ptr::write_volatile(slot, word) };
    }
    // SAFETY: every word was just written.
    unsafe { words.assume_init() }
}

//! The first bytes of a frame where they lie: no copy of them is made.

#[cfg(target_arch = "bpf")]
use core::mem::offset_of;

#[cfg(target_arch = "bpf")]
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::programs::TcContext;
use exeat_common::known;

/// The first `N` bytes of a frame, all in one piece.
#[derive(Clone, Copy)]
pub(crate) struct Head<const N: usize> {
    start: usize,
}

impl<const N: usize> Head<N> {
    /// Nothing, if the kernel keeps the frame in several pieces and the first one is shorter.
    #[inline(always)]
    pub(crate) fn of(ctx: &TcContext) -> Option<Self> {
        let (start, end) = bounds(ctx);
        // In this form the verifier learns that so many bytes are there.
        (start + N <= end).then_some(Self { start })
    }
}

/// Where the first piece of the frame begins and ends. The context has pointers in fields of four bytes: a compiler
/// that saw such a load would cut off the rest of the pointer again.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn bounds(ctx: &TcContext) -> (usize, usize) {
    let (start, end): (usize, usize);
    // SAFETY: the context pointer is valid while the program runs, and these are two of its fields.
    unsafe {
        core::arch::asm!(
            "{start} = *(u32 *)({ctx} + {start_at})",
            "{end} = *(u32 *)({ctx} + {end_at})",
            ctx = in(reg) ctx.skb.skb,
            start_at = const offset_of!(__sk_buff, data),
            end_at = const offset_of!(__sk_buff, data_end),
            start = out(reg) start,
            end = lateout(reg) end,
            options(readonly, nostack),
        );
    }
    (start, end)
}

/// The host build exists for `cargo check`, `clippy` and `doc` only.
#[cfg(not(target_arch = "bpf"))]
fn bounds(ctx: &TcContext) -> (usize, usize) {
    (ctx.data(), ctx.data_end())
}

/// A load of `$size` at `AT` bytes from the start: one instruction, aligned or not, which the compiler would not
/// choose. It takes what may lie anywhere byte by byte.
#[cfg(target_arch = "bpf")]
macro_rules! load {
    ($head:expr, $at:expr, $size:literal as $type:ty) => {{
        const { assert!($at + size_of::<$type>() <= N, "within what was checked") };
        let loaded: u64;
        // SAFETY: `N` bytes from the start are there, as was checked, and the frame stays where it is until a helper
        // moves it, which the verifier does not let this reference outlive.
        unsafe {
            core::arch::asm!(
                concat!("{to} = *(", $size, " *)({from} + {at})"),
                from = in(reg) $head.start,
                at = const $at,
                to = out(reg) loaded,
                options(pure, readonly, nostack),
            );
        }
        loaded as $type
    }};
}

/// The host build exists for `cargo check`, `clippy` and `doc` only.
#[cfg(not(target_arch = "bpf"))]
macro_rules! load {
    ($head:expr, $at:expr, $size:literal as $type:ty) => {{
        const { assert!($at + size_of::<$type>() <= N, "within what was checked") };
        let place = core::ptr::with_exposed_provenance::<$type>($head.start + $at);
        // SAFETY: as there.
        unsafe { place.read_unaligned() }
    }};
}

impl<const N: usize> known::Head<N> for Head<N> {
    #[inline(always)]
    fn byte<const AT: usize>(&self) -> u8 {
        load!(self, AT, "u8" as u8)
    }

    #[inline(always)]
    fn half<const AT: usize>(&self) -> u16 {
        u16::from_be(load!(self, AT, "u16" as u16))
    }

    #[inline(always)]
    fn word<const AT: usize>(&self) -> u32 {
        load!(self, AT, "u32" as u32)
    }
}

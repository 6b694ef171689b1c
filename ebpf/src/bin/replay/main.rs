//! For measurements: puts a frame and what was asked back as they were, then runs the program that is measured. Beside
//! it stand programs to compare with.
//!
//! The kernel can run a program many times on one frame (`BPF_PROG_TEST_RUN`), but a refused
//! question is another frame afterwards, and an answer is heard once. With this program in front
//! every run finds the same. What it costs itself is measured with the empty program behind it.
#![cfg_attr(target_arch = "bpf", no_std)]
#![cfg_attr(target_arch = "bpf", no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the macros of aya call entry points with a context by value"
)]

use aya_ebpf::{
    bindings::{BPF_ANY, TC_ACT_SHOT, TC_ACT_UNSPEC},
    btf_maps::{Array, LruHashMap, ProgramArray},
    helpers::bpf_skb_store_bytes,
    macros::{btf_map, classifier},
    programs::TcContext,
};
use exeat_common::{
    abi::{QueryKey, QueryValue},
    limits::QUERIES_ENTRIES,
    replay::{FRAME_BYTES, Replay},
};

mod floor;
#[path = "../../load/head.rs"]
mod head;

/// Offset of the last byte of the largest frame.
#[expect(clippy::cast_possible_truncation, reason = "a frame is small")]
const LAST_BYTE: u32 = FRAME_BYTES as u32 - 1;

#[btf_map]
static ORDERS: Array<Replay, 1> = Array::new();
#[btf_map]
static SUBJECTS: ProgramArray<8> = ProgramArray::new();
/// The table of `ebpf/src/tables/memory.rs`, found by its pin.
#[btf_map]
static QUERIES: LruHashMap<QueryKey, QueryValue, QUERIES_ENTRIES> = LruHashMap::new();

/// What a hook costs that does nothing.
#[classifier]
pub(crate) fn exeat_empty(_: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// Comes back, with this action, only if it could not do its part.
#[classifier]
pub(crate) fn exeat_replay(ctx: TcContext) -> i32 {
    let Some(orders) = ORDERS.get_ptr_mut(0) else {
        return TC_ACT_SHOT;
    };
    // SAFETY: the one entry of an array is always there, and only one measurement runs at a time.
    let orders = unsafe { &mut *orders };
    let number = orders.number;
    orders.number = number.wrapping_add(1);
    let [_, _, high, low] = number.to_be_bytes();
    for stamp in orders.stamps {
        let at = usize::from(stamp);
        if at == 0 || at >= FRAME_BYTES - 1 {
            break;
        }
        if let Some(two) = orders.frame.get_mut(at..at + 2) {
            two.copy_from_slice(&[high, low]);
        }
    }
    if orders.asks != 0 {
        orders.query.transaction = u16::from_be_bytes([high, low]);
        if QUERIES.insert(orders.query, orders.answer_to, u64::from(BPF_ANY)).is_err() {
            return TC_ACT_SHOT;
        }
    }
    let length = (orders.length.wrapping_sub(1) & LAST_BYTE) + 1;
    // SAFETY: `frame` is `FRAME_BYTES` long, which `length` does not exceed.
    let failed =
        unsafe { bpf_skb_store_bytes(ctx.skb.skb, 0, orders.frame.as_ptr().cast(), length, 0) };
    if failed == 0 {
        // SAFETY: nothing here is left to be dropped.
        unsafe { SUBJECTS.tail_call(&ctx, orders.subject) };
    }
    TC_ACT_SHOT
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The host build exists for `cargo check`, `clippy` and `doc` only.
#[cfg(not(target_arch = "bpf"))]
fn main() {}

/// The kernel lets only GPL-compatible programs call some helpers.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

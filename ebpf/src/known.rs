//! The short way of packets of known flows, before anything is copied out of them. Functions of their own: their
//! frames on the stack are gone when the long way is taken.

use aya_ebpf::programs::TcContext;
use exeat_common::{
    abi::Workload,
    known::{self, Plain, V4_BYTES, V6_BYTES},
};

use crate::{load::Head, passed, tables::Maps};

/// Whether a frame from the pod, of `length` bytes, is one of a known flow. It is counted then.
#[inline(never)]
pub(crate) fn leaves(ctx: &TcContext, length: usize, workload: &Workload) -> bool {
    let reason =
        read(ctx, length).and_then(|packet| known::leaves(workload, &packet, &Maps::bare()));
    let Some(reason) = reason else {
        return false;
    };
    passed::count(workload.id, reason, length);
    true
}

/// The same for a frame to the pod.
#[inline(never)]
pub(crate) fn arrives(ctx: &TcContext, length: usize, workload: &Workload) -> bool {
    read(ctx, length).is_some_and(|packet| known::arrives(workload, &packet, &Maps::bare()))
}

#[inline(always)]
fn read(ctx: &TcContext, length: usize) -> Option<Plain> {
    let head = Head::<V4_BYTES>::of(ctx)?;
    known::read_v4(&head, length).or_else(|| known::read_v6(&Head::<V6_BYTES>::of(ctx)?, length))
}

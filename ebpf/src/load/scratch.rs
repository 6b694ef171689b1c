//! Per-CPU room for what does not fit the 512-byte stack.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use exeat_common::{
    abi::{AnswerHeader, FlowEvent, QueryHeader, StreamValue},
    bytes::Veil as _,
    dns::{MESSAGE_BUFFER_BYTES, Room, Telling, stream::Segment},
    id::WorkloadId,
    packet::{HEADER_BUFFER_BYTES, Packet},
    reply::Reply,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::FrameFacts;
use crate::tables::{Maps, Word};

/// What the wire layer works on while it judges one frame.
#[repr(C)]
pub(crate) struct Scratch {
    /// What is being judged. It lives here, and the functions that use it are not inlined, so that
    /// no frame of the call chain keeps it in spilled registers.
    pub(crate) packet: Packet,
    pub(crate) facts: FrameFacts,
    /// What [`Maps::veil`](crate::tables::Maps) passes numbers through.
    pub(crate) veil: Word,
    pub(crate) header: [u8; HEADER_BUFFER_BYTES],
    pub(crate) reply: Reply,
    /// Place of the TCP segment in hand, and the connection it belongs to.
    pub(crate) segment: Segment,
    pub(crate) stream: StreamValue,
    pub(crate) event: FlowEvent,
    /// Why a DNS message was dropped, for whoever reports it: the stack below the parsers has no
    /// room. 0 where none was, for no message is dropped for that reason.
    pub(crate) dropped: u8,
    /// How the question in hand is answered in place, likewise. Its target is 0 where it is not.
    pub(crate) telling: Telling,
    pub(crate) query: QueryArea,
    pub(crate) answer: AnswerArea,
}

/// A name with what belongs to it, and before it the head of the event that reports it.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct QueryArea {
    pub(crate) head: QueryHeader,
    pub(crate) room: Room,
}

/// A DNS message, and before it the head of the event that copies it.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct AnswerArea {
    pub(crate) head: AnswerHeader,
    pub(crate) message: [u8; MESSAGE_BUFFER_BYTES],
}

/// Who uses a scratch. Each has its own: [`copy_to_pod`](super::copy_to_pod) runs the program on
/// the way to the pod inside the one on the way from it.
#[derive(Clone, Copy)]
pub(crate) enum Hook {
    FromPod = 0,
    ToPod = 1,
}

/// The scratch of this CPU for this hook of the wire layer: the traffic control hooks run with bottom
/// halves disabled and never inside themselves, so no second run can interrupt this one. Whoever
/// calls this gives the reference up before calling a function that calls it too.
#[inline(always)]
pub(crate) fn scratch(hook: Hook) -> Option<&'static mut Scratch> {
    scratch_at(hook as u32)
}

/// The scratch in a slot, which is that of a hook or was claimed. The same holds as for [`scratch`].
#[inline(always)]
pub(crate) fn scratch_at(slot: u32) -> Option<&'static mut Scratch> {
    let slot = SLOTS.get_ptr_mut(slot)?;
    // SAFETY: the slot belongs to this CPU and to this run, which has one such reference at a time.
    Some(unsafe { &mut (*slot).scratch })
}

/// What the comparison of two names needs of a scratch, beside whoever reads the rest of it.
#[inline(always)]
pub(crate) fn shared_message(
    slot: u32,
) -> Option<(&'static [u8; MESSAGE_BUFFER_BYTES], &'static Word)> {
    let slot = SLOTS.get_ptr_mut(slot)?;
    // SAFETY: the slot is live, and no reference to the whole of it is made.
    let message = unsafe { &raw const (*slot).scratch.answer.message };
    // SAFETY: as above.
    let veil = unsafe { &raw const (*slot).scratch.veil };
    // SAFETY: nothing writes the message while its names are compared.
    let message = unsafe { &*message };
    // SAFETY: a word may be written through shared references.
    Some((message, unsafe { &*veil }))
}

/// A scratch. Beside those of the hooks, it is somebody's while it is claimed.
#[repr(C)]
struct Slot {
    /// 1 while it is claimed.
    claimed: Word,
    scratch: Scratch,
}

/// Claims at a time of the workloads that share a lane, on one CPU.
const LANE_SLOTS: u32 = 4;
/// Into how many lanes workloads are spread: one that holds on to its slots takes them from few.
const LANES: u32 = 4;

/// The slots of the wire layer, which come first.
const HOOKS: u32 = 2;

#[btf_map]
static SLOTS: PerCpuArray<Slot, { (HOOKS + LANES * LANE_SLOTS) as usize }> = PerCpuArray::new();

/// A scratch for the cgroup layer, whose programs interrupt each other: what a process sends is
/// judged in its own context. A softirq may come in the middle of it and judge what arrives or what
/// it sends itself, and on a kernel with full preemption so may any other process. Those come back
/// in no particular order, so a count of who is inside would not do: each run claims a slot by
/// an atomic exchange, which is its own until it lets go. It stays on its CPU meanwhile.
///
/// Without full preemption two slots are enough. With it, more runs than a lane has slots can be
/// inside at once; the next one gets none, and its packet is dropped.
pub(crate) struct Claim {
    slot: &'static Slot,
    scratch: *mut Scratch,
    index: u32,
}

impl Claim {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the index was 32 bits wide before")]
    pub(crate) fn take(workload: WorkloadId) -> Option<Self> {
        let first = HOOKS + workload.raw() % LANES * LANE_SLOTS;
        for index in first..first + LANE_SLOTS {
            let pointer = SLOTS.get_ptr_mut(index)?;
            // SAFETY: a slot of this CPU; a shared reference to its first word, which is atomic.
            let slot = unsafe { &*pointer };
            if slot.claimed.exchange(0, 1) {
                // SAFETY: the pointer is valid, and so is that of its field.
                let scratch = unsafe { &raw mut (*pointer).scratch };
                // Which of them it is would have everything after this verified once for each.
                let index = Maps::new(&slot.scratch.veil).veil(index as usize) as u32;
                return Some(Self { slot, scratch, index });
            }
        }
        None
    }

    /// For [`scratch_at`].
    #[inline(always)]
    pub(crate) const fn slot(&self) -> u32 {
        self.index
    }

    #[inline(always)]
    pub(crate) fn scratch(&mut self) -> &mut Scratch {
        // SAFETY: whoever claimed the slot is the only one who uses it.
        unsafe { &mut *self.scratch }
    }
}

impl Drop for Claim {
    #[inline(always)]
    fn drop(&mut self) {
        self.slot.claimed.store(0);
    }
}

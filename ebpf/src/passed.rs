//! Bytes of known flows, counted in a table with an index instead of a key: what most packets do is this.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use exeat_common::{
    abi::PassedValue,
    id::WorkloadId,
    limits::PASSED_ENTRIES,
    reason::{Layer, Reason, Verdict},
};

use crate::count::{self, Tally};

#[btf_map]
static PASSED: PerCpuArray<PassedValue, PASSED_ENTRIES> = PerCpuArray::new();

/// Counts a frame that a workload sent to a known flow.
#[inline(always)]
pub(crate) fn count(workload: WorkloadId, reason: Reason, bytes: usize) {
    let bytes = bytes as u64;
    if !count_by_index(workload, reason, bytes) {
        let tally = Tally { flows: 0, bytes };
        count::count(workload, Layer::Wire, Verdict::Allow, reason, tally);
    }
}

/// False if another workload has the entry.
#[inline(always)]
fn count_by_index(workload: WorkloadId, reason: Reason, bytes: u64) -> bool {
    #[expect(clippy::cast_possible_truncation, reason = "the table is small")]
    let Some(passed) = PASSED.get_ptr_mut(workload.raw() % PASSED_ENTRIES as u32) else {
        return false;
    };
    // SAFETY: the entry belongs to this CPU, and the programs on the way from pods, which alone write it, do not
    // interrupt each other.
    let passed = unsafe { &mut *passed };
    if passed.owner != workload {
        if passed.owner != WorkloadId::default() {
            return false;
        }
        passed.owner = workload;
    }
    let sum = if reason == Reason::Inbound { &mut passed.inbound } else { &mut passed.established };
    *sum = sum.wrapping_add(bytes);
    true
}

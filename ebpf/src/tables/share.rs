//! What each workload uses of the tables that all share.

use aya_ebpf::{bindings::BPF_NOEXIST, btf_maps::HashMap, macros::btf_map};
use exeat_common::{
    id::WorkloadId,
    limits::{REPLIES_PER_SECOND, WORKLOADS_ENTRIES},
};

use super::{
    clock::seconds,
    word::{Word, words},
};

#[btf_map]
static QUOTA: HashMap<WorkloadId, Share, WORKLOADS_ENTRIES> = HashMap::new();

/// `QuotaValue` as the kernel sees it.
#[repr(C)]
pub(super) struct Share {
    pub(super) facts: Word,
    events: Word,
    replies: Word,
}

/// Whether `workload` may emit one more event in this second.
#[inline(always)]
pub(crate) fn may_emit(workload: WorkloadId, limit: u32) -> bool {
    let Some(share) = share(workload) else {
        return false;
    };
    let second = u64::from(seconds()) << 32;
    let word = share.events.load();
    let count = if word & !0xffff_ffff == second { word & 0xffff_ffff } else { 0 };
    // Two CPUs may both count one: the limit is a rate, not a ledger.
    share.events.store(second | (count + 1));
    count < u64::from(limit)
}

/// Whether one more packet of `workload` may be replied to in this second. Never more than the
/// limit: where two CPUs count at once, one of them is refused.
#[inline(always)]
pub(crate) fn may_reply(workload: WorkloadId) -> bool {
    let Some(share) = share(workload) else {
        return false;
    };
    let second = u64::from(seconds()) << 32;
    let word = share.replies.load();
    let count = if word & !0xffff_ffff == second { word & 0xffff_ffff } else { 0 };
    count < u64::from(REPLIES_PER_SECOND) && share.replies.exchange(word, second | (count + 1))
}

/// The share of `workload`, which is made when first used.
#[inline(always)]
pub(super) fn share(workload: WorkloadId) -> Option<&'static Share> {
    // SAFETY: every access to a word is whole, and entries are never removed while the
    // workload can run.
    if let Some(share) = unsafe { QUOTA.get(workload) } {
        return Some(share);
    }
    let [facts, events, replies] = words(0);
    let fresh = Share { facts, events, replies };
    // Another CPU may have been first, which is as good; a full map shows in the next lookup.
    let _second = QUOTA.insert(workload, fresh, u64::from(BPF_NOEXIST));
    // SAFETY: as above.
    unsafe { QUOTA.get(workload) }
}

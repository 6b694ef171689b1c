//! What each workload uses of the tables that all share.

use aya_ebpf::{bindings::BPF_NOEXIST, btf_maps::HashMap, macros::btf_map};
use exeat_common::{
    id::WorkloadId,
    limits::{
        FLOWS_PER_WORKLOAD, QUERIES_PER_WORKLOAD, QUERY_SECONDS, REPLIES_PER_SECOND,
        WORKLOADS_ENTRIES,
    },
};

use super::{clock::seconds, word::Word};

#[btf_map]
static QUOTA: HashMap<WorkloadId, Share, WORKLOADS_ENTRIES> = HashMap::new();

/// What a share begins as. Not on the stack, of which little is left where it is needed.
static UNUSED: Share = Share {
    facts: Word::new(0),
    events: Word::new(0),
    replies: Word::new(0),
    queries: Word::new(0),
    flows: Word::new(0),
    handovers: Word::new(0),
};

/// `QuotaValue` as the kernel sees it.
#[repr(C)]
pub(super) struct Share {
    pub(super) facts: Word,
    events: Word,
    replies: Word,
    queries: Word,
    pub(super) flows: Word,
    pub(super) handovers: Word,
}

impl Share {
    /// Whether one more query may wait for its answer. Counted anew in every stretch of time, so
    /// that queries which are never answered need nobody to collect them.
    #[inline(always)]
    pub(super) fn may_ask(&self) -> bool {
        let (stretch, waiting) = self.waiting();
        let may = waiting < u64::from(QUERIES_PER_WORKLOAD);
        if may {
            // Two CPUs may both count one: the limit bounds a flood, it is no ledger.
            self.queries.store(stretch << 32 | (waiting + 1));
        }
        may
    }

    /// A query was answered.
    #[inline(always)]
    pub(super) fn is_answered(&self) {
        let (stretch, waiting) = self.waiting();
        if waiting > 0 {
            self.queries.store(stretch << 32 | (waiting - 1));
        }
    }

    #[inline(always)]
    fn waiting(&self) -> (u64, u64) {
        let stretch = u64::from(seconds() / QUERY_SECONDS);
        let word = self.queries.load();
        (stretch, if word >> 32 == stretch { word & 0xffff_ffff } else { 0 })
    }

    /// Whether one more flow may be remembered.
    #[inline(always)]
    pub(super) fn may_flow(&self) -> bool {
        self.flows.load().cast_signed() < i64::from(FLOWS_PER_WORKLOAD)
    }
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
    // Another CPU may have been first, which is as good; a full map shows in the next lookup.
    let _second = QUOTA.insert(workload, &UNUSED, u64::from(BPF_NOEXIST));
    // SAFETY: as above.
    unsafe { QUOTA.get(workload) }
}

//! What each workload's questions below wildcards carry, and what is spent of their rate.

use aya_ebpf::{bindings::BPF_NOEXIST, btf_maps::HashMap, macros::btf_map};
use exeat_common::{
    dns::{Burden, draw},
    id::WorkloadId,
    limits::WORKLOADS_ENTRIES,
};

use super::{clock::seconds, word::Word};

#[btf_map]
static WILDCARDS: HashMap<WorkloadId, Carried, WORKLOADS_ENTRIES> = HashMap::new();

/// What an entry begins as, off the stack.
static NOTHING: Carried = Carried {
    queries: Word::new(0),
    bytes: Word::new(0),
    longest_label: Word::new(0),
    most_entropy: Word::new(0),
    spent: Word::new(0),
};

/// Times that a question is taken out of the rate while other CPUs take theirs; then it is refused.
const TRIES: usize = 4;

/// `WildcardValue` as the kernel sees it.
#[repr(C)]
struct Carried {
    queries: Word,
    bytes: Word,
    longest_label: Word,
    most_entropy: Word,
    spent: Word,
}

impl Carried {
    #[inline(always)]
    fn draw(&self, per_second: u32) -> bool {
        for _ in 0..TRIES {
            let old = self.spent.load();
            let new = draw(old, seconds(), per_second);
            if new == 0 {
                return false;
            }
            if self.spent.exchange(old, new) {
                return true;
            }
        }
        false
    }

    #[inline(always)]
    fn count(&self, burden: Burden) {
        self.queries.add(1);
        self.bytes.add(u64::from(burden.bytes));
        raise(&self.longest_label, burden.label_bytes);
        raise(&self.most_entropy, burden.entropy_bits);
    }
}

/// Another CPU may overwrite it with less at the same moment; the next question sets it right.
#[inline(always)]
fn raise(most: &Word, value: u32) {
    let value = u64::from(value);
    if most.load() < value {
        most.store(value);
    }
}

/// Takes a question out of the rate of `workload`, if there is one, and counts it. False if nothing
/// is left of the rate, or there is no room to know.
#[inline(always)]
pub(super) fn draw_one(workload: WorkloadId, burden: Burden, per_second: u32) -> bool {
    let Some(carried) = carried(workload) else {
        return per_second == 0;
    };
    if per_second != 0 && !carried.draw(per_second) {
        return false;
    }
    carried.count(burden);
    true
}

/// The entry of `workload`, which is made when first used.
#[inline(always)]
fn carried(workload: WorkloadId) -> Option<&'static Carried> {
    // SAFETY: every access to a word is whole, and entries are never removed while the
    // workload can run.
    if let Some(carried) = unsafe { WILDCARDS.get(workload) } {
        return Some(carried);
    }
    // Another CPU may have been first, which is as good; a full map shows in the next lookup.
    let _second = WILDCARDS.insert(workload, &NOTHING, u64::from(BPF_NOEXIST));
    // SAFETY: as above.
    unsafe { WILDCARDS.get(workload) }
}

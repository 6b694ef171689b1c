//! Every map, and the tables of `exeat-common` over them: the only access to maps.

use core::{cell::UnsafeCell, mem::MaybeUninit, ptr};

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_F_NO_PREALLOC, BPF_NOEXIST},
    btf_maps::{Array, HashMap, LpmTrie, LruHashMap, lpm_trie::Key},
    helpers::bpf_ktime_get_ns,
    macros::btf_map,
};
use exeat_common::{
    abi::{
        BackendKey, BackendValue, Fact, FactKey, FactValue, FlowKey, FlowValue, NameKeyLong,
        NameKeyShort, NameValue, PrefixData, QueryKey, QueryValue, ResolverKey, RuleKey, RuleValue,
        Settings, TargetValue, Workload,
    },
    address::Address,
    bytes::Veil,
    decide::Tables,
    id::{PolicyId, SubjectId, WorkloadId},
    limits::{
        BACKENDS_ENTRIES, FACT_SLOTS, FACTS_ENTRIES, FACTS_PER_WORKLOAD, FLOWS_ENTRIES,
        NAME_SHORT_BYTES, NAMES_LONG_ENTRIES, NAMES_SHORT_ENTRIES, PREFIXES_ENTRIES,
        QUERIES_ENTRIES, RESOLVERS_ENTRIES, RULES_ENTRIES, TARGETS_ENTRIES, WORKLOADS_ENTRIES,
    },
    memory::{Full, Memory},
    reason::{Layer, Reason, Verdict},
};

use crate::count::{self, Tally};

#[btf_map]
static WORKLOADS_BY_CGROUP: HashMap<u64, Workload, WORKLOADS_ENTRIES> = HashMap::new();
#[btf_map]
static WORKLOADS_BY_IFINDEX: HashMap<u32, Workload, WORKLOADS_ENTRIES> = HashMap::new();
#[btf_map]
static NAMES_SHORT: HashMap<NameKeyShort, NameValue, NAMES_SHORT_ENTRIES> = HashMap::new();
#[btf_map]
static NAMES_LONG: HashMap<NameKeyLong, NameValue, NAMES_LONG_ENTRIES> = HashMap::new();
#[btf_map]
static PREFIXES: LpmTrie<PrefixData, u32, PREFIXES_ENTRIES> = LpmTrie::new();
#[btf_map]
static RULES: HashMap<RuleKey, RuleValue, RULES_ENTRIES, ON_DEMAND> = HashMap::new();
// Read by nothing yet.
#[btf_map]
static TARGETS: HashMap<u32, TargetValue, TARGETS_ENTRIES, ON_DEMAND> = HashMap::new();
#[btf_map]
static BACKENDS: HashMap<BackendKey, BackendValue, BACKENDS_ENTRIES, ON_DEMAND> = HashMap::new();
#[btf_map]
static RESOLVERS: HashMap<ResolverKey, u8, RESOLVERS_ENTRIES> = HashMap::new();
#[btf_map]
static FACTS: HashMap<FactKey, FactSlots, FACTS_ENTRIES> = HashMap::new();
// The oldest unanswered query gives way: it has waited longest, and nobody sweeps this table when
// the agent is down.
#[btf_map]
static QUERIES: LruHashMap<QueryKey, QueryValue, QUERIES_ENTRIES> = LruHashMap::new();
#[btf_map]
static FLOWS: HashMap<FlowKey, FlowValue, FLOWS_ENTRIES> = HashMap::new();
#[btf_map]
static QUOTA: HashMap<WorkloadId, Share, WORKLOADS_ENTRIES> = HashMap::new();
#[btf_map]
static SETTINGS: Array<Settings, 1> = Array::new();

/// Flag of a table whose entries are allocated one by one, for large ones that only the agent
/// writes: it can try again when there is no memory.
const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;

/// `FactValue` as the kernel sees it: each slot is read and written whole.
type FactSlots = [Word; FACT_SLOTS];

/// `QuotaValue` as the kernel sees it.
#[repr(C)]
struct Share {
    facts: Word,
    events: Word,
}

/// The key of the trie, aligned: the packed `Key` would be written byte by byte.
#[repr(C)]
struct PrefixKey {
    bits: u32,
    data: PrefixData,
}

const _: () = assert!(size_of::<PrefixKey>() == size_of::<Key<PrefixData>>());

/// A u64 in a map value that other CPUs read and write at any time. `core`'s atomics do not serve:
/// the BPF backend of LLVM knows neither their loads nor their exchanges.
#[repr(transparent)]
pub(crate) struct Word(UnsafeCell<u64>);

impl Word {
    #[inline(always)]
    pub(crate) const fn new(value: u64) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// One aligned 64-bit load, which is never torn.
    #[inline(always)]
    fn load(&self) -> u64 {
        // SAFETY: the cell is live and aligned; volatile keeps the load single and in place.
        unsafe { ptr::read_volatile(self.0.get()) }
    }

    /// One aligned 64-bit store, which is never torn.
    #[inline(always)]
    fn store(&self, value: u64) {
        // SAFETY: as for `load`.
        unsafe { ptr::write_volatile(self.0.get(), value) }
    }

    /// Adds one, atomically.
    #[inline(always)]
    fn add_one(&self) {
        #[cfg(target_arch = "bpf")]
        // SAFETY: the cell is live and aligned, and the instruction touches nothing else.
        unsafe {
            core::arch::asm!("lock *(u64 *)({word} + 0) += {one}", word = in(reg) self.0.get(), one = in(reg) 1_u64);
        }
        #[cfg(not(target_arch = "bpf"))]
        self.store(self.load() + 1);
    }

    /// Replaces `old` by `new`, atomically; says whether it did (kernel 5.12).
    #[inline(always)]
    fn exchange(&self, old: u64, new: u64) -> bool {
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

/// The maps as the tables of the decision.
pub(crate) struct Maps<'a> {
    /// Memory the verifier does not track, which is map memory for whoever needs [`Veil`].
    veil: &'a Word,
}

impl<'a> Maps<'a> {
    #[inline(always)]
    pub(crate) fn new(veil: &'a Word) -> Self {
        Self { veil }
    }
}

#[inline(always)]
pub(crate) fn workload_by_cgroup(id: u64) -> Option<&'static Workload> {
    // SAFETY: only the agent writes this map, and it replaces whole entries; an entry that is
    // replaced or deleted under us stays readable until the program ends (RCU).
    unsafe { WORKLOADS_BY_CGROUP.get(id) }
}

#[inline(always)]
pub(crate) fn workload_by_ifindex(index: u32) -> Option<&'static Workload> {
    // SAFETY: as for `workload_by_cgroup`.
    unsafe { WORKLOADS_BY_IFINDEX.get(index) }
}

#[inline(always)]
pub(crate) fn settings() -> Option<&'static Settings> {
    SETTINGS.get(0)
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

/// The share of `workload`, which is made when first used.
#[inline(always)]
fn share(workload: WorkloadId) -> Option<&'static Share> {
    // SAFETY: every access to a word is whole, and entries are never removed while the
    // workload can run.
    if let Some(share) = unsafe { QUOTA.get(workload) } {
        return Some(share);
    }
    let [facts, events] = words(0);
    let fresh = Share { facts, events };
    // Another CPU may have been first, which is as good; a full map shows in the next lookup.
    let _second = QUOTA.insert(workload, fresh, u64::from(BPF_NOEXIST));
    // SAFETY: as above.
    unsafe { QUOTA.get(workload) }
}

#[inline(always)]
fn fact_slots(key: &FactKey) -> Option<&'static FactSlots> {
    // SAFETY: every access to a slot is whole; a deleted entry stays readable until the
    // program ends (RCU).
    unsafe { FACTS.get(key) }
}

impl Tables for Maps<'_> {
    #[inline(always)]
    fn prefix(&self, policy: PolicyId, address: Address) -> Option<SubjectId> {
        let key = PrefixKey {
            bits: PrefixData::POLICY_BITS + 128,
            data: PrefixData::new(policy, address),
        };
        // SAFETY: `Key` is the same two fields in the same order; it is only packed, and the
        // layouts agree because neither has padding.
        let key = unsafe { &*ptr::from_ref(&key).cast::<Key<PrefixData>>() };
        PREFIXES.get(key).map(|raw| SubjectId::new(*raw))
    }

    #[inline(always)]
    fn facts(&self, key: &FactKey) -> Option<FactValue> {
        let slots = fact_slots(key)?;
        Some(FactValue {
            slots: core::array::from_fn(|index| slots.get(index).map_or(0, Word::load)),
        })
    }

    #[inline(always)]
    fn rule(&self, key: &RuleKey) -> Option<RuleValue> {
        // SAFETY: eight bytes, replaced whole by the agent; the copy is taken at once.
        unsafe { RULES.get(key) }.copied()
    }

    #[inline(always)]
    fn is_resolver(&self, address: Address, port: u16) -> bool {
        RESOLVERS.get_ptr(ResolverKey::new(address, port)).is_some()
    }

    #[inline(always)]
    fn name(&self, key: &NameKeyLong, length: usize) -> Option<NameValue> {
        if length <= NAME_SHORT_BYTES {
            let short = key.first_chunk::<NAME_SHORT_BYTES>()?;
            // SAFETY: replaced whole by the agent; the copy is taken at once.
            unsafe { NAMES_SHORT.get(short) }.copied()
        } else {
            // SAFETY: as for the short names.
            unsafe { NAMES_LONG.get(key) }.copied()
        }
    }

    #[inline(always)]
    fn setting_flags(&self) -> u32 {
        settings().map_or(0, |settings| settings.flags)
    }

    #[inline(always)]
    fn longest_wildcard_bytes(&self) -> u32 {
        settings().map_or(0, |settings| settings.longest_wildcard_bytes)
    }

    #[inline(always)]
    fn now(&self) -> u32 {
        seconds()
    }
}

impl Veil for Maps<'_> {
    /// The verifier does not track what is in a map.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "usize is 64 bits wide in the kernel")]
    fn veil(&self, number: usize) -> usize {
        self.veil.store(number as u64);
        self.veil.load() as usize
    }
}

/// The monotonic clock.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "seconds since boot fit 32 bits for 136 years")]
fn seconds() -> u32 {
    (nanoseconds() / 1_000_000_000) as u32
}

/// The monotonic clock.
#[inline(always)]
pub(crate) fn nanoseconds() -> u64 {
    // SAFETY: takes no argument and cannot fail.
    unsafe { bpf_ktime_get_ns() }
}

impl Memory for Maps<'_> {
    #[inline(always)]
    fn generation(&self) -> u32 {
        settings().map_or(0, |settings| settings.generation)
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey) -> Option<FlowValue> {
        // SAFETY: entries are replaced whole, never changed in place; the copy is taken at once.
        unsafe { FLOWS.get(key) }.copied()
    }

    #[inline(always)]
    fn set_flow(&self, key: &FlowKey, value: &FlowValue) -> Result<(), Full> {
        FLOWS.insert(key, value, u64::from(BPF_ANY)).map_err(|_| Full)
    }

    #[inline(always)]
    fn remove_flow(&self, key: &FlowKey) {
        // It may have been collected meanwhile, which is as good.
        let _gone = FLOWS.remove(key);
    }

    #[inline(always)]
    fn set_query(&self, key: &QueryKey, value: &QueryValue) -> Result<(), Full> {
        QUERIES.insert(key, value, u64::from(BPF_ANY)).map_err(|_| Full)
    }

    #[inline(always)]
    fn take_query(&self, key: &QueryKey) -> Option<QueryValue> {
        // SAFETY: the value is copied before the entry is removed.
        let query = unsafe { QUERIES.get(key) }.copied()?;
        // A second answer may have taken it meanwhile; both answer the same question.
        let _gone = QUERIES.remove(key);
        Some(query)
    }

    #[inline(always)]
    fn learn(&self, key: &FactKey, pattern: SubjectId, expiry: u32) -> Result<(), Full> {
        let word = Fact { pattern, expiry }.pack();
        if let Some(slots) = fact_slots(key) {
            return place(slots, word, self.now());
        }
        let share = share(key.workload).ok_or(Full)?;
        if share.facts.load() >= u64::from(FACTS_PER_WORKLOAD) {
            return Err(Full);
        }
        let fresh = words(word);
        if FACTS.insert(key, &fresh, u64::from(BPF_NOEXIST)).is_ok() {
            share.facts.add_one();
            return Ok(());
        }
        // Another CPU was first, or the map is full: then there is still no entry.
        place(fact_slots(key).ok_or(Full)?, word, self.now())
    }

    #[inline(always)]
    fn grace_seconds(&self) -> u32 {
        settings().map_or(0, |settings| settings.grace_seconds)
    }

    #[inline(always)]
    fn minimum_ttl_seconds(&self) -> u32 {
        settings().map_or(0, |settings| settings.minimum_ttl_seconds)
    }

    #[inline(always)]
    fn note(&self, workload: WorkloadId, reason: Reason) {
        count::count(workload, Layer::Dns, Verdict::Deny, reason, Tally { flows: 1, bytes: 0 });
    }
}

/// A map value of `N` words, zero but for the first.
#[inline(always)]
fn words<const N: usize>(first: u64) -> [Word; N] {
    let mut words = MaybeUninit::<[Word; N]>::uninit();
    let start = words.as_mut_ptr().cast::<u64>();
    for index in 0..N {
        // SAFETY: a word is one aligned `u64`, and `index` is one of theirs; volatile keeps the
        // compiler from making one byte-wise fill of the stores.
        unsafe { ptr::write_volatile(start.add(index), if index == 0 { first } else { 0 }) };
    }
    // SAFETY: every word was just written.
    unsafe { words.assume_init() }
}

/// Puts a fact into the slot of its pattern, else into one that is empty or expired. Never replaces
/// a live fact of another pattern.
#[inline(always)]
fn place(slots: &FactSlots, word: u64, now: u32) -> Result<(), Full> {
    let fact = Fact::unpack(word);
    for slot in slots {
        let held = Fact::unpack(slot.load());
        if held.pattern == fact.pattern {
            // A shorter TTL does not shorten what an earlier answer promised.
            if held.expiry < fact.expiry {
                slot.store(word);
            }
            return Ok(());
        }
    }
    for slot in slots {
        let old = slot.load();
        // An empty slot has expired at second 0.
        if Fact::unpack(old).expiry < now && slot.exchange(old, word) {
            return Ok(());
        }
    }
    Err(Full)
}

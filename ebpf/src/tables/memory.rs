//! What the kernel itself writes: facts, queries and flows.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_EXIST, BPF_NOEXIST},
    btf_maps::{HashMap, LruHashMap},
    macros::btf_map,
};
use exeat_common::{
    abi::{Fact, FactKey, FlowKey, FlowValue, QueryKey, QueryValue, StreamValue, WildcardLimits},
    address::Address,
    decide::Tables as _,
    dns::Burden,
    id::{SubjectId, WorkloadId},
    limits::{
        FACT_SLOTS, FACTS_ENTRIES, FACTS_PER_WORKLOAD, FLOWS_ENTRIES, QUERIES_ENTRIES,
        STREAMS_ENTRIES,
    },
    memory::{Full, Memory},
    reason::{Layer, Reason, Verdict},
    redirect::Passage,
};

use super::{
    Maps, settings,
    share::{Share, share},
    sockets::{peers, redirected},
    wildcard::draw_one,
    word::{Word, words},
};
use crate::{
    count::{self, Tally},
    load,
};

#[btf_map]
static FACTS: HashMap<FactKey, FactSlots, FACTS_ENTRIES> = HashMap::new();
// The oldest unanswered query gives way: it has waited longest, and nobody sweeps this table when
// the agent is down. What one workload may put into it is bounded by its share.
#[btf_map]
static QUERIES: LruHashMap<QueryKey, QueryValue, QUERIES_ENTRIES> = LruHashMap::new();
// The connection that was silent longest gives way, and is reset when it goes on: no share bounds what one workload
// may put into it.
#[btf_map]
static STREAMS: LruHashMap<FlowKey, StreamValue, STREAMS_ENTRIES> = LruHashMap::new();
#[btf_map]
static FLOWS: HashMap<FlowKey, FlowValue, FLOWS_ENTRIES> = HashMap::new();

/// `FactValue` as the kernel sees it: each slot is read and written whole.
pub(super) type FactSlots = [Word; FACT_SLOTS];

#[inline(always)]
pub(super) fn fact_slots(key: &FactKey) -> Option<&'static FactSlots> {
    // SAFETY: every access to a slot is whole; a deleted entry stays readable until the
    // program ends (RCU).
    unsafe { FACTS.get(key) }
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
    fn begin_flow(&self, key: &FlowKey, value: &FlowValue) -> Result<(), Full> {
        let share = share(key.workload).ok_or(Full::Table)?;
        let may_add = share.may_flow();
        if may_add && FLOWS.insert(key, value, u64::from(BPF_NOEXIST)).is_ok() {
            share.flows.add(1);
            return Ok(());
        }
        // An ended flow with the same ends gives its place.
        let full = if may_add { Full::Table } else { Full::Share };
        FLOWS.insert(key, value, u64::from(BPF_EXIST)).map_err(|_| full)
    }

    #[inline(always)]
    fn renew_flow(&self, key: &FlowKey, value: &FlowValue) -> bool {
        FLOWS.insert(key, value, u64::from(BPF_EXIST)).is_ok()
    }

    #[inline(always)]
    fn remove_flow(&self, key: &FlowKey) {
        // If it was collected meanwhile, the sweep sets the share right.
        if FLOWS.remove(key).is_ok()
            && let Some(share) = share(key.workload)
        {
            share.flows.add(u64::MAX);
        }
    }

    #[inline(always)]
    fn redirected(&self, to: Address, port: u16) -> Option<Passage> {
        let socket = load::socket_of_packet(self.packet?)?;
        if let Some(redirect) = redirected(socket)
            && redirect.goes_to(to, port)
        {
            return redirect.passage(to, port);
        }
        peers(socket)?.iter().find_map(|slot| slot.passage(to, port))
    }

    #[inline(always)]
    fn set_query(&self, key: &QueryKey, value: &QueryValue) -> Result<(), Full> {
        if !share(key.workload).is_some_and(Share::may_ask) {
            return Err(Full::Share);
        }
        QUERIES.insert(key, value, u64::from(BPF_ANY)).map_err(|_| Full::Table)
    }

    #[inline(always)]
    fn take_query(&self, key: &QueryKey) -> Option<QueryValue> {
        // SAFETY: the value is copied before the entry is removed.
        let query = unsafe { QUERIES.get(key) }.copied()?;
        // A second answer may have taken it meanwhile; both answer the same question.
        let _gone = QUERIES.remove(key);
        if let Some(share) = share(key.workload) {
            share.is_answered();
        }
        Some(query)
    }

    #[inline(always)]
    fn stream(&self, key: &FlowKey) -> Option<StreamValue> {
        // SAFETY: entries are replaced whole, never changed in place; the copy is taken at once.
        unsafe { STREAMS.get(key) }.copied()
    }

    #[inline(always)]
    fn set_stream(&self, key: &FlowKey, value: &StreamValue) {
        // A connection that is not noted is reset when it goes on.
        let _lost = STREAMS.insert(key, value, u64::from(BPF_ANY));
    }

    #[inline(always)]
    fn learn(&self, key: &FactKey, pattern: SubjectId, expiry: u32) -> Result<(), Full> {
        let word = Fact { pattern, expiry }.pack();
        if let Some(slots) = fact_slots(key) {
            return place(slots, word, self.now());
        }
        let share = share(key.workload).ok_or(Full::Table)?;
        if share.facts.load() >= u64::from(FACTS_PER_WORKLOAD) {
            return Err(Full::Share);
        }
        let fresh = words(word);
        if FACTS.insert(key, &fresh, u64::from(BPF_NOEXIST)).is_ok() {
            share.facts.add(1);
            return Ok(());
        }
        // Another CPU was first, or the map is full: then there is still no entry.
        place(fact_slots(key).ok_or(Full::Table)?, word, self.now())
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
    fn may_ask(&self, query_type: u16) -> bool {
        settings().is_some_and(|settings| settings.may_ask(query_type))
    }

    /// Without settings there is no limit; but then nothing is granted either.
    #[inline(always)]
    fn wildcard_limits(&self) -> WildcardLimits {
        let none = WildcardLimits { queries_per_second: 0, label_bytes: 0, entropy_bits: 0 };
        settings().map_or(none, |settings| settings.wildcards)
    }

    #[inline(always)]
    fn draw(&self, workload: WorkloadId, burden: Burden, per_second: u32) -> bool {
        draw_one(workload, burden, per_second)
    }

    #[inline(always)]
    fn note(&self, workload: WorkloadId, layer: Layer, reason: Reason) {
        count::count(workload, layer, Verdict::Deny, reason, Tally { flows: 1, bytes: 0 });
    }
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
    Err(Full::Table)
}

//! Every map, and the tables of `exeat-common` over them: the only access to maps.

mod clock;
mod memory;
mod share;
mod sockets;
mod wildcard;
mod word;

use core::{hint::black_box, ptr};

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap, LpmTrie, lpm_trie::Key},
    helpers::bpf_get_prandom_u32,
    macros::btf_map,
    programs::TcContext,
};
use exeat_common::{
    abi::{
        BackendKey, BackendValue, FactKey, FactValue, NameKeyLong, NameKeyShort, NameValue,
        PrefixData, ResolverKey, RuleKey, RuleValue, Settings, TargetValue, Workload,
    },
    address::Address,
    bytes::Veil,
    decide::Tables,
    id::{PolicyId, SubjectId},
    limits::{
        BACKENDS_ENTRIES, NAME_SHORT_BYTES, NAMES_LONG_ENTRIES, NAMES_SHORT_ENTRIES,
        PREFIXES_ENTRIES, RESOLVERS_ENTRIES, RULES_ENTRIES, TARGETS_ENTRIES, WORKLOADS_ENTRIES,
    },
    redirect::{Backends, Targets},
};

pub(crate) use clock::nanoseconds;
use clock::{seconds, seconds_of_tick};
use memory::fact_slots;
pub(crate) use share::{may_emit, may_reply};
pub(crate) use sockets::{
    accept, accepted, forget_redirected, hand_over, may_hand_over, peers, peers_to_change,
    redirected, set_redirected, withdraw,
};
pub(crate) use word::Word;

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
#[btf_map]
static TARGETS: HashMap<u32, TargetValue, TARGETS_ENTRIES, ON_DEMAND> = HashMap::new();
#[btf_map]
static BACKENDS: HashMap<BackendKey, BackendValue, BACKENDS_ENTRIES, ON_DEMAND> = HashMap::new();
#[btf_map]
static RESOLVERS: HashMap<ResolverKey, u8, RESOLVERS_ENTRIES> = HashMap::new();
#[btf_map]
static SETTINGS: Array<Settings, 1> = Array::new();

/// Flag of a table whose entries are allocated one by one, for large ones that only the agent
/// writes: it can try again when there is no memory.
const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;

/// The key of the trie, aligned: the packed `Key` would be written byte by byte.
#[repr(C)]
struct PrefixKey {
    bits: u32,
    data: PrefixData,
}

const _: () = assert!(size_of::<PrefixKey>() == size_of::<Key<PrefixData>>());

/// What hides a number from the verifier.
#[derive(Clone, Copy)]
enum Cover<'a> {
    /// Map memory, which it does not track.
    Memory(&'a Word),
    /// A number which it does not know: what is changed by it twice is what it was.
    Mask(u64),
    /// Nothing has to be hidden on the short way of known flows.
    None,
}

/// The maps as the tables of the decision.
pub(crate) struct Maps<'a> {
    veil: Cover<'a>,
    /// The packet in hand, where there is one.
    packet: Option<&'a TcContext>,
}

impl<'a> Maps<'a> {
    #[inline(always)]
    pub(crate) fn new(veil: &'a Word) -> Self {
        Self { veil: Cover::Memory(veil), packet: None }
    }

    /// For programs at a socket. Another one may interrupt them on the same CPU, so there is no map memory
    /// for one run alone: they bring a number that the kernel gave them, and that the verifier does not know.
    #[inline(always)]
    pub(crate) fn at_socket(number: u64) -> Self {
        Self { veil: Cover::Mask(number), packet: None }
    }

    /// For the short way of known flows.
    #[inline(always)]
    pub(crate) const fn bare() -> Self {
        Self { veil: Cover::None, packet: None }
    }

    /// With the packet that a verdict is about, to be able to ask its socket.
    #[inline(always)]
    pub(crate) fn about(veil: &'a Word, packet: &'a TcContext) -> Self {
        Self { veil: Cover::Memory(veil), packet: Some(packet) }
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
        self.may_be_resolver(port) && RESOLVERS.get_ptr(ResolverKey::new(address, port)).is_some()
    }

    #[inline(always)]
    fn may_be_resolver(&self, port: u16) -> bool {
        settings().is_some_and(|settings| settings.may_be_resolver(port))
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
        match self.veil {
            Cover::Memory(_) | Cover::Mask(_) => seconds(),
            Cover::None => seconds_of_tick(),
        }
    }
}

impl Backends for Maps<'_> {
    #[inline(always)]
    fn backend(&self, key: &BackendKey) -> Option<BackendValue> {
        // SAFETY: the content of a target never changes; the copy is taken at once.
        unsafe { BACKENDS.get(key) }.copied()
    }
}

impl Targets for Maps<'_> {
    #[inline(always)]
    fn target(&self, number: u32) -> Option<&TargetValue> {
        // SAFETY: written whole before anything names it, and never changed; a target that is deleted
        // under us stays readable until the program ends (RCU).
        unsafe { TARGETS.get(number) }
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: takes no argument and cannot fail.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn sidecar_port(&self) -> u16 {
        settings().map_or(0, |settings| settings.sidecar_port)
    }
}

impl Veil for Maps<'_> {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "usize is 64 bits wide in the kernel")]
    fn veil(&self, number: usize) -> usize {
        match self.veil {
            Cover::Memory(word) => {
                word.store(number as u64);
                word.load() as usize
            }
            Cover::None => number,
            Cover::Mask(mask) => (black_box(number as u64 ^ mask) ^ mask) as usize,
        }
    }
}

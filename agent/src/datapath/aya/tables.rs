//! The maps with their types: reading them into an [`Image`] and carrying out its changes.

use std::collections::BTreeMap;

use aya::{
    Ebpf,
    maps::{
        Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuHashMap,
        lpm_trie::{Key, LpmTrie},
    },
};
use exeat_common::{
    abi::{
        CounterKey, CounterValue, FactKey, FactValue, FlowKey, FlowValue, HandoverKey,
        HandoverValue, NameKeyLong, NameKeyShort, NameValue, PassedValue, PrefixData, QueryKey,
        QueryValue, QuotaValue, ResolverKey, RuleKey, RuleValue, Settings, WildcardValue, Workload,
    },
    id::{SubjectId, WorkloadId},
    limits::{
        COUNTERS_ENTRIES, FACTS_ENTRIES, FLOWS_ENTRIES, HANDOVERS_ENTRIES, NAME_BUFFER_BYTES,
        NAME_SHORT_BYTES, NAMES_LONG_ENTRIES, NAMES_SHORT_ENTRIES, PREFIXES_ENTRIES,
        RESOLVERS_ENTRIES, RULES_ENTRIES, WORKLOADS_ENTRIES, map,
    },
};

use super::{KernelError, OpenError, targets::Targets};
use crate::{
    datapath::{MapUsage, pod::Abi},
    policy::image::{Image, MapOp, Prefix, WireName},
};

type Table<K, V> = HashMap<MapData, Abi<K>, Abi<V>>;

/// The open maps.
pub(super) struct Maps {
    pub(super) by_cgroup: HashMap<MapData, u64, Abi<Workload>>,
    pub(super) by_ifindex: HashMap<MapData, u32, Abi<Workload>>,
    names_short: Table<NameKeyShort, NameValue>,
    names_long: Table<NameKeyLong, NameValue>,
    prefixes: LpmTrie<MapData, Abi<PrefixData>, u32>,
    rules: Table<RuleKey, RuleValue>,
    targets: Targets,
    resolvers: HashMap<MapData, Abi<ResolverKey>, u8>,
    pub(super) facts: Table<FactKey, FactValue>,
    pub(super) flows: Table<FlowKey, FlowValue>,
    pub(super) handovers: Table<HandoverKey, HandoverValue>,
    pub(super) quota: Table<WorkloadId, QuotaValue>,
    pub(super) wildcards: Table<WorkloadId, WildcardValue>,
    pub(super) queries: Table<QueryKey, QueryValue>,
    pub(super) counters: PerCpuHashMap<MapData, Abi<CounterKey>, Abi<CounterValue>>,
    pub(super) passed: PerCpuArray<MapData, Abi<PassedValue>>,
    /// What was counted for workloads that are gone, under no workload.
    pub(super) retired: BTreeMap<CounterKey, CounterValue>,
    settings: Array<MapData, Abi<Settings>>,
}

/// Takes a map out of the object under its type.
pub(super) fn open<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, OpenError>
where
    T: TryFrom<Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or(OpenError::Missing { name })?;
    T::try_from(map).map_err(|source| OpenError::Map { map: name, source: Box::new(source) })
}

/// Names what failed.
pub(super) fn failed(
    action: &'static str,
    map: &'static str,
) -> impl FnOnce(MapError) -> KernelError {
    move |source| KernelError::Table { action, map, source: Box::new(source) }
}

impl Maps {
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, OpenError> {
        Ok(Self {
            by_cgroup: open(ebpf, map::WORKLOADS_BY_CGROUP)?,
            by_ifindex: open(ebpf, map::WORKLOADS_BY_IFINDEX)?,
            names_short: open(ebpf, map::NAMES_SHORT)?,
            names_long: open(ebpf, map::NAMES_LONG)?,
            prefixes: open(ebpf, map::PREFIXES)?,
            rules: open(ebpf, map::RULES)?,
            targets: Targets::open(ebpf)?,
            resolvers: open(ebpf, map::RESOLVERS)?,
            facts: open(ebpf, map::FACTS)?,
            flows: open(ebpf, map::FLOWS)?,
            handovers: open(ebpf, map::HANDOVERS)?,
            quota: open(ebpf, map::QUOTA)?,
            wildcards: open(ebpf, map::WILDCARDS)?,
            queries: open(ebpf, map::QUERIES)?,
            counters: open(ebpf, map::COUNTERS)?,
            passed: open(ebpf, map::PASSED)?,
            retired: BTreeMap::new(),
            settings: open(ebpf, map::SETTINGS)?,
        })
    }

    /// Reads every table the compiler writes.
    pub(super) fn dump(&self) -> Result<Image, KernelError> {
        let mut image = Image { targets: self.targets.dump()?, ..Image::default() };
        for entry in &self.by_cgroup {
            let (id, Abi(workload)) = entry.map_err(failed("read", map::WORKLOADS_BY_CGROUP))?;
            image.by_cgroup.insert(id, workload);
        }
        for entry in &self.by_ifindex {
            let (index, Abi(workload)) =
                entry.map_err(failed("read", map::WORKLOADS_BY_IFINDEX))?;
            image.by_ifindex.insert(index, workload);
        }
        for entry in &self.names_short {
            let (Abi(key), Abi(value)) = entry.map_err(failed("read", map::NAMES_SHORT))?;
            image.names.insert(name_in(&key), value);
        }
        for entry in &self.names_long {
            let (Abi(key), Abi(value)) = entry.map_err(failed("read", map::NAMES_LONG))?;
            image.names.insert(name_in(&key), value);
        }
        for entry in &self.prefixes {
            let (key, subject) = entry.map_err(failed("read", map::PREFIXES))?;
            image.prefixes.insert(prefix_of(&key), SubjectId::new(subject));
        }
        for entry in &self.rules {
            let (Abi(key), Abi(value)) = entry.map_err(failed("read", map::RULES))?;
            image.rules.insert(key, value);
        }
        for key in self.resolvers.keys() {
            let Abi(key) = key.map_err(failed("read", map::RESOLVERS))?;
            image.resolvers.insert(key);
        }
        let settings = self.settings()?;
        // Generation 0 is a table nobody has written yet.
        image.settings = (settings.generation != 0).then_some(settings);
        Ok(image)
    }

    fn settings(&self) -> Result<Settings, KernelError> {
        let Abi(settings) = self.settings.get(&0, 0).map_err(failed("read", map::SETTINGS))?;
        Ok(settings)
    }

    /// Carries out one change.
    pub(super) fn apply(&mut self, operation: &MapOp) -> Result<(), KernelError> {
        match operation {
            MapOp::RemoveName(name) => match key_of(name) {
                NameKey::Short(key) => remove(map::NAMES_SHORT, self.names_short.remove(&Abi(key))),
                NameKey::Long(key) => remove(map::NAMES_LONG, self.names_long.remove(&Abi(key))),
            },
            MapOp::RemovePrefix(prefix) => {
                remove(map::PREFIXES, self.prefixes.remove(&trie_key(prefix)))
            }
            MapOp::RemoveResolver(key) => remove(map::RESOLVERS, self.resolvers.remove(&Abi(*key))),
            MapOp::RemoveRule(key) => remove(map::RULES, self.rules.remove(&Abi(*key))),
            MapOp::RemoveTarget(number) => self.targets.remove(*number),
            MapOp::RemoveWorkloadByCgroup(id) => {
                remove(map::WORKLOADS_BY_CGROUP, self.by_cgroup.remove(id))
            }
            MapOp::RemoveWorkloadByIfindex(index) => {
                remove(map::WORKLOADS_BY_IFINDEX, self.by_ifindex.remove(index))
            }
            MapOp::SetName(name, value) => match key_of(name) {
                NameKey::Short(key) => {
                    set(map::NAMES_SHORT, self.names_short.insert(Abi(key), Abi(*value), 0))
                }
                NameKey::Long(key) => {
                    set(map::NAMES_LONG, self.names_long.insert(Abi(key), Abi(*value), 0))
                }
            },
            MapOp::SetPrefix(prefix, subject) => {
                set(map::PREFIXES, self.prefixes.insert(&trie_key(prefix), subject.raw(), 0))
            }
            MapOp::SetResolver(key) => set(map::RESOLVERS, self.resolvers.insert(Abi(*key), 1, 0)),
            MapOp::SetRule(key, value) => {
                set(map::RULES, self.rules.insert(Abi(*key), Abi(*value), 0))
            }
            MapOp::SetSettings(settings) => {
                let generation = self.settings()?.generation.max(1);
                self.set_settings(Settings { generation, ..*settings })
            }
            MapOp::SetTarget(number, target) => self.targets.set(*number, target),
            MapOp::SetWorkloadByCgroup(id, workload) => {
                set(map::WORKLOADS_BY_CGROUP, self.by_cgroup.insert(id, Abi(*workload), 0))
            }
            MapOp::SetWorkloadByIfindex(index, workload) => {
                set(map::WORKLOADS_BY_IFINDEX, self.by_ifindex.insert(index, Abi(*workload), 0))
            }
        }
    }

    /// Makes the kernel judge established flows again.
    pub(super) fn raise_generation(&mut self) -> Result<(), KernelError> {
        let settings = self.settings()?;
        let generation = settings.generation.wrapping_add(1).max(1);
        self.set_settings(Settings { generation, ..settings })
    }

    fn set_settings(&mut self, settings: Settings) -> Result<(), KernelError> {
        self.settings.set(0, Abi(settings), 0).map_err(failed("write", map::SETTINGS))
    }

    pub(super) fn wildcards(&self) -> Result<Vec<(WorkloadId, WildcardValue)>, KernelError> {
        let unpack = |(Abi(workload), Abi(value))| (workload, value);
        let entries = self.wildcards.iter();
        entries.map(|it| it.map(unpack).map_err(failed("read", map::WILDCARDS))).collect()
    }

    /// Entries of every hash and trie, by walking their keys.
    pub(super) fn usage(&self) -> Vec<MapUsage> {
        let usage = |map, entries: usize, capacity: usize| MapUsage {
            map,
            entries: entries as u64,
            capacity: capacity as u64,
        };
        let mut all = vec![
            usage(map::WORKLOADS_BY_CGROUP, self.by_cgroup.keys().count(), WORKLOADS_ENTRIES),
            usage(map::WORKLOADS_BY_IFINDEX, self.by_ifindex.keys().count(), WORKLOADS_ENTRIES),
            usage(map::NAMES_SHORT, self.names_short.keys().count(), NAMES_SHORT_ENTRIES),
            usage(map::NAMES_LONG, self.names_long.keys().count(), NAMES_LONG_ENTRIES),
            usage(map::PREFIXES, self.prefixes.keys().count(), PREFIXES_ENTRIES),
            usage(map::RULES, self.rules.keys().count(), RULES_ENTRIES),
            usage(map::RESOLVERS, self.resolvers.keys().count(), RESOLVERS_ENTRIES),
            usage(map::FACTS, self.facts.keys().count(), FACTS_ENTRIES),
            usage(map::FLOWS, self.flows.keys().count(), FLOWS_ENTRIES),
            usage(map::HANDOVERS, self.handovers.keys().count(), HANDOVERS_ENTRIES),
            usage(map::QUOTA, self.quota.keys().count(), WORKLOADS_ENTRIES),
            usage(map::WILDCARDS, self.wildcards.keys().count(), WORKLOADS_ENTRIES),
            usage(map::COUNTERS, self.counters.keys().count(), COUNTERS_ENTRIES),
        ];
        all.extend(self.targets.usage());
        all
    }
}

pub(super) fn set(map: &'static str, result: Result<(), MapError>) -> Result<(), KernelError> {
    result.map_err(failed("write", map))
}

/// What is gone already is as good as removed.
pub(super) fn remove(map: &'static str, result: Result<(), MapError>) -> Result<(), KernelError> {
    match result {
        Err(MapError::KeyNotFound) | Ok(()) => Ok(()),
        Err(MapError::SyscallError(error))
            if error.io_error.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        Err(error) => Err(failed("remove from", map)(error)),
    }
}

/// A name as the key of the table it belongs to.
enum NameKey {
    Short(NameKeyShort),
    Long(NameKeyLong),
}

fn key_of(name: &WireName) -> NameKey {
    let bytes = name.as_bytes();
    if bytes.len() <= NAME_SHORT_BYTES {
        NameKey::Short(filled_up(bytes))
    } else {
        NameKey::Long(filled_up::<NAME_BUFFER_BYTES>(bytes))
    }
}

/// The name, filled up with zeros. A wire name is at most 255 bytes long.
fn filled_up<const N: usize>(name: &[u8]) -> [u8; N] {
    let mut key = [0; N];
    for (slot, byte) in key.iter_mut().zip(name) {
        *slot = *byte;
    }
    key
}

/// The name a key holds: the labels up to and with the root.
fn name_in(key: &[u8]) -> WireName {
    let mut length = 0;
    while let Some(label) = key.get(length) {
        length += 1 + usize::from(*label);
        if *label == 0 {
            break;
        }
    }
    WireName(key.iter().take(length).copied().collect())
}

fn trie_key(prefix: &Prefix) -> Key<Abi<PrefixData>> {
    let bits = PrefixData::POLICY_BITS + u32::from(prefix.bits);
    Key::new(bits, Abi(PrefixData::new(prefix.policy, prefix.address)))
}

fn prefix_of(key: &Key<Abi<PrefixData>>) -> Prefix {
    let bits = key.prefix_len().saturating_sub(PrefixData::POLICY_BITS);
    let Abi(data) = key.data();
    Prefix {
        policy: data.policy(),
        address: data.address(),
        bits: u8::try_from(bits).unwrap_or(u8::MAX),
    }
}

#[cfg(test)]
mod tests {
    use exeat_common::{address::Address, id::PolicyId};

    use super::{NameKey, key_of, name_in, prefix_of, trie_key};
    use crate::policy::image::{Prefix, WireName};

    #[test]
    fn names_survive_the_way_into_a_key_and_back() {
        for length in [1_usize, 20, 61, 62, 63] {
            let mut wire = Vec::new();
            for _ in 0..3 {
                wire.push(u8::try_from(length).expect("a label"));
                wire.extend(vec![b'x'; length]);
            }
            wire.push(0);
            let name = WireName(wire);
            let back = match key_of(&name) {
                NameKey::Short(key) => name_in(&key),
                NameKey::Long(key) => name_in(&key),
            };
            assert_eq!(back, name);
        }
    }

    #[test]
    fn prefixes_survive_it_too() {
        let prefix = Prefix {
            policy: PolicyId::new(9),
            address: Address::from_v4([10, 0, 0, 0]),
            bits: 104,
        };
        assert_eq!(prefix_of(&trie_key(&prefix)), prefix);
    }
}

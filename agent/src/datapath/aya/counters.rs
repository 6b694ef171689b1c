//! Counters: those of each verdict, and what workloads sent to known flows, which the kernel counts apart.

use std::collections::{BTreeMap, BTreeSet};

use aya::maps::PerCpuValues;
use exeat_common::{
    abi::{CounterKey, CounterValue, PassedValue},
    id::WorkloadId,
    limits::{PASSED_ENTRIES, map},
    reason::{Layer, Reason, Verdict},
};

use super::{
    KernelError,
    tables::{Maps, failed, remove},
};
use crate::datapath::pod::Abi;

const NOTHING: CounterValue = CounterValue { count: 0, bytes: 0 };
/// An entry of nobody.
const FREE: PassedValue =
    PassedValue { owner: WorkloadId::new(0), reserved: 0, established: 0, inbound: 0 };

impl Maps {
    /// All that was counted, also for those that are gone.
    pub(super) fn counters(&self) -> Result<Vec<(CounterKey, CounterValue)>, KernelError> {
        let mut sums: BTreeMap<CounterKey, CounterValue> = self.retired.clone();
        let mut add = |key, value| {
            let sum = sums.entry(key).or_insert(NOTHING);
            *sum = added(*sum, value);
        };
        self.counters_of_verdicts()?.into_iter().for_each(|(key, value)| add(key, value));
        for index in indexes() {
            for Abi(passed) in self.passed(index)?.iter() {
                told(passed).for_each(|(key, value)| add(key, value));
            }
        }
        Ok(sums.into_iter().collect())
    }

    /// Those of `COUNTERS`, of all CPUs, added up.
    fn counters_of_verdicts(&self) -> Result<Vec<(CounterKey, CounterValue)>, KernelError> {
        self.counters
            .iter()
            .map(|entry| {
                let (Abi(key), values) = entry.map_err(failed("read", map::COUNTERS))?;
                Ok((key, values.iter().fold(NOTHING, |sum, Abi(value)| added(sum, *value))))
            })
            .collect()
    }

    /// Gives entries up that belong to workloads which are gone: what they sent goes to the other counters. An entry
    /// that is somebody else's on another CPU stays as it is, for it can only be written as a whole.
    pub(super) fn free_passed(&mut self, known: &BTreeSet<WorkloadId>) -> Result<(), KernelError> {
        for index in indexes() {
            let entry = self.passed(index)?;
            let is_used = entry.iter().any(|Abi(it)| it.owner != FREE.owner);
            if !is_used || entry.iter().any(|Abi(it)| known.contains(&it.owner)) {
                continue;
            }
            for (cpu, Abi(passed)) in entry.iter().enumerate() {
                for (key, value) in told(passed) {
                    self.add_to_counter(key, cpu, value)?;
                }
            }
            let free = on_each_cpu(vec![Abi(FREE); entry.len()]);
            self.passed.set(index, free, 0).map_err(failed("write", map::PASSED))?;
        }
        Ok(())
    }

    /// Adds up what was counted for workloads that are gone, so that its room is free again.
    pub(super) fn retire_counters(
        &mut self,
        known: &BTreeSet<WorkloadId>,
    ) -> Result<(), KernelError> {
        let nobody = WorkloadId::default();
        let counters = self.counters_of_verdicts()?;
        let gone = |key: &CounterKey| key.workload != nobody && !known.contains(&key.workload);
        for (key, value) in counters.into_iter().filter(|(key, _)| gone(key)) {
            remove(map::COUNTERS, self.counters.remove(&Abi(key)))?;
            let key = CounterKey { workload: nobody, ..key };
            let sum = self.retired.entry(key).or_insert(NOTHING);
            *sum = added(*sum, value);
        }
        Ok(())
    }

    /// Whose the entries are.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn passed_owners(&self) -> Result<BTreeSet<WorkloadId>, KernelError> {
        let mut owners = BTreeSet::new();
        for index in indexes() {
            owners.extend(self.passed(index)?.iter().map(|Abi(it)| it.owner));
        }
        owners.remove(&FREE.owner);
        Ok(owners)
    }

    fn passed(&self, index: u32) -> Result<PerCpuValues<Abi<PassedValue>>, KernelError> {
        self.passed.get(&index, 0).map_err(failed("read", map::PASSED))
    }

    /// Of a workload that is gone: the kernel does not count for it meanwhile.
    fn add_to_counter(
        &mut self,
        key: CounterKey,
        cpu: usize,
        value: CounterValue,
    ) -> Result<(), KernelError> {
        let held = self.counters.get(&Abi(key), 0);
        let mut values: Vec<Abi<CounterValue>> = match held {
            Ok(values) => values.iter().copied().collect(),
            Err(aya::maps::MapError::KeyNotFound) => {
                vec![Abi(NOTHING); self.passed(0)?.len()]
            }
            Err(error) => return Err(failed("read", map::COUNTERS)(error)),
        };
        if let Some(Abi(sum)) = values.get_mut(cpu) {
            *sum = added(*sum, value);
        }
        let values = on_each_cpu(values);
        self.counters.insert(Abi(key), values, 0).map_err(failed("write", map::COUNTERS))
    }
}

/// One value for each processor: as many as were read.
fn on_each_cpu<T: aya::Pod>(values: Vec<T>) -> PerCpuValues<T> {
    PerCpuValues::try_from(values).expect("invariant: as many values as the kernel gave")
}

fn indexes() -> impl Iterator<Item = u32> {
    (0..).take(PASSED_ENTRIES)
}

/// What an entry says, as counters.
fn told(passed: &PassedValue) -> impl Iterator<Item = (CounterKey, CounterValue)> {
    let of = |reason| CounterKey::new(passed.owner, Layer::Wire, Verdict::Allow, reason);
    [(of(Reason::Established), passed.established), (of(Reason::Inbound), passed.inbound)]
        .into_iter()
        .filter(|(_, bytes)| *bytes != 0)
        .map(|(key, bytes)| (key, CounterValue { count: 0, bytes }))
}

fn added(sum: CounterValue, value: CounterValue) -> CounterValue {
    CounterValue {
        count: sum.count.wrapping_add(value.count),
        bytes: sum.bytes.wrapping_add(value.bytes),
    }
}

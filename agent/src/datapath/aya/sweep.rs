//! Garbage collection: expired facts and idle flows go, and each workload's share is set right.

use std::collections::{BTreeMap, BTreeSet};

use exeat_common::{
    abi::{Fact, FactKey, FactValue, FlowKey, FlowValue, HandoverKey, QuotaValue},
    flow::protocol,
    id::{SubjectId, WorkloadId},
    limits::{
        FLOW_IDLE_CLOSING_SECONDS, FLOW_IDLE_DATAGRAM_SECONDS, FLOW_IDLE_TCP_SECONDS,
        HANDOVER_SECONDS, map,
    },
};
use nix::time::{ClockId, clock_gettime};

use super::{
    KernelError,
    tables::{Maps, failed, remove},
};
use crate::datapath::{Collected, pod::Abi};

/// How long an expired fact is kept: its name explains denials, and the kernel will not be renewing
/// it in the very moment it is removed.
const EXPIRED_FACT_SECONDS: u32 = 120;

impl Maps {
    /// Removes what has ended, and all that is of workloads that are gone: their numbers are never
    /// given to others. Counts what lives.
    pub(super) fn sweep(&mut self) -> Result<Collected, KernelError> {
        let now = seconds();
        let known = self.workloads()?;
        let mut collected = Collected::default();
        let mut shares: BTreeMap<WorkloadId, Used> = BTreeMap::new();
        let mut ended: Vec<FactKey> = Vec::new();
        for entry in &self.facts {
            let (Abi(key), Abi(value)) = entry.map_err(failed("read", map::FACTS))?;
            let subjects = live_subjects(&value, now);
            if subjects.is_empty() || !known.contains(&key.workload) {
                ended.push(key);
            } else {
                collected.subjects.extend(subjects);
                collected.facts_live += 1;
                shares.entry(key.workload).or_default().facts += 1;
            }
        }
        for key in ended {
            remove(map::FACTS, self.facts.remove(&Abi(key)))?;
            collected.facts_removed += 1;
        }
        self.sweep_flows(now, &known, &mut collected, &mut shares)?;
        self.sweep_handovers(now, &known, &mut shares)?;
        self.correct_shares(&known, &shares)?;
        self.free_passed(&known)?;
        self.retire_counters(&known)?;
        Ok(collected)
    }

    fn sweep_flows(
        &mut self,
        now: u32,
        known: &BTreeSet<WorkloadId>,
        collected: &mut Collected,
        shares: &mut BTreeMap<WorkloadId, Used>,
    ) -> Result<(), KernelError> {
        let mut ended: Vec<FlowKey> = Vec::new();
        for entry in &self.flows {
            let (Abi(key), Abi(value)) = entry.map_err(failed("read", map::FLOWS))?;
            if is_idle(&key, &value, now) || !known.contains(&key.workload) {
                ended.push(key);
            } else {
                if value.subject.is_some() {
                    collected.subjects.insert(value.subject);
                }
                collected.flows_live += 1;
                shares.entry(key.workload).or_default().flows += 1;
            }
        }
        for key in ended {
            remove(map::FLOWS, self.flows.remove(&Abi(key)))?;
            collected.flows_removed += 1;
        }
        Ok(())
    }

    /// Sockets clear these away when they close; what is here after so long is of one that could not.
    fn sweep_handovers(
        &mut self,
        now: u32,
        known: &BTreeSet<WorkloadId>,
        shares: &mut BTreeMap<WorkloadId, Used>,
    ) -> Result<(), KernelError> {
        let mut ended: Vec<HandoverKey> = Vec::new();
        for entry in &self.handovers {
            let (Abi(key), Abi(value)) = entry.map_err(failed("read", map::HANDOVERS))?;
            let is_old = now.saturating_sub(value.since) > HANDOVER_SECONDS;
            if is_old || !known.contains(&value.workload) {
                ended.push(key);
            } else {
                shares.entry(value.workload).or_default().handovers += 1;
            }
        }
        for key in ended {
            remove(map::HANDOVERS, self.handovers.remove(&Abi(key)))?;
        }
        Ok(())
    }

    /// The kernel counts up; what was removed here is taken off. What came meanwhile is missed until
    /// the next sweep, which errs on the side of letting it come. The share of a workload that is
    /// gone makes room for another's.
    fn correct_shares(
        &mut self,
        known: &BTreeSet<WorkloadId>,
        shares: &BTreeMap<WorkloadId, Used>,
    ) -> Result<(), KernelError> {
        let mut wrong: Vec<(WorkloadId, QuotaValue)> = Vec::new();
        let mut gone: Vec<WorkloadId> = Vec::new();
        for entry in &self.quota {
            let (Abi(workload), Abi(value)) = entry.map_err(failed("read", map::QUOTA))?;
            let used = shares.get(&workload).copied().unwrap_or_default();
            if used == Used::default() && !known.contains(&workload) {
                gone.push(workload);
            } else if used != Used::counted(&value) {
                let Used { facts, flows, handovers } = used;
                wrong.push((workload, QuotaValue { facts, flows, handovers, ..value }));
            }
        }
        for (workload, value) in wrong {
            let written = self.quota.insert(Abi(workload), Abi(value), 0);
            written.map_err(failed("write", map::QUOTA))?;
        }
        for workload in gone {
            remove(map::QUOTA, self.quota.remove(&Abi(workload)))?;
        }
        for (workload, _) in self.wildcards()? {
            if !known.contains(&workload) {
                remove(map::WILDCARDS, self.wildcards.remove(&Abi(workload)))?;
            }
        }
        Ok(())
    }

    /// Every workload that is known in some way.
    fn workloads(&self) -> Result<BTreeSet<WorkloadId>, KernelError> {
        let mut known = BTreeSet::new();
        for entry in &self.by_cgroup {
            let (_, Abi(workload)) = entry.map_err(failed("read", map::WORKLOADS_BY_CGROUP))?;
            known.insert(workload.id);
        }
        for entry in &self.by_ifindex {
            let (_, Abi(workload)) = entry.map_err(failed("read", map::WORKLOADS_BY_IFINDEX))?;
            known.insert(workload.id);
        }
        Ok(known)
    }
}

/// What a workload really holds, in entries.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
struct Used {
    facts: u64,
    flows: u64,
    handovers: u64,
}

impl Used {
    /// What the kernel believes.
    const fn counted(value: &QuotaValue) -> Self {
        Self { facts: value.facts, flows: value.flows, handovers: value.handovers }
    }
}

/// Patterns of the slots that count, or are kept a while longer.
fn live_subjects(value: &FactValue, now: u32) -> BTreeSet<SubjectId> {
    value
        .slots
        .iter()
        .map(|word| Fact::unpack(*word))
        .filter(|fact| {
            fact.pattern.is_some() && fact.expiry.saturating_add(EXPIRED_FACT_SECONDS) >= now
        })
        .map(|fact| fact.pattern)
        .collect()
}

fn is_idle(key: &FlowKey, value: &FlowValue, now: u32) -> bool {
    let limit = if key.protocol != protocol::TCP {
        FLOW_IDLE_DATAGRAM_SECONDS
    } else if value.closing != 0 {
        FLOW_IDLE_CLOSING_SECONDS
    } else {
        FLOW_IDLE_TCP_SECONDS
    };
    now.saturating_sub(value.last_seen) > limit
}

/// The clock of the programs, in seconds.
pub(super) fn seconds() -> u32 {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .ok()
        .and_then(|time| u32::try_from(time.tv_sec()).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use exeat_common::{
        abi::{Fact, FactValue, FlowKey, FlowValue, direction},
        address::Address,
        flow::protocol,
        id::{SubjectId, WorkloadId},
    };

    use super::{is_idle, live_subjects};

    #[test]
    fn a_fact_goes_when_all_its_names_have_long_expired() {
        let pattern = SubjectId::pattern(3, true, 2);
        let mut value = FactValue { slots: [0; 8] };
        assert!(live_subjects(&value, 0).is_empty());
        if let Some(slot) = value.slots.last_mut() {
            *slot = Fact { pattern, expiry: 100 }.pack();
        }
        assert_eq!(live_subjects(&value, 220).into_iter().collect::<Vec<_>>(), [pattern]);
        assert!(live_subjects(&value, 221).is_empty());
    }

    #[test]
    fn idle_times_differ_by_protocol_and_state() {
        let flow = |protocol, closing, last_seen| {
            let [local, remote] = [1, 2].map(|port| (Address::default(), port));
            let key = FlowKey::new(WorkloadId::new(1), protocol, local, remote);
            let value = FlowValue {
                generation: 1,
                last_seen,
                subject: SubjectId::NONE,
                direction: direction::OUTBOUND,
                closing,
                resets: 0,
                reserved: [0; _],
                dialled_port: 0,
            };
            is_idle(&key, &value, 10_000)
        };
        assert!(!flow(protocol::TCP, 0, 1) && flow(protocol::TCP, 1, 9_939));
        assert!(!flow(protocol::TCP, 1, 9_940) && flow(protocol::UDP, 0, 9_819));
        assert!(!flow(protocol::UDP, 0, 9_820));
    }
}

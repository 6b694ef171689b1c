//! Facts and flows that the agent notes for workloads which ran before it, as the kernel would have.

use std::{collections::BTreeMap, io::ErrorKind};

use aya::maps::MapError;
use exeat_common::{
    abi::{Fact, FactValue, FlowValue, QueryKey, QueryValue, QuotaValue},
    dns::learn::{Placed, place},
    id::WorkloadId,
    limits::{FACT_SLOTS, FACTS_PER_WORKLOAD, map},
};
use zerocopy::FromZeros as _;

use super::{
    KernelError,
    sweep::seconds,
    tables::{Maps, failed},
};
use crate::{
    datapath::{Noted, pod::Abi},
    preseed::{NewFact, NewFlow},
};

/// Flags of `BPF_MAP_UPDATE_ELEM`, see bpf(2): only a new entry, only one that is there.
const BPF_NOEXIST: u64 = 1;
const BPF_EXIST: u64 = 2;

/// Facts of each workload: before, and added here.
type Used = BTreeMap<WorkloadId, (u64, u64)>;

impl Maps {
    /// Notes facts, each beside what is there already.
    pub(super) fn learn(&mut self, facts: &[NewFact]) -> Result<Noted, KernelError> {
        let now = seconds();
        let mut noted = Noted::default();
        let mut used = Used::new();
        for fact in facts {
            match self.learn_one(fact, now, &mut used)? {
                Placed::Changed => noted.written += 1,
                Placed::Known => {}
                Placed::Full => noted.refused += 1,
            }
        }
        self.add_to_shares(&used)?;
        Ok(noted)
    }

    /// An entry that is there is replaced whole. What the kernel learns of the same workload and
    /// address between the reading and the writing, which is microseconds, is lost then. Nearly all
    /// of this happens before the kernel sees the workload.
    fn learn_one(
        &mut self,
        fact: &NewFact,
        now: u32,
        used: &mut Used,
    ) -> Result<Placed, KernelError> {
        let key = Abi(fact.key);
        let entry = Fact { pattern: fact.pattern, expiry: now.saturating_add(fact.hold_seconds) };
        let known = found(self.facts.get(&key, 0)).map_err(failed("read", map::FACTS))?;
        let mut value = known.map_or(FactValue { slots: [0; FACT_SLOTS] }, |Abi(value)| value);
        let placed = place(&mut value, entry, now);
        if placed != Placed::Changed {
            return Ok(placed);
        }
        if known.is_some() {
            return added(self.facts.insert(key, Abi(value), BPF_EXIST), map::FACTS);
        }
        let workload = fact.key.workload;
        let (before, new) = match used.get(&workload) {
            Some(share) => *share,
            None => (self.share(workload)?.facts, 0),
        };
        used.insert(workload, (before, new));
        if before + new >= u64::from(FACTS_PER_WORKLOAD) {
            return Ok(Placed::Full);
        }
        let placed = added(self.facts.insert(key, Abi(value), BPF_NOEXIST), map::FACTS)?;
        if placed == Placed::Changed {
            used.insert(workload, (before, new + 1));
        }
        Ok(placed)
    }

    /// Marks a question, if it is still awaited: its answer is known, and only to be let through.
    pub(super) fn release(&mut self, question: &QueryKey) -> Result<(), KernelError> {
        let key = Abi(*question);
        let known = found(self.queries.get(&key, 0)).map_err(failed("read", map::QUERIES))?;
        let Some(Abi(query)) = known else { return Ok(()) };
        let query = QueryValue { name_length: 0, ..query };
        added(self.queries.insert(key, Abi(query), BPF_EXIST), map::QUERIES).map(drop)
    }

    /// Remembers flows. One that is known stays as it is.
    pub(super) fn adopt(&mut self, flows: &[NewFlow]) -> Result<Noted, KernelError> {
        let mut noted = Noted::default();
        for flow in flows {
            let value = FlowValue {
                // Not judged under any rules yet: the next packet asks for the subject's.
                generation: 0,
                last_seen: seconds(),
                subject: flow.subject,
                direction: flow.direction(),
                closing: u8::from(flow.is_closing),
                resets: 0,
                reserved: [0; _],
                dialled_port: 0,
            };
            let known = found(self.flows.get(&Abi(flow.key), 0));
            if known.map_err(failed("read", map::FLOWS))?.is_some() {
                continue;
            }
            match added(self.flows.insert(Abi(flow.key), Abi(value), BPF_NOEXIST), map::FLOWS)? {
                Placed::Changed => noted.written += 1,
                Placed::Known | Placed::Full => noted.refused += 1,
            }
        }
        Ok(noted)
    }

    fn share(&self, workload: WorkloadId) -> Result<QuotaValue, KernelError> {
        let known = found(self.quota.get(&Abi(workload), 0)).map_err(failed("read", map::QUOTA))?;
        Ok(known.map_or_else(QuotaValue::new_zeroed, |Abi(value)| value))
    }

    /// What the kernel counts in between is missed until the next sweep, as with the sweep itself.
    fn add_to_shares(&mut self, used: &Used) -> Result<(), KernelError> {
        for (workload, (_, new)) in used.iter().filter(|(_, (_, new))| *new > 0) {
            let share = self.share(*workload)?;
            let share = QuotaValue { facts: share.facts + new, ..share };
            let written = self.quota.insert(Abi(*workload), Abi(share), 0);
            written.map_err(failed("write", map::QUOTA))?;
        }
        Ok(())
    }
}

fn found<T>(result: Result<T, MapError>) -> Result<Option<T>, MapError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A full table refuses (`E2BIG`), and so does one where the entry came or went meanwhile.
fn added(result: Result<(), MapError>, map: &'static str) -> Result<Placed, KernelError> {
    const E2BIG: ErrorKind = ErrorKind::ArgumentListTooLong;
    match result {
        Ok(()) => Ok(Placed::Changed),
        Err(MapError::SyscallError(error))
            if matches!(
                error.io_error.kind(),
                E2BIG | ErrorKind::AlreadyExists | ErrorKind::NotFound | ErrorKind::OutOfMemory
            ) =>
        {
            Ok(Placed::Full)
        }
        Err(error) => Err(failed("write", map)(error)),
    }
}

//! The wire programs run on a frame of the caller's, without an interface, over the real tables.
//! For tests: nothing but them is served by it.

use std::collections::BTreeSet;

use aya::programs::{Program, ProgramError, TestRun as _, TestRunOptions};
use exeat_common::{
    abi::{Fact, FactKey, FactValue},
    id::WorkloadId,
    limits::{map, program},
};

use super::{
    Kernel, KernelError,
    tables::{failed, set},
};
use crate::datapath::pod::Abi;

/// Bytes that a program may add to a frame: a reply to it has an IPv6 and an ICMP header more.
const ROOM_BYTES: usize = 64;

/// One of the two programs at a pod's interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WireProgram {
    FromPod,
    ToPod,
}

impl WireProgram {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::FromPod => program::FROM_POD,
            Self::ToPod => program::TO_POD,
        }
    }
}

/// What a program did with a frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FrameResult {
    /// Traffic control action, `TC_ACT_…` of `linux/pkt_cls.h`.
    pub action: i32,
    /// The frame as the program left it.
    pub frame: Vec<u8>,
}

impl Kernel {
    /// Runs a program once on an Ethernet frame. The kernel has the frame come from the loopback
    /// interface of this network namespace, index 1.
    pub fn run_frame(
        &mut self,
        program: WireProgram,
        frame: &[u8],
    ) -> Result<FrameResult, KernelError> {
        let name = program.name();
        let failed = |source| KernelError::TestRun { program: name, source: Box::new(source) };
        let Some(Program::SchedClassifier(loaded)) = self.ebpf.program(name) else {
            return Err(failed(ProgramError::NotLoaded));
        };
        let mut out = vec![0; frame.len() + ROOM_BYTES];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::new()
        };
        let result = loaded.test_run(options).map_err(failed)?;
        out.truncate(usize::try_from(result.data_size_out).unwrap_or(usize::MAX));
        Ok(FrameResult { action: result.return_value.cast_signed(), frame: out })
    }

    /// Workloads whose bytes to known flows are counted by index.
    pub fn passed_owners(&self) -> Result<BTreeSet<WorkloadId>, KernelError> {
        self.maps.passed_owners()
    }

    /// Makes everything that a workload was told `seconds` older: the kernel's clock cannot be
    /// moved.
    pub fn age_facts(&mut self, workload: WorkloadId, seconds: u32) -> Result<(), KernelError> {
        let facts = &mut self.maps.facts;
        let mut aged: Vec<(FactKey, FactValue)> = Vec::new();
        for entry in &*facts {
            let (Abi(key), Abi(mut value)) = entry.map_err(failed("read", map::FACTS))?;
            if key.workload == workload {
                for slot in value.slots.iter_mut().filter(|slot| **slot != 0) {
                    let fact = Fact::unpack(*slot);
                    let expiry = fact.expiry.saturating_sub(seconds);
                    *slot = Fact { expiry, ..fact }.pack();
                }
                aged.push((key, value));
            }
        }
        for (key, value) in aged {
            set(map::FACTS, facts.insert(Abi(key), Abi(value), 0))?;
        }
        Ok(())
    }
}

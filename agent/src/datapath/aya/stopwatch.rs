//! The wire programs measured: many runs on one frame, timed by the kernel itself. For benchmarks:
//! nothing but them is served by it.

use std::{path::Path, time::Duration};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{Array, HashMap, MapData, MapError, ProgramArray},
    programs::{Program, ProgramError, ProgramFd, SchedClassifier, TestRun as _, TestRunOptions},
};
use exeat_common::{
    abi::{QueryKey, QueryValue},
    id::WorkloadId,
    limits::map,
    replay::{Replay, name},
};

use super::{
    Kernel, KernelError, OpenError, WireProgram,
    tables::{Maps, failed, open, remove},
};
use crate::datapath::{pins::version_folder, pod::Abi};

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Subject {
    /// A program that lets everything pass and does nothing else.
    Empty,
    /// The lookups alone that a packet of a known flow takes.
    FloorOfPacket,
    /// The same for a question.
    FloorOfQuestion,
    Wire(WireProgram),
}

impl Subject {
    /// Its index in the table that the replaying program jumps through.
    const fn index(self) -> u32 {
        match self {
            Self::Empty => 0,
            Self::Wire(WireProgram::FromPod) => 1,
            Self::Wire(WireProgram::ToPod) => 2,
            Self::FloorOfPacket => 3,
            Self::FloorOfQuestion => 4,
        }
    }
}

/// How long a run took, in the mean of all, and what the last one made of the frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timed {
    pub each: Duration,
    /// Traffic control action, `TC_ACT_…` of `linux/pkt_cls.h`.
    pub action: i32,
}

/// The wire programs of a [`Kernel`], and beside them what measuring takes.
pub struct Stopwatch {
    ebpf: Ebpf,
    orders: Array<MapData, Abi<Replay>>,
    queries: HashMap<MapData, Abi<QueryKey>, Abi<QueryValue>>,
    /// Of nobody's interest but the kernel's: a table of programs is emptied when it is closed.
    _subjects: ProgramArray<MapData>,
}

impl Stopwatch {
    /// Loads `object`, which `cargo xtask bench` builds, beside a kernel side that was opened at
    /// `pin_path`.
    pub fn open(kernel: &Kernel, object: &[u8], pin_path: &Path) -> Result<Self, OpenError> {
        let folder = version_folder(pin_path);
        let failed =
            |source: EbpfError| OpenError::Load { path: folder.clone(), source: Box::new(source) };
        let mut loader = EbpfLoader::new();
        for shared in
            [map::QUERIES, map::WORKLOADS_BY_IFINDEX, map::FLOWS, map::NAMES_SHORT, map::RULES]
        {
            loader.map_pin_path(shared, folder.join(shared));
        }
        let mut ebpf = loader.load(object).map_err(failed)?;
        for program in [name::EMPTY, name::FLOOR_PACKET, name::FLOOR_QUESTION, name::REPLAY] {
            super::load_program(&mut ebpf, program)?;
        }
        let mut subjects: ProgramArray<MapData> = open(&mut ebpf, name::SUBJECTS)?;
        let wire = [WireProgram::FromPod, WireProgram::ToPod].map(Subject::Wire);
        let others = [Subject::Empty, Subject::FloorOfPacket, Subject::FloorOfQuestion];
        for subject in others.into_iter().chain(wire) {
            let program = descriptor(&ebpf, kernel, subject)?;
            subjects
                .set(subject.index(), &program, 0)
                .map_err(|source| map_error(name::SUBJECTS, source))?;
        }
        Ok(Self {
            orders: open(&mut ebpf, name::ORDERS)?,
            queries: open(&mut ebpf, name::QUERIES)?,
            _subjects: subjects,
            ebpf,
        })
    }

    /// Runs a program `repeat` times on a frame. Each run finds what the one before left.
    pub fn run(
        &self,
        kernel: &Kernel,
        subject: Subject,
        frame: &[u8],
        repeat: u32,
    ) -> Result<Timed, KernelError> {
        let (ebpf, name) = place(&self.ebpf, kernel, subject);
        timed(ebpf, name, frame, repeat)
    }

    /// Runs a program `repeat` times, each time on what `orders` restores before.
    pub fn replay(
        &mut self,
        subject: Subject,
        orders: &Replay,
        repeat: u32,
    ) -> Result<Timed, KernelError> {
        let orders = Replay { subject: subject.index(), ..*orders };
        self.orders.set(0, Abi(orders), 0).map_err(failed("write", name::ORDERS))?;
        let length = usize::try_from(orders.length).unwrap_or(usize::MAX);
        let frame = orders.frame.get(..length).unwrap_or(&orders.frame);
        timed(&self.ebpf, name::REPLAY, frame, repeat)
    }

    /// Forgets every open question, and whatever a workload was told or has open.
    pub fn forget(&mut self, kernel: &mut Kernel, workload: WorkloadId) -> Result<(), KernelError> {
        let asked: Result<Vec<_>, _> = self.queries.keys().collect();
        for key in asked.map_err(failed("read", map::QUERIES))? {
            remove(map::QUERIES, self.queries.remove(&key))?;
        }
        let Maps { facts, flows, quota, .. } = &mut kernel.maps;
        let told: Result<Vec<_>, _> = facts.keys().collect();
        for key in told.map_err(failed("read", map::FACTS))? {
            if key.0.workload == workload {
                remove(map::FACTS, facts.remove(&key))?;
            }
        }
        let open: Result<Vec<_>, _> = flows.keys().collect();
        for key in open.map_err(failed("read", map::FLOWS))? {
            if key.0.workload == workload {
                remove(map::FLOWS, flows.remove(&key))?;
            }
        }
        remove(map::QUOTA, quota.remove(&Abi(workload)))
    }
}

fn map_error(map: &'static str, source: MapError) -> OpenError {
    OpenError::Map { map, source: Box::new(source) }
}

/// Where a program was loaded, and its name there.
fn place<'a>(own: &'a Ebpf, kernel: &'a Kernel, subject: Subject) -> (&'a Ebpf, &'static str) {
    match subject {
        Subject::Empty => (own, name::EMPTY),
        Subject::FloorOfPacket => (own, name::FLOOR_PACKET),
        Subject::FloorOfQuestion => (own, name::FLOOR_QUESTION),
        Subject::Wire(program) => (&kernel.ebpf, program.name()),
    }
}

fn descriptor(own: &Ebpf, kernel: &Kernel, subject: Subject) -> Result<ProgramFd, OpenError> {
    let (ebpf, name) = place(own, kernel, subject);
    let program = classifier(ebpf, name).ok_or(OpenError::Missing { name })?;
    let descriptor = program.fd().and_then(|fd| fd.try_clone().map_err(ProgramError::from));
    descriptor.map_err(|source| OpenError::Program { program: name, source: Box::new(source) })
}

fn classifier<'a>(ebpf: &'a Ebpf, name: &str) -> Option<&'a SchedClassifier> {
    match ebpf.program(name) {
        Some(Program::SchedClassifier(program)) => Some(program),
        _ => None,
    }
}

fn timed(ebpf: &Ebpf, name: &'static str, frame: &[u8], repeat: u32) -> Result<Timed, KernelError> {
    let failed = |source| KernelError::TestRun { program: name, source: Box::new(source) };
    let program = classifier(ebpf, name).ok_or_else(|| failed(ProgramError::NotLoaded))?;
    let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
    let result = program.test_run(options).map_err(failed)?;
    Ok(Timed { each: result.duration, action: result.return_value.cast_signed() })
}

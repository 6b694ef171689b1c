//! The real kernel side: loads the programs, owns tables and links. Only here and in `filter`,
//! `pod`, `probe` is aya named.

mod counters;
mod events;
mod kernel_log;
mod learn;
mod links;
mod lots;
#[cfg(any(test, feature = "testing"))]
mod stopwatch;
mod sweep;
mod tables;
mod targets;
#[cfg(any(test, feature = "testing"))]
mod test_run;
mod wires;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Instant,
};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::MapError,
    programs::{Program, ProgramError},
};
use exeat_common::{
    abi::{CounterKey, CounterValue, QueryKey, WildcardValue},
    id::WorkloadId,
    limits::map,
};

use self::{
    links::{Links, programs},
    tables::Maps,
};
use super::{
    Attached, Attaching, Attachment, Collected, Datapath, MapUsage, Noted, ProgramUsage,
    pins::version_folder,
    probe::{self, Unsupported},
};
use crate::{
    config::Config,
    policy::image::{Image, MapOp},
    preseed::{NewFact, NewFlow},
};
pub use events::{Events, RingError};
pub use links::LinkError;
#[cfg(any(test, feature = "testing"))]
pub use stopwatch::{Stopwatch, Subject, Timed};
#[cfg(any(test, feature = "testing"))]
pub use test_run::{FrameResult, WireProgram};

/// The kernel object, built by `cargo xtask build-ebpf`; empty if it was not.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/exeat.bpf.o"));

/// Why the kernel side could not be opened. Nothing was attached or changed then.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("this build has no kernel object (build it with `cargo xtask build`)")]
    NotBuilt,
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    #[error("make {path}: {source} (is pinPath on a bpffs this user may write?)")]
    Folder { path: PathBuf, source: io::Error },
    #[error(
        "load the kernel object with tables pinned in {path}: {source} (are there tables of another build? `exeat cleanup` removes them and ends enforcement)"
    )]
    Load { path: PathBuf, source: Box<EbpfError> },
    #[error(
        "the kernel refused program {program}: {source} (a kernel exeat was not tested on? please report it)"
    )]
    Program { program: &'static str, source: Box<ProgramError> },
    #[error("this kernel object has no {name} (built from another version?)")]
    Missing { name: &'static str },
    #[error("open table {map}: {source}")]
    Map { map: &'static str, source: Box<MapError> },
    #[error("wait on the event ring: {source}")]
    Ring { source: io::Error },
}

/// Why something in the kernel could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error("{action} table {map}: {source} (is it full? see `exeat status`)")]
    Table { action: &'static str, map: &'static str, source: Box<MapError> },
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("ask the kernel about program {program}: {source}")]
    Info { program: &'static str, source: Box<ProgramError> },
    #[cfg(any(test, feature = "testing"))]
    #[error("run program {program} on a frame: {source}")]
    TestRun { program: &'static str, source: Box<ProgramError> },
}

/// Programs, tables and links of this node.
pub struct Kernel {
    ebpf: Ebpf,
    maps: Maps,
    links: Links,
}

/// Loads the programs and opens the tables, pinned ones first. Attaches nothing.
pub fn open(config: &Config) -> Result<(Kernel, Events), OpenError> {
    open_at(&config.pin_path)
}

/// As [`open`], for whoever has no configuration: pins below `pin_path`.
pub fn open_at(pin_path: &Path) -> Result<(Kernel, Events), OpenError> {
    if OBJECT.is_empty() {
        return Err(OpenError::NotBuilt);
    }
    probe::check()?;
    let folder = version_folder(pin_path);
    let links = folder.join("links");
    fs::create_dir_all(&links)
        .map_err(|source| OpenError::Folder { path: links.clone(), source })?;
    let mut ebpf = load(&folder)?;
    for name in programs() {
        let started = Instant::now();
        load_program(&mut ebpf, name)?;
        tracing::debug!(program = name, milliseconds = started.elapsed().as_millis(), "verified");
    }
    let events = Events::open(&mut ebpf)?;
    let maps = Maps::open(&mut ebpf)?;
    Ok((Kernel { ebpf, maps, links: Links::new(links) }, events))
}

fn load(folder: &Path) -> Result<Ebpf, OpenError> {
    let can_set_errno = u8::from(probe::can_set_errno());
    let mut loader = EbpfLoader::new();
    let can_ask_cgroup = u8::from(probe::can_ask_cgroup());
    let can_name_process = u8::from(probe::can_name_process());
    loader.override_global("CAN_SET_RETVAL", &can_set_errno, true);
    loader.override_global("CAN_ASK_CGROUP", &can_ask_cgroup, true);
    loader.override_global("CAN_NAME_PROCESS", &can_name_process, true);
    for name in map::ALL {
        loader.map_pin_path(name, folder.join(name));
    }
    loader
        .load(OBJECT)
        .map_err(|source| OpenError::Load { path: folder.to_owned(), source: Box::new(source) })
}

fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<(), OpenError> {
    let loaded = match ebpf.program_mut(name) {
        Some(Program::CgroupSockAddr(program)) => program.load(),
        Some(Program::CgroupSockopt(program)) => program.load(),
        Some(Program::CgroupSock(program)) => program.load(),
        Some(Program::CgroupSkb(program)) => program.load(),
        Some(Program::SchedClassifier(program)) => program.load(),
        Some(Program::SockOps(program)) => program.load(),
        _ => return Err(OpenError::Missing { name }),
    };
    loaded.map_err(|source| OpenError::Program { program: name, source: Box::new(source) })
}

impl Datapath for Kernel {
    type Error = KernelError;

    fn dump(&mut self) -> Result<Image, KernelError> {
        self.maps.dump()
    }

    fn apply(&mut self, operations: &[MapOp]) -> Result<(), KernelError> {
        operations.iter().try_for_each(|operation| self.maps.apply(operation))?;
        self.maps.raise_generation()
    }

    fn attach(&mut self, wanted: &[Attachment]) -> Vec<Attached<KernelError>> {
        self.links
            .attach(&mut self.ebpf, wanted)
            .into_iter()
            .map(|(attachment, result)| Attached {
                attachment,
                result: result.map_err(KernelError::from),
            })
            .collect()
    }

    fn prepare(&mut self, wanted: &Attachment) -> Attaching<KernelError> {
        let work = self.links.prepare(&mut self.ebpf, wanted);
        Box::new(move || work().map_err(KernelError::from))
    }

    fn conclude(&mut self, wanted: &Attachment, is_attached: bool) {
        self.links.conclude(wanted, is_attached);
    }

    fn detach(&mut self, unwanted: &[Attachment]) {
        self.links.detach(unwanted);
    }

    fn holds(&self, attachment: &Attachment) -> bool {
        self.links.holds(attachment)
    }

    fn learn(&mut self, facts: &[NewFact]) -> Result<Noted, KernelError> {
        self.maps.learn(facts)
    }

    fn release(&mut self, question: &QueryKey) -> Result<(), KernelError> {
        self.maps.release(question)
    }

    fn adopt(&mut self, flows: &[NewFlow]) -> Result<Noted, KernelError> {
        self.maps.adopt(flows)
    }

    fn counters(&mut self) -> Result<Vec<(CounterKey, CounterValue)>, KernelError> {
        self.maps.counters()
    }

    fn wildcards(&mut self) -> Result<Vec<(WorkloadId, WildcardValue)>, KernelError> {
        self.maps.wildcards()
    }

    fn collect_garbage(&mut self) -> Result<Collected, KernelError> {
        self.maps.sweep()
    }

    fn usage(&mut self) -> Result<Vec<MapUsage>, KernelError> {
        Ok(self.maps.usage())
    }

    fn programs(&mut self) -> Result<Vec<ProgramUsage>, KernelError> {
        programs().filter_map(|name| self.program(name).transpose()).collect()
    }
}

impl Kernel {
    fn program(&self, name: &'static str) -> Result<Option<ProgramUsage>, KernelError> {
        let info = match self.ebpf.program(name) {
            Some(Program::CgroupSockAddr(program)) => program.info(),
            Some(Program::CgroupSockopt(program)) => program.info(),
            Some(Program::CgroupSock(program)) => program.info(),
            Some(Program::CgroupSkb(program)) => program.info(),
            Some(Program::SchedClassifier(program)) => program.info(),
            Some(Program::SockOps(program)) => program.info(),
            _ => return Ok(None),
        };
        let info =
            info.map_err(|source| KernelError::Info { program: name, source: Box::new(source) })?;
        Ok(Some(ProgramUsage {
            program: name,
            id: info.id(),
            verified_instructions: info.verified_instruction_count(),
            runs: info.run_count(),
            run_time: info.run_time(),
        }))
    }
}

//! Attaching, taking over and detaching: every link is pinned, so that it outlives the agent.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    programs::{
        CgroupAttachMode, CgroupSkbAttachType, LinkOrder, Program, ProgramError, links::FdLink,
        tc::TcAttachOptions,
    },
};
use exeat_common::limits::program;

use super::wires::Wiring;
use crate::datapath::{
    Attaching, Attachment, Takeover, filter,
    pins::unpin_link,
    probe,
    syscall::{create_getsockopt_link, pin_link, update_pinned_link},
};

/// The programs at a cgroup, in the order in which they are attached. Those that tell of redirects come before those
/// that redirect. Towards the workload last: without the hook that notes the questions it would take every answer for
/// one that nobody asked for.
const AT_CGROUP: [&str; 13] = [
    program::SOCK_CREATE,
    program::RECVMSG4,
    program::RECVMSG6,
    program::GETPEERNAME4,
    program::GETPEERNAME6,
    program::CONNECTIONS,
    program::GETSOCKOPT,
    program::CONNECT4,
    program::CONNECT6,
    program::SENDMSG4,
    program::SENDMSG6,
    program::EGRESS,
    program::INGRESS,
];

/// The same at an interface.
const AT_WIRE: [&str; 2] = [program::FROM_POD, program::TO_POD];

/// Every program, at whichever place.
pub(super) fn programs() -> impl Iterator<Item = &'static str> {
    AT_CGROUP.into_iter().chain(AT_WIRE)
}

/// Why a place is not enforced.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("open cgroup {path}: {source} (does it exist, and is it in the cgroup2 tree?)")]
    Cgroup { path: PathBuf, source: io::Error },
    #[error("attach {program} to {place}: {source} (is the place still there?)")]
    Attach { program: &'static str, place: String, source: Box<ProgramError> },
    #[error("attach {program} to {place}: {source} (is the place still there?)")]
    Refused { program: &'static str, place: String, source: io::Error },
    #[error("pin the link of {program} to {place} as {path}: {source} (is pinPath writable?)")]
    Pin {
        program: &'static str,
        place: String,
        path: PathBuf,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("take over the link {path}: {source}")]
    Update { path: PathBuf, source: io::Error },
    #[error("{program} is not in the kernel object (built from another version?)")]
    Missing { program: &'static str },
}

/// The pinned links of this node.
pub(super) struct Links {
    folder: PathBuf,
    /// Pins that already run this agent's programs.
    current: BTreeSet<PathBuf>,
    /// Pins that another thread may be making.
    busy: BTreeSet<PathBuf>,
}

type Outcome = (Attachment, Result<Takeover, LinkError>);

impl Links {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, current: BTreeSet::new(), busy: BTreeSet::new() }
    }

    /// Attaches what is wanted, then detaches the rest: a place that changed hands is never free
    /// of both.
    pub(super) fn attach(&mut self, ebpf: &mut Ebpf, wanted: &[Attachment]) -> Vec<Outcome> {
        let mut kept = BTreeSet::new();
        let outcomes = wanted
            .iter()
            .map(|attachment| (attachment.clone(), self.attach_one(ebpf, attachment, &mut kept)))
            .collect();
        self.detach_others(&kept);
        outcomes
    }

    /// Attaching at one place, as work for another thread; all others are left as they are. Only
    /// veths where links can be had are slow enough for that: the rest is done at once.
    pub(super) fn prepare(&mut self, ebpf: &mut Ebpf, wanted: &Attachment) -> Attaching<LinkError> {
        if let Attachment::Wire { interface, ifindex } = wanted
            && probe::at_least(probe::TCX)
        {
            let prepared = Wiring::prepare(ebpf, interface, *ifindex, &self.folder);
            if let Ok(wiring) = &prepared {
                self.busy.extend(wiring.pins().cloned());
            }
            return Box::new(move || prepared?.attach());
        }
        let done = self.attach_one(ebpf, wanted, &mut BTreeSet::new());
        Box::new(move || done)
    }

    /// Takes note of what came of it.
    pub(super) fn conclude(&mut self, wanted: &Attachment, is_attached: bool) {
        let Ok(place) = Place::of(wanted) else { return };
        for name in place.programs() {
            let pin = self.folder.join(place.pin_name(name));
            self.busy.remove(&pin);
            if is_attached {
                self.current.insert(pin);
            }
        }
    }

    /// Lets go of places, whether they are still there or not.
    pub(super) fn detach(&mut self, unwanted: &[Attachment]) {
        // A place that is gone has no identity by which its pins would be found: they are swept out
        // when everything is attached anew.
        let places = unwanted.iter().filter_map(|attachment| Place::of(attachment).ok());
        for place in places {
            for name in place.programs() {
                let pin = self.folder.join(place.pin_name(name));
                self.current.remove(&pin);
                if let Err(error) = unpin_link(&pin)
                    && error.kind() != io::ErrorKind::NotFound
                {
                    tracing::warn!(pin = %pin.display(), %error, "detach a link that is not wanted");
                }
            }
        }
    }

    /// Whether every program is pinned there.
    pub(super) fn holds(&self, attachment: &Attachment) -> bool {
        let Ok(place) = Place::of(attachment) else {
            return false;
        };
        if matches!(place, Place::Wire { .. }) && !probe::at_least(probe::TCX) {
            // Filters have no pins.
            return true;
        }
        place.programs().iter().all(|name| self.folder.join(place.pin_name(name)).exists())
    }

    fn attach_one(
        &mut self,
        ebpf: &mut Ebpf,
        attachment: &Attachment,
        kept: &mut BTreeSet<PathBuf>,
    ) -> Result<Takeover, LinkError> {
        let mut takeover = Takeover::Kept;
        let place = Place::of(attachment)?;
        for name in place.programs() {
            let pin = self.folder.join(place.pin_name(name));
            kept.insert(pin.clone());
            let step = self.attach_program(ebpf, name, &place, &pin)?;
            takeover = match (takeover, step) {
                (_, Takeover::Fresh) | (Takeover::Fresh, _) => Takeover::Fresh,
                (_, Takeover::Updated) | (Takeover::Updated, _) => Takeover::Updated,
                (Takeover::Kept, Takeover::Kept) => Takeover::Kept,
            };
        }
        Ok(takeover)
    }

    fn attach_program(
        &mut self,
        ebpf: &mut Ebpf,
        name: &'static str,
        place: &Place,
        pin: &Path,
    ) -> Result<Takeover, LinkError> {
        if let Place::Wire { interface, .. } = place
            && !probe::at_least(probe::TCX)
        {
            return self.attach_filter(ebpf, name, interface, pin);
        }
        if self.current.contains(pin) && pin.exists() {
            return Ok(Takeover::Kept);
        }
        if pin.exists() {
            if take_over(ebpf, name, pin).is_ok() {
                self.current.insert(pin.to_owned());
                return Ok(Takeover::Updated);
            }
            // The place it was attached to is gone, and so is whatever it enforced there.
            fs::remove_file(pin)
                .map_err(|source| LinkError::Update { path: pin.to_owned(), source })?;
        }
        let not_pinned = |source: Box<dyn std::error::Error + Send + Sync>| LinkError::Pin {
            program: name,
            place: place.to_string(),
            path: pin.to_owned(),
            source,
        };
        match attach_fresh(ebpf, name, place)? {
            Fresh::Link(link) => link.pin(pin).map(drop).map_err(|it| not_pinned(Box::new(it)))?,
            Fresh::Descriptor(link) => {
                pin_link(link.as_fd(), pin).map_err(|it| not_pinned(Box::new(it)))?;
            }
        }
        self.current.insert(pin.to_owned());
        Ok(Takeover::Fresh)
    }

    /// Below 6.6 the hook is a filter. The pin comes first: a filter without one would not be found
    /// again by who cleans up.
    fn attach_filter(
        &mut self,
        ebpf: &mut Ebpf,
        name: &'static str,
        interface: &str,
        pin: &Path,
    ) -> Result<Takeover, LinkError> {
        if self.current.contains(pin) {
            return Ok(Takeover::Kept);
        }
        let place = || format!("interface {interface}");
        let Some(Program::SchedClassifier(program)) = ebpf.program_mut(name) else {
            return Err(LinkError::Missing { program: name });
        };
        if pin.exists() {
            fs::remove_file(pin)
                .map_err(|source| LinkError::Update { path: pin.to_owned(), source })?;
        }
        program.pin(pin).map_err(|source| LinkError::Pin {
            program: name,
            place: place(),
            path: pin.to_owned(),
            source: Box::new(source),
        })?;
        let takeover = filter::attach(program, name, interface).map_err(|source| {
            LinkError::Attach { program: name, place: place(), source: Box::new(source) }
        })?;
        self.current.insert(pin.to_owned());
        Ok(takeover)
    }

    /// Detaches and unpins every link that is not wanted.
    fn detach_others(&mut self, kept: &BTreeSet<PathBuf>) {
        self.current.retain(|pin| kept.contains(pin));
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        let is_unwanted = |pin: &PathBuf| !kept.contains(pin) && !self.busy.contains(pin);
        for pin in entries.flatten().map(|entry| entry.path()).filter(is_unwanted) {
            if let Err(error) = unpin_link(&pin) {
                tracing::warn!(pin = %pin.display(), %error, "detach a link that is not wanted");
            }
        }
    }
}

/// An attachment with what identifies it in the kernel.
enum Place {
    Cgroup { path: PathBuf, id: u64, file: File },
    Wire { interface: String, ifindex: u32 },
}

impl Place {
    fn of(attachment: &Attachment) -> Result<Self, LinkError> {
        match attachment {
            Attachment::Socket { cgroup } => {
                let failed = |source| LinkError::Cgroup { path: cgroup.clone(), source };
                let file = File::open(cgroup).map_err(failed)?;
                // The id of a cgroup is the inode number of its directory.
                let id = file.metadata().map_err(failed)?.ino();
                Ok(Self::Cgroup { path: cgroup.clone(), id, file })
            }
            Attachment::Wire { interface, ifindex } => {
                Ok(Self::Wire { interface: interface.clone(), ifindex: *ifindex })
            }
        }
    }

    fn programs(&self) -> &'static [&'static str] {
        match self {
            Self::Cgroup { .. } => &AT_CGROUP,
            Self::Wire { .. } => &AT_WIRE,
        }
    }

    /// By identity and not by name: a place that was made anew under its old name is another one.
    fn pin_name(&self, program: &str) -> String {
        match self {
            Self::Cgroup { id, .. } => format!("cgroup_{id}_{program}"),
            Self::Wire { ifindex, .. } => filter::pin_name(*ifindex, program),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cgroup { path, .. } => write!(formatter, "cgroup {}", path.display()),
            Self::Wire { interface, .. } => write!(formatter, "interface {interface}"),
        }
    }
}

/// A link that was just made.
enum Fresh {
    Link(FdLink),
    /// Of a kind that aya cannot give away as a link.
    Descriptor(OwnedFd),
}

fn cgroup_direction(program: &str) -> CgroupSkbAttachType {
    if program == program::EGRESS {
        CgroupSkbAttachType::Egress
    } else {
        CgroupSkbAttachType::Ingress
    }
}

fn attach_fresh(ebpf: &mut Ebpf, name: &'static str, place: &Place) -> Result<Fresh, LinkError> {
    let failed = |source: ProgramError| LinkError::Attach {
        program: name,
        place: place.to_string(),
        source: Box::new(source),
    };
    let invalid = |source| LinkError::Pin {
        program: name,
        place: place.to_string(),
        path: PathBuf::new(),
        source: Box::new(source),
    };
    match (ebpf.program_mut(name), place) {
        (Some(Program::CgroupSockAddr(program)), Place::Cgroup { file, .. }) => {
            // Links are always of the kind that leaves other programs in place; the other modes
            // are refused for links.
            let id = program.attach(file, CgroupAttachMode::Single).map_err(failed)?;
            program.take_link(id).map_err(failed)?.try_into().map(Fresh::Link).map_err(invalid)
        }
        (Some(Program::SockOps(program)), Place::Cgroup { file, .. }) => {
            let id = program.attach(file, CgroupAttachMode::Single).map_err(failed)?;
            program.take_link(id).map_err(failed)?.try_into().map(Fresh::Link).map_err(invalid)
        }
        (Some(Program::CgroupSockopt(program)), Place::Cgroup { file, .. }) => {
            let loaded = program.fd().map_err(failed)?;
            create_getsockopt_link(loaded.as_fd(), file.as_fd()).map(Fresh::Descriptor).map_err(
                |source| LinkError::Refused { program: name, place: place.to_string(), source },
            )
        }
        (Some(Program::CgroupSock(program)), Place::Cgroup { file, .. }) => {
            let id = program.attach(file, CgroupAttachMode::Single).map_err(failed)?;
            program.take_link(id).map_err(failed)?.try_into().map(Fresh::Link).map_err(invalid)
        }
        (Some(Program::CgroupSkb(program)), Place::Cgroup { file, .. }) => {
            let mode = CgroupAttachMode::Single;
            let id = program.attach(file, cgroup_direction(name), mode).map_err(failed)?;
            program.take_link(id).map_err(failed)?.try_into().map(Fresh::Link).map_err(invalid)
        }
        (Some(Program::SchedClassifier(program)), Place::Wire { interface, .. }) => {
            let order = TcAttachOptions::TcxOrder(LinkOrder::default());
            let id = program
                .attach_with_options(interface, filter::direction(name), order)
                .map_err(failed)?;
            program.take_link(id).map_err(failed)?.try_into().map(Fresh::Link).map_err(invalid)
        }
        _ => Err(LinkError::Missing { program: name }),
    }
}

/// Gives the pinned link this agent's program.
fn take_over(ebpf: &Ebpf, name: &'static str, pin: &Path) -> Result<(), LinkError> {
    let failed = |source| LinkError::Update { path: pin.to_owned(), source };
    let descriptor = match ebpf.program(name) {
        Some(Program::CgroupSockAddr(program)) => program.fd(),
        Some(Program::CgroupSockopt(program)) => program.fd(),
        Some(Program::CgroupSock(program)) => program.fd(),
        Some(Program::CgroupSkb(program)) => program.fd(),
        Some(Program::SchedClassifier(program)) => program.fd(),
        Some(Program::SockOps(program)) => program.fd(),
        _ => return Err(LinkError::Missing { program: name }),
    };
    let program = descriptor.map_err(|source| failed(io::Error::other(source)))?;
    update_pinned_link(pin, program.as_fd()).map_err(failed)
}

//! Attaching to one veth with what can be taken to another thread. The kernel waits for a grace period
//! at each program, some ten milliseconds, and holds the lock of all links meanwhile.

use std::{
    fs,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use aya::{Ebpf, programs::Program};
use exeat_common::limits::program;

use super::links::LinkError;
use crate::datapath::{
    Takeover, filter,
    syscall::{Wire, create_wire_link, pin_link, update_pinned_link},
};

/// Both programs of one veth, ready to be attached.
pub(super) struct Wiring {
    interface: String,
    ifindex: u32,
    steps: Vec<Step>,
}

struct Step {
    name: &'static str,
    hook: Wire,
    program: OwnedFd,
    pin: PathBuf,
}

impl Wiring {
    pub(super) fn prepare(
        ebpf: &Ebpf,
        interface: &str,
        ifindex: u32,
        folder: &Path,
    ) -> Result<Self, LinkError> {
        let step = |name, hook| {
            let Some(Program::SchedClassifier(program)) = ebpf.program(name) else {
                return Err(LinkError::Missing { program: name });
            };
            let refused = |source| LinkError::Refused {
                program: name,
                place: format!("interface {interface}"),
                source,
            };
            let descriptor = program.fd().map_err(|error| refused(std::io::Error::other(error)))?;
            let program = descriptor.as_fd().try_clone_to_owned().map_err(refused)?;
            let pin = folder.join(filter::pin_name(ifindex, name));
            Ok(Step { name, hook, program, pin })
        };
        // What leaves the pod is on the ingress side of the node's end.
        let steps =
            vec![step(program::FROM_POD, Wire::Ingress)?, step(program::TO_POD, Wire::Egress)?];
        Ok(Self { interface: interface.to_owned(), ifindex, steps })
    }

    /// Where the links will be pinned.
    pub(super) fn pins(&self) -> impl Iterator<Item = &PathBuf> {
        self.steps.iter().map(|step| &step.pin)
    }

    /// Takes over what an earlier agent pinned, and attaches what is missing.
    pub(super) fn attach(self) -> Result<Takeover, LinkError> {
        let mut takeover = Takeover::Updated;
        for step in &self.steps {
            if step.pin.exists() && update_pinned_link(&step.pin, step.program.as_fd()).is_ok() {
                continue;
            }
            takeover = Takeover::Fresh;
            self.attach_fresh(step)?;
        }
        Ok(takeover)
    }

    fn attach_fresh(&self, step: &Step) -> Result<(), LinkError> {
        let place = || format!("interface {}", self.interface);
        if step.pin.exists() {
            // An interface that is gone had this index.
            let failed = |source| LinkError::Update { path: step.pin.clone(), source };
            fs::remove_file(&step.pin).map_err(failed)?;
        }
        let refused = |source| LinkError::Refused { program: step.name, place: place(), source };
        let link =
            create_wire_link(step.program.as_fd(), self.ifindex, step.hook).map_err(refused)?;
        pin_link(link.as_fd(), &step.pin).map_err(|source| LinkError::Pin {
            program: step.name,
            place: place(),
            path: step.pin.clone(),
            source: Box::new(source),
        })
    }
}

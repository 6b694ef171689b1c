//! Debug lines of the programs, from objects that were built with them.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::unix::AsyncFd;

use crate::datapath::syscall::wait_readable;

/// The ring of log lines, passed on to the log of the agent at their own level.
pub(super) struct KernelLog {
    logger: EbpfLogger<&'static dyn log::Log>,
    ready: Option<AsyncFd<OwnedFd>>,
}

impl KernelLog {
    /// Nothing, for an object without debug lines.
    pub(super) fn open(ebpf: &mut Ebpf) -> Option<Self> {
        const MAP: &str = "AYA_LOGS";
        ebpf.map(MAP)?;
        match EbpfLogger::init(ebpf) {
            Ok(logger) => Some(Self { logger, ready: None }),
            Err(error) => {
                tracing::warn!(%error, "debug lines of the kernel programs are not read");
                None
            }
        }
    }

    /// Waits for lines and passes them on.
    pub(super) async fn pass_on(&mut self) -> io::Result<()> {
        if self.ready.is_none() {
            self.ready = Some(wait_readable(self.logger.as_fd().try_clone_to_owned()?)?);
        }
        if let Some(ready) = &self.ready {
            let mut guard = ready.readable().await?;
            guard.clear_ready();
        }
        self.logger.flush();
        Ok(())
    }
}

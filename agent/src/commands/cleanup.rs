//! `exeat cleanup`: takes everything out of the kernel.

use std::{
    io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use exeat_agent::{
    datapath::pins,
    endpoints::memory::memory_path,
    lock::{Lock, lock_path},
};

use super::{Exit, Outcome, output::print, run::read_config};

/// Take everything out of the kernel: programs, tables, and what is enforced by them
///
/// Works on what any version of exeat pinned. Refuses while an agent runs. Doing it twice is no
/// error.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
exeat cleanup --config /etc/exeat/exeat.yaml\n  \
exeat cleanup --pin-path /sys/fs/bpf/exeat")]
pub(super) struct CleanupArgs {
    /// The agent's configuration file, for its `pinPath` and `socket`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pin_path", "socket"])]
    config: Option<PathBuf>,
    /// Where the agent pinned programs and tables
    #[arg(long, value_name = "PATH", default_value = "/sys/fs/bpf/exeat")]
    pin_path: PathBuf,
    /// The agent's unix socket, whose lock says whether one runs
    #[arg(long, value_name = "PATH", default_value = "/run/exeat/exeat.sock")]
    socket: PathBuf,
}

pub(super) fn cleanup(args: &CleanupArgs) -> Outcome {
    let (pin_path, socket) = match &args.config {
        Some(config) => {
            let config = read_config(config)?;
            (config.pin_path, config.socket)
        }
        None => (args.pin_path.clone(), args.socket.clone()),
    };
    // Without a lock file there is no agent, and no reason to make one.
    let lock = if lock_path(&socket).exists() {
        Some(Lock::take(&socket).context("nothing was removed")?)
    } else {
        None
    };
    let removed = pins::cleanup(&pin_path)?;
    remove_leftover(&socket)?;
    remove_leftover(&memory_path(&socket))?;
    drop(lock);
    if removed == pins::Removed::default() {
        print(&format!("nothing to remove at {}", pin_path.display()))?;
    } else {
        let (links, maps) = (removed.links, removed.maps);
        print(&format!(
            "removed {links} programs and links and {maps} tables from {}; nothing is enforced any more",
            pin_path.display()
        ))?;
    }
    Ok(Exit::Good)
}

fn remove_leftover(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

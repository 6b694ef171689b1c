//! What is measured on: its cores, and the words that name it.

use std::path::Path;

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The cores that this process may use.
pub(crate) fn cores() -> Result<Vec<usize>> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).context("the cores of this process")?;
    Ok((0..CpuSet::count()).filter(|core| allowed.is_set(*core) == Ok(true)).collect())
}

/// Keeps a process and all that it starts from now on to one core: this one, if its id is 0.
pub(crate) fn keep_to(core: usize, process: u32) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core).context("a core of this machine")?;
    let process = Pid::from_raw(i32::try_from(process)?);
    sched_setaffinity(process, &set).with_context(|| format!("keep a process to core {core}"))
}

/// The kernel and the processor.
pub(crate) fn name() -> String {
    let read = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let processor = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name")?.split_once(": ").map(|it| it.1.to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    format!("Linux {}, {processor}", kernel.trim())
}

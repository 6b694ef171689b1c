//! What is measured on: its cores, and the words that name it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, setsid};
use rustix::process::setpriority_process;

/// Nice value of who is never kept waiting by others.
const FIRST: i32 = -20;

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

/// Puts this process and all that it starts from now on before what else runs here. Who else wants the
/// cores decides otherwise how long a connection waits for its turn.
pub(crate) fn go_first() -> Result<()> {
    setpriority_process(None, FIRST).context("ask for priority")?;
    // Where the kernel shares the time out by sessions (sched(7), autogroup), it counts within one: this
    // process takes one of its own if it can, which a terminal's end or interrupt does not reach then.
    let group = Path::new("/proc/self/autogroup");
    if group.exists() && setsid().is_ok() {
        set_pdeathsig(Signal::SIGTERM).context("end with who started this")?;
        std::fs::write(group, FIRST.to_string()).context("ask for priority of the session")?;
    }
    Ok(())
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

/// What the threads of a process have run for so far.
pub(crate) fn cpu_time(process: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for thread in
        std::fs::read_dir(format!("/proc/{process}/task")).context("look at its threads")?
    {
        // One that has just ended is of no account.
        let Ok(text) = std::fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let first = text.split(' ').next().context("an empty schedstat")?;
        nanoseconds += first.parse::<u64>().context("the first number of schedstat")?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

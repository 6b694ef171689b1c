//! `exeat-vm`: the first process of a virtual machine with an older kernel. Makes the machine
//! fit, has the steps run by a second process, and switches the machine off.

mod ground;
mod report;
mod steps;

use std::{env, fs, process::Command};

use anyhow::{Context as _, Result};
use nix::sys::reboot::{RebootMode, reboot};

use crate::report::Report;

/// Where reports go: the second serial port. The first one is the kernel's console.
const REPORT_PORT: &str = "/dev/ttyS1";
const AGENT: &str = "/bin/exeat";
/// The argument with which this program starts itself for the steps.
const STEPS: &str = "steps";
/// The word on the kernel's command line for a kernel that the agent has to refuse.
const REFUSED: &str = "exeat=refused";

fn main() -> Result<()> {
    if env::args().nth(1).as_deref() == Some(STEPS) {
        return run_steps();
    }
    if let Err(error) = begin() {
        // Nobody but the console is there to be told, and the report then lacks its end.
        eprintln!("exeat-vm: {error:#}");
    }
    reboot(RebootMode::RB_POWER_OFF).context("switch the machine off")?;
    Ok(())
}

/// A panic of the first process would stop the kernel, so it does little by itself.
fn begin() -> Result<()> {
    ground::prepare()?;
    let program = env::current_exe().context("path of this program")?;
    let mut steps = Command::new(program);
    let status = steps
        .arg(STEPS)
        .env("EXEAT_BIN", AGENT)
        .env("EXEAT_LOG", "exeat_agent=debug")
        .status()
        .context("start the steps")?;
    eprintln!("exeat-vm: the steps ended with {status}");
    Ok(())
}

fn run_steps() -> Result<()> {
    let port = fs::File::options().write(true).open(REPORT_PORT);
    let mut report = Report::new(port.with_context(|| format!("open {REPORT_PORT}"))?);
    let command_line = fs::read_to_string("/proc/cmdline").context("read /proc/cmdline")?;
    if command_line.split_whitespace().any(|word| word == REFUSED) {
        steps::refused(&mut report);
    } else {
        steps::supported(&mut report);
    }
    report.end();
    Ok(())
}

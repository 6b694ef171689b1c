//! One virtual machine: started, listened to, and ended at the latest when its time is up.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    kernels::Unpacked,
    qemu::Qemu,
    report::{self, Line, Report},
};

/// All the time that a machine has, from power on to power off.
const DEADLINE: Duration = Duration::from_mins(20);
/// A panic restarts the machine, which here means that it ends. What protects a machine that is exposed
/// costs much where every instruction is emulated.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 mitigations=off nopti init_on_alloc=0";
const MEMORY_MEGABYTES: u32 = 2048;

/// What a machine is started with.
pub(super) struct Machine<'a> {
    pub(super) kernel: &'a Unpacked,
    pub(super) initramfs: &'a Path,
    /// The kernel's log goes there.
    pub(super) console: PathBuf,
    /// Further words for the kernel's command line.
    pub(super) words: &'a str,
}

impl Machine<'_> {
    /// Runs it to its end, and hands each line of its report to `show`.
    pub(super) fn run(&self, qemu: &Qemu, show: impl Fn(&Line)) -> Result<Report> {
        let mut running = self.start(qemu)?;
        let output = running.child.stdout.take().context("the emulator has no output to read")?;
        let lines = listen(output);
        let end = Instant::now() + DEADLINE;
        let mut report = Report::default();
        loop {
            match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(line) = report::parse(&line) {
                        show(&line);
                        report.add(line);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let why = format!("not at its end after {} s", DEADLINE.as_secs());
                    let failed = Line::Failed { name: "machine".to_owned(), took: DEADLINE, why };
                    show(&failed);
                    report.add(failed);
                    break;
                }
            }
        }
        Ok(report)
    }

    fn start(&self, qemu: &Qemu) -> Result<Running> {
        let console = fs::File::create(&self.console)
            .with_context(|| format!("cannot write {}", self.console.display()))?;
        let mut command = qemu.command();
        // Emulated, since a kernel of a distribution does not start on every virtualised processor.
        command
            .args(["-accel", "tcg", "-cpu", "max", "-machine", "pc", "-smp", "1"])
            .args(["-m", &MEMORY_MEGABYTES.to_string()])
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            // The first serial port is the console, the second one the report.
            .arg("-serial")
            .arg(format!("file:{}", self.console.display()))
            .args(["-serial", "stdio"])
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(self.initramfs)
            .arg("-append")
            .arg(format!("{COMMAND_LINE} {}", self.words))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(console);
        let child = command.spawn().context("cannot start the emulator")?;
        Ok(Running { child })
    }
}

/// A running emulator. Dropping it ends it.
struct Running {
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("cannot end the emulator, process {}: {error}", self.child.id());
        }
    }
}

/// Lines of the report port, as they come.
fn listen(output: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    receiver
}

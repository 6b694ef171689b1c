//! `vm-test`: the agent on other kernels than this machine's, each in a virtual machine.

pub(crate) mod apt;
mod initramfs;
mod kernels;
mod machine;
mod modules;
pub(crate) mod qemu;
mod report;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use self::{
    initramfs::Initramfs,
    kernels::{KERNELS, Kernel, Unpacked},
    machine::Machine,
    qemu::Qemu,
    report::Line,
};
use crate::{build_ebpf, run, setup};

/// Lines of a console that a failure shows.
const CONSOLE_LINES: usize = 25;
const CONSOLE_LETTERS: usize = 600;

#[derive(Args, Default)]
pub(crate) struct Options {
    /// Try only this version, for example 6.1; can be given several times
    #[arg(long, value_name = "VERSION")]
    kernel: Vec<String>,
    /// Build without optimisation
    #[arg(long)]
    debug: bool,
}

/// What came of one kernel.
struct Tried {
    version: &'static str,
    release: String,
    expectation: &'static str,
    took: Duration,
    failures: Vec<String>,
}

/// Machines that run at a time. Each is emulated on one core, and most of the time is that of the
/// slowest kernel.
const AT_A_TIME: usize = 2;

/// Builds, then tries every kernel.
pub(crate) fn vm_test(options: &Options) -> Result<()> {
    let kernels = chosen(&options.kernel)?;
    apt::ensure_apt()?;
    setup::ensure(setup::Scope::Machines)?;
    let qemu = Qemu::find().context("there is no emulator that starts: cargo xtask setup")?;
    let programs = build(options.debug)?;
    let booted = kernels.into_iter().map(|kernel| prepare(kernel, &programs));
    let booted = booted.collect::<Result<Vec<_>>>()?;
    let tried = try_all(&booted, &qemu)?;
    print_table(&tried);
    let failed: Vec<&str> =
        tried.iter().filter(|it| !it.failures.is_empty()).map(|it| it.version).collect();
    if failed.is_empty() {
        return Ok(());
    }
    bail!("not as it should be on Linux {}", failed.join(", "))
}

fn chosen(versions: &[String]) -> Result<Vec<&'static Kernel>> {
    if versions.is_empty() {
        return Ok(KERNELS.iter().collect());
    }
    let find = |version: &String| {
        KERNELS.iter().find(|kernel| kernel.version == version).with_context(|| {
            let known: Vec<&str> = KERNELS.iter().map(|kernel| kernel.version).collect();
            format!("there is no kernel {version} to try; there are {}", known.join(", "))
        })
    };
    versions.iter().map(find).collect()
}

/// Builds what goes into the machines: their programs by name.
fn build(debug: bool) -> Result<Vec<(&'static str, PathBuf)>> {
    build_ebpf::build(&build_ebpf::Options { debug_log: false })?;
    for arguments in [["exeat-agent", "--bin=exeat"], ["exeat-tests", "--bins"]] {
        let mut cargo = run::cargo();
        cargo.args(["build", "--package"]).args(arguments);
        if !debug {
            cargo.arg("--release");
        }
        run::run(&mut cargo)?;
    }
    let profile = run::target(if debug { "debug" } else { "release" });
    let ours = ["exeat", "exeat-probe", "exeat-vm"].map(|name| (name, profile.join(name)));
    let mut programs = Vec::from(ours);
    for name in ["ip", "tc"] {
        let path = run::find_program(name)
            .with_context(|| format!("there is no `{name}` (Debian package iproute2)"))?;
        programs.push((name, path));
    }
    Ok(programs)
}

/// A kernel with all that its machine needs.
struct Prepared {
    kernel: &'static Kernel,
    unpacked: Unpacked,
    initramfs: PathBuf,
}

fn prepare(kernel: &'static Kernel, programs: &[(&str, PathBuf)]) -> Result<Prepared> {
    let unpacked = kernel.fetch()?;
    let initramfs = run::target("vm").join(format!("{}.cpio", kernel.version));
    fs::write(&initramfs, pack(programs, &unpacked.modules)?)
        .with_context(|| format!("cannot write {}", initramfs.display()))?;
    Ok(Prepared { kernel, unpacked, initramfs })
}

/// Tries some at a time; the results are in the order of the kernels.
fn try_all(prepared: &[Prepared], qemu: &Qemu) -> Result<Vec<Tried>> {
    let queue = Mutex::new(prepared.iter().enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        let mut tried = Vec::new();
        while let Some((index, prepared)) = next() {
            tried.push((index, try_kernel(prepared, qemu)?));
        }
        Ok(tried)
    };
    let done: Result<Vec<_>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(work)).collect();
        let end = |worker: thread::ScopedJoinHandle<'_, Result<_>>| {
            worker.join().unwrap_or_else(|_| bail!("a machine's thread panicked"))
        };
        workers.into_iter().map(end).collect()
    });
    let mut tried: Vec<_> = done?.into_iter().flatten().collect();
    tried.sort_by_key(|(index, _)| *index);
    Ok(tried.into_iter().map(|(_, tried)| tried).collect())
}

fn try_kernel(prepared: &Prepared, qemu: &Qemu) -> Result<Tried> {
    let Prepared { kernel, unpacked, initramfs } = prepared;
    let version = kernel.version;
    let console = run::target("vm").join(format!("{version}.log"));
    println!("  {version:<5} booting {} (console: {})", unpacked.release, console.display());
    let started = Instant::now();
    let words = format!("exeat={}", if kernel.supported { "supported" } else { "refused" });
    let machine = Machine { kernel: unpacked, initramfs, console: console.clone(), words: &words };
    let report = machine.run(qemu, |line| show(version, started, line))?;
    let took = started.elapsed();
    fs::remove_file(initramfs).with_context(|| format!("cannot remove {}", initramfs.display()))?;
    let failures = report.failures(report::expected(kernel.supported));
    if !failures.is_empty() {
        println!("  {version:<5} the end of its console:\n{}", tail(&console));
    }
    let expectation = if kernel.supported { "works" } else { "is refused" };
    Ok(Tried { version, release: unpacked.release.clone(), expectation, took, failures })
}

/// The file system of a machine: its programs, its modules in order, and what the kernel starts.
fn pack(programs: &[(&str, PathBuf)], modules: &Path) -> Result<Vec<u8>> {
    let mut initramfs = Initramfs::new();
    for (name, path) in programs {
        initramfs.program(name, path)?;
    }
    for (index, module) in modules::wanted(modules)?.iter().enumerate() {
        initramfs.file(&format!("modules/{index:02}-{}.ko", module.name), &module.content);
    }
    initramfs.link("init", "/bin/exeat-vm");
    Ok(initramfs.finish())
}

fn show(version: &str, started: Instant, line: &Line) {
    let at = started.elapsed().as_secs();
    match line {
        Line::Step { .. } | Line::End => {}
        Line::Note { text } => println!("  {version:<5} {at:>4} s           {text}"),
        Line::Passed { name, took } => {
            println!("  {version:<5} {at:>4} s  {name:<10} passed in {:.1} s", took.as_secs_f64());
        }
        Line::Failed { name, took, why } => {
            println!(
                "  {version:<5} {at:>4} s  {name:<10} FAILED after {:.1} s: {why}",
                took.as_secs_f64()
            );
        }
    }
}

fn print_table(tried: &[Tried]) {
    println!("\n{:<6} {:<30} {:<11} {:>6}  outcome", "Linux", "release", "expected", "time");
    for Tried { version, release, expectation, took, failures } in tried {
        let outcome = if failures.is_empty() { "ok".to_owned() } else { failures.join("; ") };
        println!("{version:<6} {release:<30} {expectation:<11} {:>4} s  {outcome}", took.as_secs());
    }
}

/// The last lines of a console, and of a long line its end.
fn tail(console: &Path) -> String {
    let text = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let first = lines.len().saturating_sub(CONSOLE_LINES);
    let end = |line: &&str| {
        let letters: Vec<char> = line.chars().collect();
        letters[letters.len().saturating_sub(CONSOLE_LETTERS)..].iter().collect::<String>()
    };
    let shown: Vec<String> =
        lines[first..].iter().map(|line| format!("        {}", end(line))).collect();
    shown.join("\n")
}

#[cfg(test)]
mod tests {
    use super::chosen;

    #[test]
    fn kernels_are_chosen_by_version() {
        let versions = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            chosen(&names).map(|found| found.iter().map(|it| it.version).collect::<Vec<_>>())
        };
        assert_eq!(versions(&[]).unwrap(), ["5.10", "6.1", "6.12", "6.18"]);
        assert_eq!(versions(&["6.1"]).unwrap(), ["6.1"]);
        assert!(versions(&["2.4"]).unwrap_err().to_string().contains("there are 5.10, 6.1"));
    }
}

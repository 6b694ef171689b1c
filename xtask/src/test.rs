//! `test`: every test there is, from the pure ones to those against the running kernel.

use std::{
    io::{BufRead as _, BufReader, IsTerminal as _, Write as _, stdout},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};

use crate::{build, leaks, rounds, run, setup, stages::Stages};

#[derive(Args, Default)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    part: Option<Part>,
    /// Run only tests whose name contains this
    filter: Option<String>,
    /// Leave the kernel tests out: nothing is set up, and root is not needed
    #[arg(long)]
    unit: bool,
}

/// A part of the tests with an output of its own.
#[derive(Subcommand)]
enum Part {
    /// Try every way out of a pod, and print the matrix of what reached the other side
    Leaks(leaks::Options),
    /// Resolve new names and connect to each at once, 20 000 times, with the agent killed half-way
    Rounds(rounds::Options),
}

/// Runs the stages in order of cost; the first failure ends it.
pub(crate) fn test(options: &Options) -> Result<()> {
    match &options.part {
        Some(Part::Leaks(options)) => return leaks::leaks(options),
        Some(Part::Rounds(options)) => return rounds::rounds(options),
        None => {}
    }
    if !options.unit && !run::is_root() {
        bail!(
            "the kernel tests make network namespaces and attach kernel programs, which only root \
             may do; try: sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask test\n\
             or leave them out: cargo xtask test --unit"
        );
    }
    let mut stages = Stages::default();
    let mut passed = 0;
    if !options.unit {
        stages.run("build", "cargo xtask build", || {
            setup::ensure(setup::Scope::Tests)?;
            build::compile(&build::Options::default())?;
            Ok("ok".to_owned())
        })?;
    }
    stages.run("unit and property", "cargo xtask test --unit", || {
        // The default members of the workspace are those whose tests need nothing of the machine.
        counted(run::cargo().arg("test"), options, &[], &mut passed)
    })?;
    if !options.unit {
        stages.run("kernel", "cargo test --release -p exeat-tests -- --test-threads=1", || {
            // The tests share the host's kernel: one at a time, so that each sees only its own traffic.
            let mut cargo = run::cargo();
            cargo.args(["test", "--release", "--package", "exeat-tests"]);
            counted(&mut cargo, options, &["--test-threads=1"], &mut passed)
        })?;
    }
    stages.print();
    if passed == 0 {
        bail!("no test has this in its name, so nothing was shown");
    }
    Ok(())
}

/// Runs a `cargo test` whose output passes through, and counts the tests that passed.
fn counted(
    cargo: &mut Command,
    options: &Options,
    arguments: &[&str],
    passed: &mut usize,
) -> Result<String> {
    cargo.arg("--").args(&options.filter).args(arguments);
    if stdout().is_terminal() {
        cargo.arg("--color=always");
    }
    let mut child = cargo.stdout(Stdio::piped()).spawn().context("cannot start cargo test")?;
    let output = child.stdout.take().context("cargo test has no output to read")?;
    let mut count = 0;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cannot read the output of cargo test")?;
        count += passed_in(&String::from_utf8_lossy(&line));
        let mut stdout = stdout().lock();
        stdout.write_all(&line).and_then(|()| stdout.write_all(b"\n"))?;
    }
    let status = child.wait().context("cannot wait for cargo test")?;
    if !status.success() {
        bail!("cargo test failed ({status})");
    }
    if count == 0 && options.filter.is_none() {
        bail!("no test ran: the tests of this stage are missing");
    }
    *passed += count;
    Ok(format!("{count} passed"))
}

/// The number in a closing line of the test harness, `test result: ok. 12 passed; 0 failed; …`.
fn passed_in(line: &str) -> usize {
    let Some(("", rest)) = line.split_once("test result: ") else {
        return 0;
    };
    let number = rest.split(" passed;").next().and_then(|head| head.rsplit(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_counted_and_others_are_not() {
        let check = |line, expected| assert_eq!(passed_in(line), expected, "{line}");
        check("test result: ok. 12 passed; 0 failed; 0 ignored; finished in 0.01s", 12);
        check("test result: \x1b[32mok\x1b[0m. 3 passed; 0 failed; 0 ignored", 3);
        check("test result: ok. 0 passed; 0 failed; 9 filtered out", 0);
        check("test names::passed; ... ok", 0);
        check("it says test result: ok. 5 passed; 0 failed", 0);
    }
}

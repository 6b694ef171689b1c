//! `bench`: what the registry costs, from objects to operations on the kernel's tables, and what a packet costs.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use crate::{build_ebpf, run, setup};

#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    which: Option<Which>,
}

#[derive(Subcommand)]
enum Which {
    /// The compiler of the registry: time, and memory
    Compile {
        /// Measure only what has this in its name
        filter: Option<String>,
    },
    /// The kernel programs on packets and DNS messages, beside a program that does nothing (needs root)
    Wire(Wire),
}

#[derive(Args, Default)]
struct Wire {
    /// Arguments of the measurement, such as `-o json`; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the benchmarks that were asked for, or all of them. They report; no figure fails them.
pub(crate) fn bench(options: &Options) -> Result<()> {
    match &options.which {
        None => {
            compile(None)?;
            wire(&Wire::default())
        }
        Some(Which::Compile { filter }) => compile(filter.as_deref()),
        Some(Which::Wire(options)) => wire(options),
    }
}

/// Needs neither root nor the kernel object.
fn compile(filter: Option<&str>) -> Result<()> {
    let mut cargo = run::cargo();
    cargo.args(["bench", "--package", "exeat-agent", "--bench", "compile", "--"]);
    run::run(cargo.args(filter))
}

fn wire(options: &Wire) -> Result<()> {
    if !run::is_root() {
        bail!("`cargo xtask bench wire` loads kernel programs, which only root may do");
    }
    setup::ensure(setup::Scope::Build)?;
    build_ebpf::build(&build_ebpf::Options { debug_log: false })?;
    build_ebpf::build_replay()?;
    let mut cargo = run::cargo();
    // What is measured runs in the kernel, so the profile of this side plays no part.
    cargo.args(["bench", "--package", "exeat-tests", "--bench", "wire", "--"]);
    run::run(cargo.args(&options.arguments))
}

//! `bench`: what the registry costs, from objects to operations on the kernel's tables, what a packet costs, and
//! exeat beside other ways to the same end.

use std::process::Command;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use crate::{build, build_ebpf, run, setup};

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
    /// A connection and a round trip: nothing, exeat, an nftables set, exeat and iptables into one
    /// Envoy (needs root)
    ///
    /// All processes are kept to one core, and everything is measured in turn, the baseline twice a
    /// round. Writes target/bench/connect.json and connect.svg beside the table. What is not granted
    /// is tried before and after each measurement: that it is refused decides the exit code, and no
    /// figure does.
    Connect(Comparison),
    /// TLS by server name through `exeat gateway`, Envoy and `HAProxy`: connections a second, one long
    /// stream, the slowest first byte (needs root)
    ///
    /// The gateways have a core for themselves. Writes target/bench/gateway.json and gateway.svg; what
    /// else is said of `connect` holds here too.
    Gateway(Comparison),
}

#[derive(Args)]
struct Comparison {
    /// For how long to measure; what has to be built before comes on top
    #[arg(long, default_value_t = MEASURED_SECONDS)]
    seconds: u64,
}

impl Default for Comparison {
    fn default() -> Self {
        Self { seconds: MEASURED_SECONDS }
    }
}

/// Some dozens of rounds.
const MEASURED_SECONDS: u64 = 120;

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
            wire(&Wire::default())?;
            compare("connect", &Comparison::default())?;
            compare("gateway", &Comparison::default())
        }
        Some(Which::Compile { filter }) => compile(filter.as_deref()),
        Some(Which::Wire(options)) => wire(options),
        Some(Which::Connect(options)) => compare("connect", options),
        Some(Which::Gateway(options)) => compare("gateway", options),
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

/// The programs that measure are in `tests`, beside the namespaces they play in.
fn compare(what: &str, options: &Comparison) -> Result<()> {
    if !run::is_root() {
        bail!(
            "`cargo xtask bench {what}` makes network namespaces and attaches kernel programs, which only \
             root may do"
        );
    }
    setup::ensure(setup::Scope::Comparisons)?;
    build::compile(&build::Options::default())?;
    let mut cargo = run::cargo();
    cargo.args(["build", "--release", "--package", "exeat-tests"]);
    run::run(cargo.args(["--bin", "exeat-compare", "--bin", "exeat-probe"]))?;
    let mut program = Command::new(run::target("release/exeat-compare"));
    program.args([what, "--seconds", &options.seconds.to_string(), "--output-folder"]);
    run::run(program.arg(run::target("bench")).current_dir(run::root()))
}

//! `build`: the agent's binary with the kernel object inside.

use anyhow::Result;
use clap::Args;

use crate::{build_ebpf, run, setup};

#[derive(Args, Default)]
pub(crate) struct Options {
    /// Build the agent without optimisation, and the kernel programs with their debug lines
    #[arg(long)]
    pub(crate) debug: bool,
}

/// Sets up what building needs, then builds both halves.
pub(crate) fn build(options: &Options) -> Result<()> {
    setup::ensure(setup::Scope::Build)?;
    compile(options)
}

/// Builds both halves where everything is set up.
pub(crate) fn compile(options: &Options) -> Result<()> {
    build_ebpf::build(&build_ebpf::Options { debug_log: options.debug })?;
    let mut cargo = run::cargo();
    cargo.args(["build", "--package", "exeat-agent", "--bin", "exeat"]);
    if !options.debug {
        cargo.arg("--release");
    }
    run::run(&mut cargo)?;
    let profile = if options.debug { "debug" } else { "release" };
    println!("build: {}", run::target(profile).join("exeat").display());
    Ok(())
}

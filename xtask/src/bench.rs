//! `bench`: what the registry costs, from objects to operations on the kernel's tables.

use anyhow::Result;
use clap::Args;

use crate::run;

#[derive(Args)]
pub(crate) struct Options {
    /// Measure only what has this in its name
    filter: Option<String>,
}

/// Runs the benchmarks, which need neither root nor the kernel object.
pub(crate) fn bench(options: &Options) -> Result<()> {
    let mut cargo = run::cargo();
    cargo.args(["bench", "--package", "exeat-agent", "--bench", "compile", "--"]);
    run::run(cargo.args(&options.filter))
}

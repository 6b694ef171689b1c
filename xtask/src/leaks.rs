//! `test leaks`: builds everything, then becomes the leak matrix.

use std::{io::stderr, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use crate::run;

#[derive(Args)]
pub(crate) struct Options {
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// Replaces this process with the matrix, whose exit code says whether everything was held. Standard
/// output has nothing but the matrix: what is built on the way is told on standard error.
pub(crate) fn leaks(options: &Options) -> Result<()> {
    if !run::is_root() {
        bail!(
            "the matrix makes network namespaces and attaches kernel programs, which only root may \
             do; try: sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask test leaks"
        );
    }
    let mut build = run::cargo();
    build.args(["xtask", "build"]);
    run::run(build.stdout(stderr()))?;
    run::run(run::cargo().args(["build", "--release", "--package", "exeat-tests", "--bins"]))?;
    let program = run::target("release/exeat-leaks");
    let word = match options.output {
        Output::Table => "table",
        Output::Json => "json",
    };
    let error = Command::new(&program).args(["--output", word]).current_dir(run::root()).exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}

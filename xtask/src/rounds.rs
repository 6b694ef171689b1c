//! `test rounds`: builds everything, then becomes the rounds.

use std::{os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{build, run, setup};

#[derive(Args)]
pub(crate) struct Options {
    /// Rounds in each of the eight pods, at most 4000
    #[arg(long, default_value_t = 2500)]
    per_pod: u32,
}

/// Replaces this process with the rounds, whose exit code says whether every first connect was made.
pub(crate) fn rounds(options: &Options) -> Result<()> {
    if !run::is_root() {
        bail!(
            "the rounds make network namespaces and attach kernel programs, which only root may do; \
             try: sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask test rounds"
        );
    }
    setup::ensure(setup::Scope::Tests)?;
    build::compile(&build::Options::default())?;
    run::run(run::cargo().args(["build", "--release", "--package", "exeat-tests", "--bins"]))?;
    let program = run::target("release/exeat-rounds");
    let mut command = Command::new(&program);
    command.args(["--per-pod", &options.per_pod.to_string()]).current_dir(run::root());
    Err(command.exec()).with_context(|| format!("cannot start {}", program.display()))
}

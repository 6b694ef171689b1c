//! `demo`: builds everything, then becomes the demo.

use std::{os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{build, run, setup};

#[derive(Args)]
pub(crate) struct Options {
    /// Arguments for the demo itself; `cargo xtask demo -- --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Replaces this process with the demo, so that Ctrl-C, the terminal and the exit code are the
/// demo's own and nothing can end before it has cleaned up.
pub(crate) fn demo(options: &Options) -> Result<()> {
    if !run::is_root() {
        bail!(
            "the demo makes network namespaces and cgroups and attaches kernel programs, which only \
             root may do; try: sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask demo"
        );
    }
    setup::ensure(setup::Scope::Tests)?;
    build::compile(&build::Options::default())?;
    run::run(run::cargo().args(["build", "--release", "--package", "exeat-tests", "--bins"]))?;
    let program = run::target("release/exeat-demo");
    let error = Command::new(&program).args(&options.arguments).current_dir(run::root()).exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}

//! `fuzz`: throws what no person would write at the reader of the registry, for a bounded time.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::run;

/// The version of `cargo-fuzz` that is built where there is none.
const CARGO_FUZZ_VERSION: &str = "0.13.2";
const TARGET: &str = "registry";
/// Bytes of the largest input.
const INPUT_BYTES: u32 = 1 << 20;
/// Memory that the fuzzer and one input may take.
const MEMORY_MEGABYTES: u32 = 512;
/// Time that one input may take. The only timing that decides anything: no test does.
const INPUT_SECONDS: u32 = 1;
/// What the fuzzer starts from. Of a case it reads the registry.
const SEEDS: [&str; 2] = ["tests/conformance", "tests/demo/registry"];

#[derive(Args)]
pub(crate) struct Options {
    /// How long to go on
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u32,
}

/// Builds the fuzzer and runs it. An input that breaks a bound ends it, and is kept in
/// `target/fuzz/artifacts`.
pub(crate) fn fuzz(options: &Options) -> Result<()> {
    let program = run::target("tools/bin/cargo-fuzz");
    if !run::is_executable(&program) {
        install(&program)?;
    }
    let corpus = run::target("fuzz/corpus").join(TARGET);
    let seeds = gather(&corpus)?;
    let artifacts = run::target("fuzz/artifacts").join(TARGET);
    fs::create_dir_all(&artifacts)
        .with_context(|| format!("cannot create {}", artifacts.display()))?;
    println!("fuzz: {seeds} seeds, {} s", options.seconds);
    let mut command = run::isolated(&program);
    command
        .args(["fuzz", "run", TARGET, "--fuzz-dir", "fuzz"])
        // The readers are safe Rust: a sanitizer would find nothing, would distort time and memory,
        // and would want a nightly compiler. Coverage needs none.
        .args(["--sanitizer", "none", "--target-dir"])
        .arg(run::target("fuzz"))
        .arg(&corpus)
        .arg("--")
        .arg(format!("-max_total_time={}", options.seconds))
        .arg(format!("-timeout={INPUT_SECONDS}"))
        .arg(format!("-rss_limit_mb={MEMORY_MEGABYTES}"))
        .arg(format!("-max_len={INPUT_BYTES}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg("-print_final_stats=1");
    run::run(&mut command).with_context(|| {
        format!(
            "an input broke a bound; it is in {} (or the fuzzer did not build)",
            artifacts.display()
        )
    })
}

/// Builds `cargo-fuzz` from crates.io.
fn install(program: &Path) -> Result<()> {
    let build = run::target("tools/build");
    let mut command = run::isolated(run::cargo_path());
    command
        .args(["install", "cargo-fuzz", "--version", CARGO_FUZZ_VERSION, "--locked", "--root"])
        .arg(run::target("tools"))
        .env("CARGO_TARGET_DIR", &build);
    let rustc = run::cargo_path().with_file_name("rustc");
    if run::is_executable(&rustc) {
        command.env("RUSTC", rustc);
    }
    let what = format!("building cargo-fuzz {CARGO_FUZZ_VERSION} into {}", program.display());
    run::logged(&what, "setup-cargo-fuzz", &mut command)?;
    fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))
}

/// Copies the seeds, beside what earlier runs found. Says how many there are.
fn gather(corpus: &Path) -> Result<usize> {
    fs::create_dir_all(corpus).with_context(|| format!("cannot create {}", corpus.display()))?;
    let mut count = 0;
    for folder in SEEDS {
        let folder = run::root().join(folder);
        let entries = fs::read_dir(&folder)
            .with_context(|| format!("cannot read the seeds in {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            let Some(name) = path
                .file_name()
                .filter(|_| path.extension().is_some_and(|extension| extension == "yaml"))
            else {
                continue;
            };
            fs::copy(&path, corpus.join(name))
                .with_context(|| format!("cannot copy {}", path.display()))?;
            count += 1;
        }
    }
    if count == 0 {
        bail!("there are no seeds: are the conformance cases gone?");
    }
    Ok(count)
}

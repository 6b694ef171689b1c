//! `fuzz`: throws what nobody would write at what reads files and DNS messages, for a bounded time.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use crate::run;

/// The version of `cargo-fuzz` that is built where there is none.
const CARGO_FUZZ_VERSION: &str = "0.13.2";
/// Memory that the fuzzer and one input may take.
const MEMORY_MEGABYTES: u32 = 512;
/// Time that one input may take: some thousand times what the slowest takes, so that only what grows
/// without bounds comes near it.
const INPUT_SECONDS: u32 = 10;

#[derive(Args)]
pub(crate) struct Options {
    /// What to fuzz; everything, if nothing is said
    target: Option<Target>,
    /// How long to go on, with all targets together
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u32,
    /// What the random numbers begin with; another each time, if nothing is said
    #[arg(long)]
    seed: Option<u32>,
}

impl Options {
    /// Everything, for so long, and with the same random numbers each time: what breaks then is
    /// what was changed.
    pub(crate) const fn everything_again(seconds: u32) -> Self {
        Self { target: None, seconds, seed: Some(1) }
    }
}

/// What is fuzzed. Each is a program in `fuzz/fuzz_targets`.
#[derive(Clone, Copy, ValueEnum)]
enum Target {
    /// The reader of the registry, and its compiler
    Registry,
    /// The parser of DNS messages that runs in the kernel, beside hickory-proto
    Dns,
}

impl Target {
    const fn name(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Dns => "dns",
        }
    }

    /// Bytes of the largest input.
    const fn input_bytes(self) -> u32 {
        match self {
            Self::Registry => 1 << 20,
            // A question, and an answer as large as the kernel reads them.
            Self::Dns => 1 << 13,
        }
    }

    /// What the fuzzer starts from. Of a case it reads the registry.
    const fn seeds(self) -> &'static [&'static str] {
        match self {
            Self::Registry => &["tests/conformance", "tests/demo/registry"],
            Self::Dns => &["fuzz/corpus/dns"],
        }
    }

    /// Whether a file in those folders is a seed.
    fn is_seed(self, path: &Path) -> bool {
        match self {
            Self::Registry => path.extension().is_some_and(|extension| extension == "yaml"),
            Self::Dns => true,
        }
    }
}

/// Builds the fuzzers and runs them one after the other. An input that breaks a bound ends it, and
/// is kept in `target/fuzz/artifacts`.
pub(crate) fn fuzz(options: &Options) -> Result<()> {
    let program = run::target("tools/bin/cargo-fuzz");
    if !run::is_executable(&program) {
        install(&program)?;
    }
    let one = options.target.map(|target| [target]);
    let targets = one.as_ref().map_or(Target::value_variants(), |one| one);
    let parts = u32::try_from(targets.len()).context("there are few targets")?;
    let seconds = (options.seconds / parts).max(1);
    targets.iter().try_for_each(|target| fuzz_one(&program, *target, seconds, options.seed))
}

fn fuzz_one(program: &Path, target: Target, seconds: u32, seed: Option<u32>) -> Result<()> {
    let name = target.name();
    let corpus = run::target("fuzz/corpus").join(name);
    let seeds = gather(target, &corpus)?;
    let artifacts = run::target("fuzz/artifacts").join(name);
    fs::create_dir_all(&artifacts)
        .with_context(|| format!("cannot create {}", artifacts.display()))?;
    println!("fuzz: {name}, {seeds} seeds, {seconds} s");
    let mut command = run::isolated(program);
    command
        .args(["fuzz", "run", name, "--fuzz-dir", "fuzz"])
        // The readers are safe Rust: a sanitizer would find nothing, would distort time and memory,
        // and would want a nightly compiler. Coverage needs none.
        .args(["--sanitizer", "none", "--target-dir"])
        .arg(run::target("fuzz"))
        .arg(&corpus)
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        // Zero is how libFuzzer says: any.
        .arg(format!("-seed={}", seed.unwrap_or_default()))
        .arg(format!("-timeout={INPUT_SECONDS}"))
        .arg(format!("-rss_limit_mb={MEMORY_MEGABYTES}"))
        .arg(format!("-max_len={}", target.input_bytes()))
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
fn gather(target: Target, corpus: &Path) -> Result<usize> {
    fs::create_dir_all(corpus).with_context(|| format!("cannot create {}", corpus.display()))?;
    let mut count = 0;
    for folder in target.seeds() {
        let folder = run::root().join(folder);
        let entries = fs::read_dir(&folder)
            .with_context(|| format!("cannot read the seeds in {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            let Some(name) = path.file_name().filter(|_| target.is_seed(&path)) else {
                continue;
            };
            fs::copy(&path, corpus.join(name))
                .with_context(|| format!("cannot copy {}", path.display()))?;
            count += 1;
        }
    }
    if count == 0 {
        bail!("there are no seeds for {}: are their files gone?", target.name());
    }
    Ok(count)
}

//! `build-ebpf`: compiles the kernel programs and puts the object where the agent's build looks for it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    run,
    toolchain::{self, Compiler, TARGET, Toolchain},
};

#[derive(Args)]
pub(crate) struct Options {
    /// Compile the debug lines of the kernel programs in
    #[arg(long)]
    pub(crate) debug_log: bool,
}

/// Where the finished object lies. `agent/build.rs` names the same path.
pub(crate) fn object() -> PathBuf {
    run::target("bpf/exeat.bpf.o")
}

/// Where the programs lie that measurements need beside it. `tests/benches/wire` names the same path.
fn replay_object() -> PathBuf {
    run::target("bpf/replay.bpf.o")
}

/// Builds the object with the first toolchain that can, and says which one that was.
pub(crate) fn build(options: &Options) -> Result<()> {
    build_bin("exeat-ebpf", &object(), options)
}

/// Builds what measurements need beside it.
pub(crate) fn build_replay() -> Result<()> {
    build_bin("exeat-replay", &replay_object(), &Options { debug_log: false })
}

fn build_bin(bin: &str, object: &Path, options: &Options) -> Result<()> {
    let toolchain = toolchain::find()?;
    println!("build-ebpf: {toolchain}");
    run::run(cargo(&toolchain, options).args(["--bin", bin]))
        .context("cannot build the kernel programs")?;
    let built = run::target("ebpf").join(TARGET).join("release").join(bin);
    let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    publish(&bytes, object)?;
    println!("build-ebpf: {}, {} bytes", object.display(), bytes.len());
    Ok(())
}

/// Writes the object unless the same bytes are there, so that an unchanged one rebuilds no agent.
fn publish(bytes: &[u8], object: &Path) -> Result<()> {
    if fs::read(object).is_ok_and(|published| published == bytes) {
        return Ok(());
    }
    fs::create_dir_all(run::target("bpf"))
        .and_then(|()| fs::write(object, bytes))
        .with_context(|| format!("cannot write {}", object.display()))
}

/// The cargo call. Its target folder is apart from the host's, so that neither build locks the other out.
fn cargo(toolchain: &Toolchain, options: &Options) -> Command {
    let mut command = match &toolchain.compiler {
        Compiler::Nightly { sysroot } => {
            let mut command = run::isolated(sysroot.join("bin/cargo"));
            command.env("RUSTC", sysroot.join("bin/rustc"));
            command
        }
        Compiler::Prebuilt { rustc } => {
            let mut command = run::isolated(run::cargo_path());
            // aya-ebpf and BPF assembly use unstable features, which a stable rustc allows only so.
            command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
            command
        }
    };
    command
        .args(["build", "--release", "--package", "exeat-ebpf", "--target", TARGET])
        .env("CARGO_TARGET_DIR", run::target("ebpf"))
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(toolchain));
    if matches!(toolchain.compiler, Compiler::Nightly { .. }) {
        command.args(["-Z", "build-std=core"]);
    }
    if options.debug_log {
        command.args(["--features", "debug-log"]);
    }
    command
}

/// The flags, joined as `CARGO_ENCODED_RUSTFLAGS` wants them.
fn rustflags(toolchain: &Toolchain) -> String {
    [
        format!("-Clinker={}", toolchain.linker.display()),
        // Without 32-bit registers and their jumps LLVM emits shifts that hide a value's bounds
        // from the verifier.
        "-Ctarget-cpu=v3".to_owned(),
        // BTF is made from the debug info.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
    ]
    .join("\x1f")
}

//! Hands the kernel object to the compiler; without one the agent still compiles, and refuses to run.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// Names a kernel object to take in place of the one that `cargo xtask build-ebpf` makes.
const OBJECT_VARIABLE: &str = "EXEAT_BPF_OBJECT";

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed={OBJECT_VARIABLE}");
    let variable = |name| env::var_os(name).ok_or_else(|| io::Error::other(format!("no {name}")));
    let embedded = PathBuf::from(variable("OUT_DIR")?).join("exeat.bpf.o");
    if let Some(given) = env::var_os(OBJECT_VARIABLE) {
        return embed(Path::new(&given), &embedded);
    }
    let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("..");
    let built = workspace.join("target/bpf/exeat.bpf.o");
    if built.exists() {
        return embed(&built, &embedded);
    }
    println!(
        "cargo:warning=there is no kernel object, so this exeat cannot run: use `cargo xtask build`"
    );
    // Cargo takes a missing path for a change at every build, but the time of a folder changes
    // just when the object comes to be.
    let folder = workspace.join("target/bpf");
    fs::create_dir_all(&folder)?;
    println!("cargo:rerun-if-changed={}", folder.display());
    fs::write(embedded, [])
}

fn embed(object: &Path, embedded: &Path) -> io::Result<()> {
    println!("cargo:rerun-if-changed={}", object.display());
    fs::copy(object, embedded).map(|_| ()).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot take {}: {error}", object.display()))
    })
}

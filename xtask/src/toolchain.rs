//! Finds what can compile for BPF, in a fixed order, and explains what each way lacks. Installs nothing.

use std::{
    fmt::{self, Display, Formatter},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::run;

/// The target of the kernel object: BPF, little-endian.
pub(crate) const TARGET: &str = "bpfel-unknown-none";
/// The LLVM that our own `bpf-linker` is built against; it reads the output of this or an older one.
pub(crate) const LLVM_MAJOR: u32 = 22;
/// Where Debian puts that LLVM.
pub(crate) const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
/// The version of `bpf-linker` that the setup builds.
pub(crate) const BPF_LINKER_VERSION: &str = "0.13.0";
/// The rustc of Debian's `rustc-web`; a path, because rustup's proxies come first on many a `PATH`.
pub(crate) const SYSTEM_RUSTC: &str = "/usr/bin/rustc";

/// A compiler and a linker that fit each other.
pub(crate) struct Toolchain {
    pub(crate) compiler: Compiler,
    pub(crate) linker: PathBuf,
}

/// The two kinds of compiler that can make the kernel object.
pub(crate) enum Compiler {
    /// A nightly which compiles `core` for the target itself.
    Nightly { sysroot: PathBuf },
    /// The system's rustc with a `core` that was compiled beforehand.
    Prebuilt { rustc: PathBuf },
}

impl Display for Toolchain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.compiler {
            Compiler::Nightly { sysroot } => {
                write!(f, "nightly with rust-src ({}), core built from source", sysroot.display())?;
            }
            Compiler::Prebuilt { rustc } => {
                write!(f, "{} with the prebuilt core of {TARGET}", rustc.display())?;
            }
        }
        write!(f, ", linked by {}", self.linker.display())
    }
}

/// Takes the first way that works; the error says what each one lacks and how to get it.
pub(crate) fn find() -> Result<Toolchain> {
    let linker = Linker::find();
    let without_nightly = match nightly(linker.as_ref()) {
        Ok(toolchain) => return Ok(toolchain),
        Err(lacking) => lacking,
    };
    let without_prebuilt = match prebuilt(linker.as_ref()) {
        Ok(toolchain) => return Ok(toolchain),
        Err(lacking) => lacking,
    };
    anyhow::bail!(
        "no toolchain here can build the kernel object; either of these ways will do.\n\
         1. A nightly with rust-src: {without_nightly}\n\
         {NIGHTLY_COMMANDS}\n\
         2. Debian's prebuilt core: {without_prebuilt}\n   \
            as root on Debian or Ubuntu: cargo xtask setup"
    )
}

/// How to get the first way; setup prints it too, where apt-get is of no use.
pub(crate) const NIGHTLY_COMMANDS: &str = "   \
   rustup toolchain install nightly --component rust-src\n   \
   cargo install bpf-linker --version 0.13.0 --locked --no-default-features --features llvm-22\n   \
   (bpf-linker needs the development files of LLVM 22, and LLVM_PREFIX set to where they are;\n   \
   if `rustc +nightly -vV` names a newer LLVM, take that one and the feature of its number)";

fn nightly(linker: Option<&Linker>) -> Result<Toolchain> {
    let sysroot = nightly_sysroot()?;
    let linker = Linker::fit(linker, &sysroot.join("bin/rustc"))?;
    Ok(Toolchain { compiler: Compiler::Nightly { sysroot }, linker })
}

/// Whether a nightly is there that lacks nothing but the linker which setup builds.
pub(crate) fn has_fitting_nightly() -> bool {
    let own = Linker::own();
    nightly_sysroot()
        .is_ok_and(|sysroot| Linker::fit(Some(&own), &sysroot.join("bin/rustc")).is_ok())
}

fn nightly_sysroot() -> Result<PathBuf> {
    let mut rustup = run::isolated("rustup");
    rustup.args(["run", "nightly", "rustc", "--print", "sysroot"]).env("RUSTUP_AUTO_INSTALL", "0");
    let sysroot = run::output(&mut rustup).ok().context("rustup has no toolchain `nightly`")?;
    let sysroot = PathBuf::from(sysroot.trim());
    if !sysroot.join("lib/rustlib/src/rust/library/core").is_dir() {
        anyhow::bail!("the nightly at {} has no rust-src", sysroot.display());
    }
    Ok(sysroot)
}

fn prebuilt(linker: Option<&Linker>) -> Result<Toolchain> {
    let rustc = PathBuf::from(SYSTEM_RUSTC);
    check_system_rustc()?;
    check_prebuilt_core()?;
    let linker = Linker::fit(linker, &rustc)?;
    Ok(Toolchain { compiler: Compiler::Prebuilt { rustc }, linker })
}

/// Checks that the system's rustc is there and new enough for this workspace.
pub(crate) fn check_system_rustc() -> Result<()> {
    let needed = env!("CARGO_PKG_RUST_VERSION");
    if !run::is_executable(Path::new(SYSTEM_RUSTC)) {
        anyhow::bail!("there is no {SYSTEM_RUSTC}");
    }
    let about = run::output(run::isolated(SYSTEM_RUSTC).arg("-vV"))?;
    let release = field(&about, "release").unwrap_or_default();
    if major_minor(release) < major_minor(needed) {
        anyhow::bail!("{SYSTEM_RUSTC} is {release}, and this workspace needs {needed}");
    }
    Ok(())
}

/// Checks that the system's rustc has `core` for the BPF target.
pub(crate) fn check_prebuilt_core() -> Result<()> {
    let sysroot = run::output(run::isolated(SYSTEM_RUSTC).args(["--print", "sysroot"]))?;
    let folder = Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).join("lib");
    let has_core = fs::read_dir(&folder).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    });
    if !has_core {
        anyhow::bail!("there is no compiled core in {}", folder.display());
    }
    Ok(())
}

/// A `bpf-linker` that starts.
pub(crate) struct Linker {
    path: PathBuf,
    /// The newest LLVM it can read, where that is known.
    llvm_major: Option<u32>,
}

impl Linker {
    /// Our own build first, for its LLVM is known; else whatever `PATH` offers.
    pub(crate) fn find() -> Option<Self> {
        let foreign = run::find_program("bpf-linker").map(|path| Self { path, llvm_major: None });
        [Some(Self::own()), foreign].into_iter().flatten().find(Self::starts)
    }

    fn own() -> Self {
        // In the project, so that the user's home stays as it is.
        Self { path: run::target("tools/bin/bpf-linker"), llvm_major: Some(LLVM_MAJOR) }
    }

    /// A linker whose LLVM library was removed is a file, but no linker.
    fn starts(&self) -> bool {
        run::is_executable(&self.path)
            && run::output(run::isolated(&self.path).arg("--version")).is_ok()
    }

    fn fit(linker: Option<&Self>, rustc: &Path) -> Result<PathBuf> {
        let linker = linker.context("there is no bpf-linker")?;
        let about = run::output(run::isolated(rustc).arg("-vV"))?;
        let llvm = field(&about, "LLVM version").map_or(0, |version| major_minor(version).0);
        if let Some(readable) = linker.llvm_major.filter(|readable| llvm > *readable) {
            anyhow::bail!(
                "{} writes LLVM {llvm}, and {} reads up to {readable}",
                rustc.display(),
                linker.path.display()
            );
        }
        Ok(linker.path.clone())
    }
}

/// A line `name: value` of `rustc -vV`.
fn field<'a>(about: &'a str, name: &str) -> Option<&'a str> {
    about.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// The first two numbers of a version, 0 for what is no number.
fn major_minor(version: &str) -> (u32, u32) {
    let mut numbers = version.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(major_minor("1.100.0-nightly") > major_minor("1.95"));
        assert!(major_minor("1.63.0") < major_minor("1.95"));
        assert_eq!(major_minor("22.1.8"), (22, 1));
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let about = "rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(field(about, "release"), Some("1.96.0"));
        assert_eq!(field(about, "LLVM version"), Some("22.1.8"));
        assert_eq!(field(about, "LLVM"), None);
    }

    #[test]
    fn a_printed_command_names_the_version_that_setup_builds() {
        assert!(NIGHTLY_COMMANDS.contains(&format!("--version {BPF_LINKER_VERSION} ")));
        assert!(NIGHTLY_COMMANDS.contains(&format!("llvm-{LLVM_MAJOR}\n")));
    }
}

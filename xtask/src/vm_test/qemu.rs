//! The emulator: the machine's own, or one unpacked into `target`, where nothing of the system changes.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::apt;
use crate::run;

/// The Debian package, and the program in it.
pub(crate) const PACKAGE: &str = "qemu-system-x86";
const PROGRAM: &str = "qemu-system-x86_64";
/// Where an unpacked one has its libraries and its firmware.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
const FIRMWARE: [&str; 2] = ["usr/share/qemu", "usr/share/seabios"];

/// An emulator that starts.
pub(crate) struct Qemu {
    program: PathBuf,
    /// Where it was unpacked, if it was.
    root: Option<PathBuf>,
}

impl Qemu {
    /// The one on `PATH`, else the unpacked one.
    pub(crate) fn find() -> Option<Self> {
        let installed = run::find_program(PROGRAM).map(|program| Self { program, root: None });
        let unpacked = Self { program: root().join("usr/bin").join(PROGRAM), root: Some(root()) };
        [installed, Some(unpacked)].into_iter().flatten().find(Self::starts)
    }

    fn starts(&self) -> bool {
        run::is_executable(&self.program) && run::output(self.command().arg("--version")).is_ok()
    }

    /// The program with its libraries and firmware; arguments are to follow.
    pub(super) fn command(&self) -> Command {
        let mut command = run::isolated(&self.program);
        if let Some(root) = &self.root {
            let libraries = LIBRARIES.map(|folder| root.join(folder).display().to_string());
            command.env("LD_LIBRARY_PATH", libraries.join(":"));
            for folder in FIRMWARE {
                command.arg("-L").arg(root.join(folder));
            }
        }
        command
    }
}

fn root() -> PathBuf {
    run::target("tools/qemu")
}

/// Unpacks the emulator, and of its libraries those that the machine lacks. Installing it would not do
/// everywhere: its package can want another one removed.
pub(crate) fn unpack() -> Result<()> {
    apt::ensure_apt()?;
    let mut simulate = run::isolated("apt-get");
    simulate.args(["install", "--simulate", "--no-install-recommends", PACKAGE]);
    let plan = run::output(&mut simulate)
        .with_context(|| format!("cannot tell what {PACKAGE} needs (was `apt-get update` run?)"))?;
    let packages = installed_by(&plan);
    if packages.is_empty() {
        bail!("apt-get would install nothing for {PACKAGE}, yet there is no {PROGRAM} that starts");
    }
    println!("  unpacking {PACKAGE} and {} more into {}", packages.len() - 1, root().display());
    remove(&root())?;
    apt::unpack(run::isolated("apt-get"), &packages, &root())
}

/// The packages in the lines `Inst NAME (VERSION …)` of a simulation.
fn installed_by(plan: &str) -> Vec<String> {
    let names = plan.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
    names.map(str::to_owned).collect()
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::installed_by;

    #[test]
    fn a_plan_is_read_for_what_it_would_install() {
        let plan = "Remv qemu-utils [1:10.0]\nInst libfdt1 (1.6 Debian:12 [amd64])\n\
                    Inst seabios (1.16 Debian:12 [all]) []\nConf libfdt1 (1.6 Debian:12 [amd64])\n";
        assert_eq!(installed_by(plan), ["libfdt1", "seabios"]);
    }
}

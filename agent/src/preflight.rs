//! What must hold before the first change in the kernel: capabilities and a place for pins.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::datapath::ask_bpf;

/// Why the agent cannot work here.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    #[error(
        "missing capabilities {}: exeat loads kernel programs and attaches them (run it as root, or grant these capabilities to the service or container)",
        .missing.join(", ")
    )]
    Capabilities { missing: Vec<&'static str> },
    #[error(
        "bpf(2) is forbidden here although the capabilities are there: {source} (a seccomp profile does that: the default one of CRI-O, and of containerd before 1.7; give the container one that allows it)"
    )]
    Seccomp { source: io::Error },
    #[error("read the own capabilities from {path}: {source} (is /proc mounted?)")]
    Status { path: &'static str, source: io::Error },
    #[error(
        "pinPath {pin_path}: {parent} is not on a bpffs, where alone programs and tables outlive the agent (mount one there: mount -t bpf bpf {parent})"
    )]
    NotBpffs { pin_path: PathBuf, parent: PathBuf },
    #[error("pinPath {pin_path}: look at {parent}: {source} (may this user see it?)")]
    PinPath { pin_path: PathBuf, parent: PathBuf, source: io::Error },
}

const STATUS: &str = "/proc/self/status";

/// Numbers of `include/uapi/linux/capability.h`; `CAP_SYS_ADMIN` holds the other one's powers.
const CAP_SYS_ADMIN: u32 = 21;
const NEEDED: [(&str, u32, bool); 3] =
    [("CAP_BPF", 39, true), ("CAP_NET_ADMIN", 12, false), ("CAP_PERFMON", 38, true)];

/// Checks all of it.
pub fn check(pin_path: &Path) -> Result<(), Unfit> {
    let status =
        fs::read_to_string(STATUS).map_err(|source| Unfit::Status { path: STATUS, source })?;
    let missing = missing_capabilities(effective_capabilities(&status));
    if !missing.is_empty() {
        return Err(Unfit::Capabilities { missing });
    }
    check_bpf(ask_bpf())?;
    check_bpffs(pin_path)
}

/// The kernel finds no such pin, or may not be looked at there: it was asked. `EPERM` and `ENOSYS` are
/// what profiles answer.
fn check_bpf(answer: io::Error) -> Result<(), Unfit> {
    match answer.raw_os_error() {
        Some(libc::EPERM | libc::ENOSYS) => Err(Unfit::Seccomp { source: answer }),
        _ => Ok(()),
    }
}

/// The nearest folder that exists at or above the pin path must be on a bpffs.
fn check_bpffs(pin_path: &Path) -> Result<(), Unfit> {
    let parent = pin_path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let kind = statfs(parent).map_err(|errno| Unfit::PinPath {
        pin_path: pin_path.to_owned(),
        parent: parent.to_owned(),
        source: errno.into(),
    })?;
    if kind.filesystem_type() == BPF_FS_MAGIC {
        return Ok(());
    }
    Err(Unfit::NotBpffs { pin_path: pin_path.to_owned(), parent: parent.to_owned() })
}

/// The mask after `CapEff:`; nothing readable is no capability.
fn effective_capabilities(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default()
}

fn missing_capabilities(mask: u64) -> Vec<&'static str> {
    let has = |bit: u32| mask & 1 << bit != 0;
    NEEDED
        .into_iter()
        .filter(|(_, bit, by_admin)| !(has(*bit) || *by_admin && has(CAP_SYS_ADMIN)))
        .map(|(name, ..)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{Unfit, check_bpf, check_bpffs, effective_capabilities, missing_capabilities};

    #[test]
    fn capabilities_are_named() {
        let mask = |text| effective_capabilities(text);
        assert_eq!(
            missing_capabilities(mask("CapPrm:\tff\nCapEff:\t0000000000000000\n")),
            ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"]
        );
        assert!(missing_capabilities(mask("CapEff:\t000001ffffffffff\n")).is_empty());
        assert!(missing_capabilities(1 << 21 | 1 << 12).is_empty());
        assert_eq!(missing_capabilities(1 << 21), ["CAP_NET_ADMIN"]);
        assert_eq!(missing_capabilities(mask("no such line")).len(), 3);
    }

    #[test]
    fn a_profile_of_system_calls_is_told_from_the_kernel() {
        let answer = |errno| check_bpf(io::Error::from_raw_os_error(errno));
        assert!(answer(libc::ENOENT).is_ok() && answer(libc::EACCES).is_ok());
        for errno in [libc::EPERM, libc::ENOSYS] {
            let error = answer(errno).expect_err("a profile").to_string();
            assert!(error.contains("seccomp profile"), "{error}");
        }
    }

    #[test]
    fn a_plain_folder_is_no_bpffs() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = check_bpffs(&folder.path().join("a/b")).expect_err("not a bpffs");
        assert!(matches!(&error, Unfit::NotBpffs { parent, .. } if parent == folder.path()));
        assert!(error.to_string().contains("bpffs"), "{error}");
    }
}

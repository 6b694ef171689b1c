//! The cgroup v2 side of a test: where the tree is mounted, making groups, ending what runs in
//! them and removing them again.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::wait;

/// How long the kernel may take to end the processes of a group.
const ENDED_WITHIN: Duration = Duration::from_secs(5);

/// Where the cgroup v2 tree is mounted: `/sys/fs/cgroup`, or `…/unified` on a hybrid machine.
pub fn mount_point() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    // Fields up to " - " vary in number; the mount point is the fifth, the type follows " - ".
    mounts
        .lines()
        .filter_map(|line| line.split_once(" - "))
        .find(|(_, kind)| kind.starts_with("cgroup2 "))
        .and_then(|(mount, _)| mount.split(' ').nth(4))
        .map(PathBuf::from)
        .context("no cgroup2 file system is mounted (mount -t cgroup2 none /sys/fs/cgroup)")
}

/// Ends every process in `group` and below, then removes all of it. Nothing there is no error.
pub fn remove(group: &Path) -> Result<()> {
    if !group.exists() {
        return Ok(());
    }
    kill(group)?;
    let mut failure = None;
    let gone = wait::holds(ENDED_WITHIN, || match remove_tree(group) {
        Ok(()) => true,
        Err(error) => {
            failure = Some(error);
            false
        }
    });
    match failure {
        Some(error) if !gone => {
            Err(error).with_context(|| format!("remove cgroup {}", group.display()))
        }
        _ => Ok(()),
    }
}

/// Ends every process in `group` and below (Linux 5.14 and newer do it in one write).
pub fn kill(group: &Path) -> Result<()> {
    let path = group.join("cgroup.kill");
    fs::write(&path, "1").with_context(|| format!("write {}", path.display()))
}

fn remove_tree(group: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(group) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

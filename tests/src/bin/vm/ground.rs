//! What a machine needs before anything can be tried in it: file systems, modules, loopback.

use std::ffi::CStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use exeat_tests::netns::ip;
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};

/// File systems: type, and where it is mounted.
const MOUNTS: [(&str, &str); 5] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/tmp"),
    ("cgroup2", "/sys/fs/cgroup"),
];

/// Modules in the order of their names, which is the order to load them in.
const MODULES: &str = "/modules";

pub(crate) fn prepare() -> Result<()> {
    for (kind, place) in MOUNTS {
        fs::create_dir_all(place).with_context(|| format!("make {place}"))?;
        mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("mount {kind} on {place}"))?;
    }
    for folder in ["/run/netns", "/etc"] {
        fs::create_dir_all(folder).with_context(|| format!("make {folder}"))?;
    }
    // Pods get one of their own mounted over it.
    fs::write("/etc/resolv.conf", "").context("write /etc/resolv.conf")?;
    load_modules()?;
    ip(&["link", "set", "lo", "up"], "")
}

fn load_modules() -> Result<()> {
    let entries = fs::read_dir(MODULES).with_context(|| format!("read {MODULES}"))?;
    let mut modules: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    modules.sort();
    ensure!(!modules.is_empty(), "there are no modules in {MODULES}");
    modules.iter().try_for_each(|module| load_module(module))
}

fn load_module(path: &Path) -> Result<()> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let no_parameters: &CStr = c"";
    match finit_module(&file, no_parameters, ModuleInitFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("load module {}", path.display())),
    }
}

//! One run of a test or of the demo: its name, and the one way to remove all that bears it.
//!
//! Everything a run makes carries the run's name `exeat-<pid>-<test>`: network namespaces,
//! a cgroup, a folder with a bpffs. So the same function undoes a run that ended well, one
//! that panicked, one that was interrupted, and one whose process was killed outright.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Once;

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tokio::signal::unix::{SignalKind, signal};

use crate::{cgroup, netns};

const PREFIX: &str = "exeat-";

/// Removes everything the run made when dropped.
#[derive(Debug)]
pub struct RunGuard {
    name: String,
    dir: PathBuf,
    cgroup: PathBuf,
}

impl RunGuard {
    /// Makes the run's folder, bpffs and cgroup, after clearing away what dead runs left.
    pub fn new(test: &str) -> Result<Self> {
        clean_up_on_signals();
        wipe(|pid| !Path::new("/proc").join(pid.to_string()).exists());
        let name = format!("{PREFIX}{}-{test}", std::process::id());
        let dir = std::env::temp_dir().join(&name);
        let cgroup = cgroup::mount_point()?.join(&name);
        let run = Self { name, dir, cgroup };
        fs::create_dir(&run.dir).with_context(|| format!("make {}", run.dir.display()))?;
        let bpffs = run.bpffs();
        fs::create_dir(&bpffs).with_context(|| format!("make {}", bpffs.display()))?;
        mount(Some("bpf"), &bpffs, Some("bpf"), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("mount a bpffs on {} (needs root)", bpffs.display()))?;
        fs::create_dir(&run.cgroup).with_context(|| format!("make {}", run.cgroup.display()))?;
        Ok(run)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A folder of the run's own, gone at its end.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A bpffs of the run's own: `/sys/fs/bpf` of the machine is left alone.
    pub fn bpffs(&self) -> PathBuf {
        self.dir.join("bpf")
    }

    /// The cgroup below which all groups of the run are.
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// All there is of runs whose name begins with `run`, as paths of namespaces, cgroups and folders.
pub fn leftovers(run: &str) -> Vec<String> {
    let cgroups = cgroup::mount_point().unwrap_or_default();
    [PathBuf::from("/run/netns"), cgroups, std::env::temp_dir()]
        .iter()
        .flat_map(|folder| {
            names(folder)
                .into_iter()
                .filter(|name| name.starts_with(run))
                .map(|name| folder.join(name).display().to_string())
        })
        .collect()
}

/// Removes every run whose process id is chosen by `chosen`.
fn wipe(chosen: impl Fn(u32) -> bool) {
    let cgroups = cgroup::mount_point().unwrap_or_default();
    for folder in [Path::new("/run/netns"), &cgroups, &std::env::temp_dir()] {
        for name in names(folder) {
            let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
            if pid.and_then(|pid| pid.parse().ok()).is_some_and(&chosen) {
                remove(&name);
            }
        }
    }
}

/// Removes one run. Carries on after a failure and says it on standard error: this runs in
/// drops and in the signal thread, where nobody could take an error.
fn remove(run: &str) {
    let complain = |what: &str, error: &dyn std::fmt::Display| {
        eprintln!("exeat-tests: cannot remove {what} of {run}: {error}");
    };
    // Processes first: they hold namespaces and mounts.
    if let Err(error) = cgroup::mount_point().and_then(|root| cgroup::remove(&root.join(run))) {
        complain("the cgroup", &error);
    }
    for name in names(Path::new("/run/netns")) {
        if name.starts_with(run)
            && let Err(error) = netns::ip(&["netns", "del", &name], "")
        {
            complain("a network namespace", &error);
        }
    }
    let dir = std::env::temp_dir().join(run);
    let bpffs = dir.join("bpf");
    if bpffs.exists() {
        // Not mounted (any more) is as good as unmounted.
        if let Err(error) = umount2(&bpffs, MntFlags::MNT_DETACH)
            && error != nix::errno::Errno::EINVAL
        {
            complain("the bpffs", &error);
            return;
        }
    }
    if let Err(error) = fs::remove_dir_all(&dir)
        && error.kind() != ErrorKind::NotFound
    {
        complain("the folder", &error);
    }
}

/// On SIGINT, SIGTERM and SIGHUP: removes what this process made, then ends it.
fn clean_up_on_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let (ready, is_ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("invariant: a runtime can be built");
            let signal_number = runtime.block_on(async {
                let mut interrupt = signal(SignalKind::interrupt()).expect("handler for SIGINT");
                let mut terminate = signal(SignalKind::terminate()).expect("handler for SIGTERM");
                let mut hangup = signal(SignalKind::hangup()).expect("handler for SIGHUP");
                // The receiver waits for this message and cannot be gone.
                ready.send(()).expect("invariant: the starter waits");
                tokio::select! {
                    _ = interrupt.recv() => 2,
                    _ = terminate.recv() => 15,
                    _ = hangup.recv() => 1,
                }
            });
            eprintln!("exeat-tests: interrupted, cleaning up");
            let own = format!("{PREFIX}{}-", std::process::id());
            // Other threads still run and may just be making things: look again.
            for _ in 0..3 {
                wipe(|pid| pid == std::process::id());
                if leftovers(&own).is_empty() {
                    break;
                }
            }
            #[expect(clippy::disallowed_methods, reason = "the guards' work was just done")]
            std::process::exit(128 + signal_number);
        });
        is_ready.recv().expect("the signal thread started");
    });
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

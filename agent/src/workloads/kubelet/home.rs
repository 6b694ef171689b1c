//! Which network namespace a pod lives in, as its processes show it.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use procfs::process::Process;

/// Where the processes of a pod are.
#[derive(Debug)]
pub enum Home {
    /// There are none (yet).
    Nobody,
    /// In the network namespace of the agent. A container that is being made passes through it.
    Host,
    Own(File),
}

/// Of this thread, which is where the agent's sockets are.
const OWN: &str = "/proc/thread-self/ns/net";

/// Looks for the first process of the container that was made first: the one that holds the pod's
/// namespaces. Those that came later may have moved to namespaces of their own making.
pub fn of_pod(folder: &Path) -> io::Result<Home> {
    let own = fs::metadata(OWN)?.ino();
    let mut home = Home::Nobody;
    for container in containers(folder) {
        let Some(process) = oldest(&container) else { continue };
        // It may have ended meanwhile.
        let Ok(namespace) = File::open(format!("/proc/{process}/ns/net")) else { continue };
        if namespace.metadata()?.ino() != own {
            return Ok(Home::Own(namespace));
        }
        home = Home::Host;
    }
    Ok(home)
}

/// Whether a process is in the pod.
pub fn holds(folder: &Path, process: u32) -> bool {
    let mut processes = Vec::new();
    collect(folder, &mut processes);
    processes.iter().any(|it| u32::try_from(*it) == Ok(process))
}

/// The namespace at `path`, if it is not the agent's.
pub fn at(path: &Path) -> io::Result<Option<File>> {
    let namespace = File::open(path)?;
    Ok((namespace.metadata()?.ino() != fs::metadata(OWN)?.ino()).then_some(namespace))
}

/// Cgroups directly below that of a pod, the oldest first: their inode numbers ascend.
fn containers(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut containers: Vec<(u64, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let metadata = entry.metadata().ok().filter(fs::Metadata::is_dir)?;
            Some((metadata.ino(), entry.path()))
        })
        .collect();
    containers.sort();
    containers.into_iter().map(|(_, path)| path).collect()
}

fn oldest(cgroup: &Path) -> Option<i32> {
    let mut processes = Vec::new();
    collect(cgroup, &mut processes);
    if let [only] = processes[..] {
        return Some(only);
    }
    let age = |process: &i32| Process::new(*process)?.stat().map(|stat| stat.starttime);
    let aged = processes.iter().filter_map(|it| Some((age(it).ok()?, *it)));
    aged.min().map(|(_, process)| process)
}

/// Processes in the cgroup and below. Those of other pid namespaces read as 0.
fn collect(cgroup: &Path, processes: &mut Vec<i32>) {
    let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    let found = text.lines().filter_map(|line| line.parse::<i32>().ok());
    processes.extend(found.filter(|process| *process > 0));
    let Ok(entries) = fs::read_dir(cgroup) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), processes);
        }
    }
}

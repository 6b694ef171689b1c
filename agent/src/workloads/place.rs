//! Where a workload is on this node: cgroup id and depth, interface index. Looks, changes nothing.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    net::if_::if_nametoindex,
    sys::statfs::{CGROUP2_SUPER_MAGIC, statfs},
};

use super::{
    PlacedWorkload, Workload, netns,
    sockets::{self, Sockets},
};

/// What the node is asked. The real one is [`SystemNode`].
pub trait Node: Send {
    fn cgroup(&self, path: &Path) -> Result<Cgroup, Unplaced>;
    fn interface(&self, name: &str) -> Result<u32, Unplaced>;
    /// Cookie of the network namespace in which a workload that is held at its sockets has them.
    fn netns(&self, workload: &Workload) -> Result<u64, Unplaced>;
    /// TCP sockets of the processes in a cgroup.
    fn sockets(&self, cgroup: &Path) -> io::Result<Sockets>;
}

/// A cgroup directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cgroup {
    /// The inode number of the directory.
    pub id: u64,
    /// Levels below the root of the cgroup2 tree.
    pub depth: u8,
}

/// Why something is not where the configuration says.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unplaced {
    #[error("the cgroup {path} is not there (was it removed, or is the path misspelt?)")]
    NoCgroup { path: PathBuf },
    #[error(
        "{path} is not a cgroup directory of the cgroup v2 tree (which is mounted at {mounts})"
    )]
    NotCgroup2 { path: PathBuf, mounts: String },
    #[error(
        "the cgroup {path} is the root of the cgroup tree, where the host itself lives (name one below it)"
    )]
    RootCgroup { path: PathBuf },
    #[error("look at the cgroup {path}: {reason}")]
    Cgroup { path: PathBuf, reason: String },
    #[error(
        "the interface {name} is not there (was it removed, or does the agent run in another network namespace?)"
    )]
    NoInterface { name: String },
    #[error("look up the interface {name}: {reason}")]
    Interface { name: String, reason: String },
    #[error("look at the network namespace {path}: {source_text} (is it still there?)")]
    NetNs { path: PathBuf, source_text: String },
    #[error(
        "the processes of {cgroup} are in another network namespace than the agent, and may open no sockets there (name it with `netns`, or the host side of their veth with `interface`)"
    )]
    OtherNetNs { cgroup: PathBuf },
}

/// A workload with what was found of it, and what was not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Placed {
    pub workload: PlacedWorkload,
    pub missing: Vec<Unplaced>,
}

/// Places one workload. A sidecar's cgroup that is missing is no fault: its container may start
/// later, and until then nothing is taken for it.
pub fn place(node: &dyn Node, workload: &Workload) -> Placed {
    let mut missing = Vec::new();
    let cgroup = workload.cgroup.as_ref().and_then(|path| keep(node.cgroup(path), &mut missing));
    let ifindex =
        workload.interface.as_ref().and_then(|name| keep(node.interface(name), &mut missing));
    let sidecar = workload.sidecar_cgroup.as_ref().and_then(|path| node.cgroup(path).ok());
    let netns_cookie =
        workload.is_held_at_sockets().then(|| keep(node.netns(workload), &mut missing)).flatten();
    let workload = PlacedWorkload {
        workload: workload.clone(),
        cgroup_id: cgroup.map(|cgroup| cgroup.id),
        cgroup_depth: cgroup.map(|cgroup| cgroup.depth),
        ifindex,
        netns_cookie,
        sidecar_cgroup_id: sidecar.map(|cgroup| cgroup.id),
    };
    Placed { workload, missing }
}

fn keep<T>(result: Result<T, Unplaced>, missing: &mut Vec<Unplaced>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            missing.push(error);
            None
        }
    }
}

/// This machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemNode;

impl Node for SystemNode {
    fn cgroup(&self, path: &Path) -> Result<Cgroup, Unplaced> {
        let failed = |reason: String| Unplaced::Cgroup { path: path.to_owned(), reason };
        let real = path.canonicalize().map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                Unplaced::NoCgroup { path: path.to_owned() }
            } else {
                failed(error.to_string())
            }
        })?;
        let mounts = cgroup2_mounts(
            &fs::read_to_string(MOUNTS).map_err(|error| failed(format!("{MOUNTS}: {error}")))?,
            is_tree_root,
        );
        let kind = statfs(&real).map_err(|errno| failed(errno.to_string()))?;
        let mount = mounts
            .iter()
            .filter(|mount| real.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.components().count());
        let metadata = real.metadata().map_err(|error| failed(error.to_string()))?;
        let Some(mount) =
            mount.filter(|_| kind.filesystem_type() == CGROUP2_SUPER_MAGIC && metadata.is_dir())
        else {
            let points: Vec<String> =
                mounts.iter().map(|mount| mount.point.display().to_string()).collect();
            let mounts = if points.is_empty() { "no place".to_owned() } else { points.join(", ") };
            return Err(Unplaced::NotCgroup2 { path: path.to_owned(), mounts });
        };
        let below = real.strip_prefix(&mount.point).map_or(0, |rest| rest.components().count());
        match u8::try_from(mount.depth + below) {
            Ok(0) => Err(Unplaced::RootCgroup { path: path.to_owned() }),
            Ok(depth) => Ok(Cgroup { id: metadata.ino(), depth }),
            Err(_) => Err(failed("it lies more than 255 levels deep".to_owned())),
        }
    }

    fn interface(&self, name: &str) -> Result<u32, Unplaced> {
        if_nametoindex(name).map_err(|errno| {
            if matches!(errno, Errno::ENODEV | Errno::ENXIO) {
                Unplaced::NoInterface { name: name.to_owned() }
            } else {
                Unplaced::Interface { name: name.to_owned(), reason: errno.to_string() }
            }
        })
    }

    fn netns(&self, workload: &Workload) -> Result<u64, Unplaced> {
        netns::home(workload)
    }

    fn sockets(&self, cgroup: &Path) -> io::Result<Sockets> {
        sockets::read(cgroup)
    }
}

const MOUNTS: &str = "/proc/self/mountinfo";

/// Where the cgroup2 tree, or a part of it, is mounted.
pub(super) fn cgroup2_points() -> io::Result<Vec<PathBuf>> {
    let mounts = cgroup2_mounts(&fs::read_to_string(MOUNTS)?, is_tree_root);
    Ok(mounts.into_iter().map(|mount| mount.point).collect())
}

/// A place where the cgroup2 tree, or a part of it, is mounted.
#[derive(Debug, Eq, PartialEq)]
struct Cgroup2Mount {
    point: PathBuf,
    /// Levels of the mounted part below the root of the tree.
    depth: usize,
}

/// Reads `mountinfo` (proc(5)): field 4 is the root within the tree, field 5 the mount point, and
/// the type follows a lone hyphen.
///
/// In a cgroup namespace of its own, as a container has, field 4 climbs to what lies above the
/// namespace (`/../..`) and does not tell how deep that is (`cgroup_namespaces(7)`). The root of the
/// tree shows itself: it alone has no `cgroup.type` (Linux, Documentation/admin-guide/cgroup-v2.rst).
/// Another place above the namespace is no place to count from, and is left out.
fn cgroup2_mounts(mountinfo: &str, is_root: impl Fn(&Path) -> bool) -> Vec<Cgroup2Mount> {
    let mount = |line: &str| {
        let (fields, kind) = line.split_once(" - ")?;
        if !kind.starts_with("cgroup2 ") {
            return None;
        }
        let mut fields = fields.split(' ').skip(3);
        let root = Path::new(fields.next()?);
        let point = PathBuf::from(fields.next()?.replace("\\040", " "));
        let depth = if !root.components().any(|it| it == Component::ParentDir) {
            root.components().count().saturating_sub(1)
        } else if is_root(&point) {
            0
        } else {
            return None;
        };
        Some(Cgroup2Mount { point, depth })
    };
    mountinfo.lines().filter_map(mount).collect()
}

/// Whether the root of the whole tree is mounted there.
fn is_tree_root(point: &Path) -> bool {
    point.join("cgroup.procs").exists() && !point.join("cgroup.type").exists()
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Cgroup2Mount, Node as _, SystemNode, Unplaced, cgroup2_mounts};

    #[test]
    fn mounts_of_the_tree() {
        let text = "22 1 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
                    30 22 0:27 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n\
                    31 22 0:27 /kubepods/pod1 /mnt/my\\040pods rw - cgroup2 none rw\n";
        let mount = |point: &str, depth| Cgroup2Mount { point: PathBuf::from(point), depth };
        let expected = [mount("/sys/fs/cgroup/unified", 0), mount("/mnt/my pods", 2)];
        assert_eq!(cgroup2_mounts(text, |_| panic!("not asked")), expected);
    }

    #[test]
    fn mounts_that_reach_above_the_own_cgroup_namespace() {
        let text = "40 22 0:27 /../../.. /sys/fs/cgroup rw - cgroup2 cgroup rw\n\
                    41 22 0:27 /../.. /mnt/part rw - cgroup2 cgroup rw\n\
                    42 22 0:27 /a /mnt/below rw - cgroup2 cgroup rw\n";
        let mount = |point: &str, depth| Cgroup2Mount { point: PathBuf::from(point), depth };
        let is_root = |point: &Path| point == Path::new("/sys/fs/cgroup");
        let expected = [mount("/sys/fs/cgroup", 0), mount("/mnt/below", 1)];
        assert_eq!(cgroup2_mounts(text, is_root), expected);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let cgroup = SystemNode.cgroup("/nowhere/at/all".as_ref()).expect_err("missing");
        assert_eq!(cgroup, Unplaced::NoCgroup { path: "/nowhere/at/all".into() });
        let plain = SystemNode.cgroup("/proc".as_ref()).expect_err("not a cgroup");
        assert!(matches!(plain, Unplaced::NotCgroup2 { .. }), "{plain}");
        let interface = SystemNode.interface("no-such-if").expect_err("missing");
        assert_eq!(interface, Unplaced::NoInterface { name: "no-such-if".into() });
        assert_eq!(SystemNode.interface("lo").map(|index| index > 0), Ok(true));
    }
}

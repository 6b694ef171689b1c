//! Where the kubelet of this node has its pods.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{home, layout, tree::Tree};
use crate::workloads::{
    place::{Cgroup, Node as _, SystemNode, Unplaced, cgroup2_points},
    roster::Root,
};

/// Why it is not known where pods are.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoRoot {
    #[error(
        "no kubelet has pods below {mounts} (does the agent see the cgroup tree of the host, and has the kubelet run? name the folder with `cgroupRoot`)"
    )]
    Missing { mounts: String },
    #[error(
        "more than one kubelet has pods on this machine: {roots} (name the folder of yours with `cgroupRoot`)"
    )]
    Several { roots: String },
    #[error(transparent)]
    Unplaced(#[from] Unplaced),
    #[error("look for cgroup trees: {reason}")]
    Mounts { reason: String },
}

/// Levels that are searched: nested kubelets are a few levels down.
const LEVELS: usize = 6;

/// The folder that the configuration names, or else the only one there is.
pub fn find(named: Option<&Path>) -> Result<Root, NoRoot> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => search()?,
    };
    let cgroup = SystemNode.cgroup(&path)?;
    Ok(Root { path, cgroup })
}

/// The cgroup of the pod that this process is in, if it is in one. It takes the pid namespace of the
/// host.
pub fn own_pod(root: &Root) -> io::Result<Option<Cgroup>> {
    let tree = Tree::open(&root.path, root.cgroup.depth)?;
    let own = std::process::id();
    let mut folders = tree.folders().values();
    Ok(folders.find(|folder| home::holds(&folder.path, own)).map(|folder| folder.cgroup))
}

fn search() -> Result<PathBuf, NoRoot> {
    let points = cgroup2_points()
        .map_err(|error: io::Error| NoRoot::Mounts { reason: error.to_string() })?;
    let mut roots = Vec::new();
    for point in &points {
        descend(point, LEVELS, &mut roots);
    }
    let list = |paths: &[PathBuf]| -> String {
        let shown: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        shown.join(", ")
    };
    match roots.as_slice() {
        [root] => Ok(root.clone()),
        [] => Err(NoRoot::Missing { mounts: list(&points) }),
        _ => Err(NoRoot::Several { roots: list(&roots) }),
    }
}

fn descend(path: &Path, levels: usize, roots: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name().to_str().is_some_and(layout::is_root) {
            roots.push(entry.path());
        } else if levels > 1 {
            descend(&entry.path(), levels - 1, roots);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::descend;

    #[test]
    fn a_nested_kubelet_is_found_and_nothing_inside_of_its_pods() {
        let tree = tempfile::tempdir().expect("a folder");
        let root = tree.path().join("kubelet.slice/kubelet-kubepods.slice");
        fs::create_dir_all(root.join("pod1/kubepods")).expect("folders");
        fs::create_dir_all(tree.path().join("system.slice/docker")).expect("folders");
        let mut roots = Vec::new();
        descend(tree.path(), 6, &mut roots);
        assert_eq!(roots, [root]);
    }
}

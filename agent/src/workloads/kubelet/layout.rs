//! How kubelets lay pods out in the cgroup tree, and how runtimes name containers in it. Names only:
//! nothing is looked at.
//!
//! ```text
//! cgroupfs  kubepods/[burstable|besteffort/]pod<uid>/<container>
//! systemd   kubepods.slice/[kubepods-burstable.slice/]kubepods-burstable-pod<uid>.slice/cri-containerd-<container>.scope
//! nested    kubelet/kubepods/…  kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod<uid>.slice/…
//! ```
//!
//! Source: `pkg/kubelet/cm/pod_container_manager_linux.go` and `qos_container_manager_linux.go` of
//! Kubernetes; `--cgroup-root` puts all of it below another cgroup.

use crate::workloads::uid::PodUid;

/// Whether a folder of this name is where a kubelet has its pods.
pub fn is_root(name: &str) -> bool {
    name == "kubepods" || name == "kubepods.slice" || name.ends_with("-kubepods.slice")
}

/// Whose folder this is, if it is a pod's.
pub fn pod(name: &str) -> Option<PodUid> {
    let name = name.strip_suffix(".slice").unwrap_or(name);
    // A uid has none of these letters, so this is the last of them.
    let (before, uid) = name.rsplit_once("pod")?;
    PodUid::parse(uid).filter(|_| before.is_empty() || before.ends_with('-'))
}

/// Id of the container whose folder this is, below a pod's. Monitors of containers are none.
pub fn container(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let (runtime, id) = name.rsplit_once('-').unwrap_or(("", name));
    let is_id = id.len() >= SHORTEST_ID && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_id && !runtime.ends_with("conmon")).then_some(id)
}

/// Runtimes use 64 digits.
const SHORTEST_ID: usize = 12;

#[cfg(test)]
mod tests {
    use super::{container, is_root, pod};
    use crate::workloads::uid::PodUid;

    const UID: &str = "0123abcd-89ab-4def-8123-456789abcdef";

    #[test]
    fn roots() {
        for name in ["kubepods", "kubepods.slice", "kubelet-kubepods.slice", "a-b-kubepods.slice"] {
            assert!(is_root(name), "{name}");
        }
        for name in ["kubelet", "kubelet.slice", "kubepods-burstable.slice", "mykubepods.slice"] {
            assert!(!is_root(name), "{name}");
        }
    }

    #[test]
    fn pods() {
        let under = UID.replace('-', "_");
        let hash = UID.replace('-', "");
        for name in [
            format!("pod{UID}"),
            format!("pod{hash}"),
            format!("kubepods-pod{under}.slice"),
            format!("kubepods-burstable-pod{under}.slice"),
            format!("kubepods-besteffort-pod{hash}.slice"),
            format!("kubelet-kubepods-besteffort-pod{under}.slice"),
        ] {
            assert_eq!(pod(&name), PodUid::parse(UID), "{name}");
        }
        for name in [
            "burstable",
            "kubepods-burstable.slice",
            "pod",
            "pod1",
            &format!("xpod{UID}"),
            &format!("pod{UID}-more"),
        ] {
            assert_eq!(pod(name), None, "{name}");
        }
    }

    #[test]
    fn containers() {
        let id = "a1".repeat(32);
        for name in [
            id.clone(),
            format!("cri-containerd-{id}.scope"),
            format!("crio-{id}.scope"),
            format!("crio-{id}"),
            format!("docker-{id}.scope"),
        ] {
            assert_eq!(container(&name), Some(id.as_str()), "{name}");
        }
        for name in [
            "init.scope".to_owned(),
            "app".to_owned(),
            format!("crio-conmon-{id}.scope"),
            format!("crio-conmon-{id}"),
        ] {
            assert_eq!(container(&name), None, "{name}");
        }
    }
}

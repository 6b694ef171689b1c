//! What the kernel must offer, each with the version that brought it.

use aya::util::KernelVersion;

/// Something exeat cannot do without.
struct Feature {
    name: &'static str,
    /// First kernel version, as (major, minor).
    since: (u8, u8),
}

/// In the order of their versions. Sources: the commit that added each, by its release.
const NEEDED: [Feature; 7] = [
    Feature { name: "links of cgroup programs (BPF_LINK_CREATE)", since: (5, 7) },
    Feature { name: "the ring buffer (BPF_MAP_TYPE_RINGBUF)", since: (5, 8) },
    Feature {
        name: "the cgroup of a packet's socket (bpf_skb_ancestor_cgroup_id in cgroup_skb)",
        since: (5, 10),
    },
    Feature { name: "handing a packet back to the pod (bpf_redirect_peer)", since: (5, 10) },
    Feature { name: "atomic exchange in programs (BPF_CMPXCHG)", since: (5, 12) },
    Feature { name: "the cookie of a network namespace (SO_NETNS_COOKIE)", since: (5, 14) },
    Feature { name: "the network namespace cookie in socket hooks", since: (5, 15) },
];

/// First version with the tcx hook, whose attachments are links.
pub(super) const TCX: (u8, u8) = (6, 6);

/// First version whose socket address programs may choose the errno (`bpf_set_retval`).
const SET_RETVAL: (u8, u8) = (5, 18);

/// A kernel that is too old.
#[derive(Debug, thiserror::Error)]
#[error(
    "this kernel lacks {}: exeat needs Linux 5.15 or newer (nothing was attached; use a newer kernel)",
    .missing.join(", ")
)]
pub struct Unsupported {
    missing: Vec<String>,
}

/// Checks every feature; says which are missing.
pub(super) fn check() -> Result<(), Unsupported> {
    check_with(at_least)
}

/// First version whose socket address programs may ask who calls (`bpf_get_current_pid_tgid` for
/// all program types).
const NAME_PROCESS: (u8, u8) = (6, 10);

/// First version whose `getsockopt` programs may ask for the cgroup of the task.
const OPTION_CGROUP: (u8, u8) = (6, 1);

/// Whether it can be told who asks for an original destination.
pub(super) fn can_ask_cgroup() -> bool {
    at_least(OPTION_CGROUP)
}

/// Whether a denial can name the process.
pub(super) fn can_name_process() -> bool {
    at_least(NAME_PROCESS)
}

/// Whether a denied call can fail with another errno than EPERM.
pub(super) fn can_set_errno() -> bool {
    at_least(SET_RETVAL)
}

fn check_with(has: impl Fn((u8, u8)) -> bool) -> Result<(), Unsupported> {
    let missing: Vec<String> = NEEDED
        .iter()
        .filter(|feature| !has(feature.since))
        .map(|Feature { name, since: (major, minor) }| format!("{name} of {major}.{minor}"))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(Unsupported { missing }) }
}

/// Whether this kernel is of that version or newer.
pub(super) fn at_least((major, minor): (u8, u8)) -> bool {
    // A version that cannot be read counts as too old.
    KernelVersion::current().is_ok_and(|current| current >= KernelVersion::new(major, minor, 0))
}

#[cfg(test)]
mod tests {
    use super::check_with;

    #[test]
    fn an_old_kernel_is_told_what_it_lacks() {
        assert!(check_with(|_| true).is_ok());
        let error = check_with(|since| since <= (5, 10)).expect_err("5.10 is too old");
        let text = error.to_string();
        assert!(text.contains("BPF_CMPXCHG) of 5.12") && text.contains("5.15"), "{text}");
        assert!(!text.contains("RINGBUF"), "{text}");
    }
}

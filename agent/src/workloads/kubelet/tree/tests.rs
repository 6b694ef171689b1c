//! Folders that are made as kubelets and runtimes make them.

use std::{fs, path::PathBuf};

use super::{POPULATION, Tree};
use crate::workloads::uid::PodUid;

const UID: &str = "0123abcd-89ab-4def-8123-456789abcdef";
const OTHER: &str = "1123abcd-89ab-4def-8123-456789abcdef";

fn uid(text: &str) -> PodUid {
    PodUid::parse(text).expect("a uid")
}

fn pod(root: &tempfile::TempDir, path: &str) -> PathBuf {
    let path = root.path().join(path);
    fs::create_dir_all(&path).expect("a folder");
    fs::write(path.join(POPULATION), "populated 0\n").expect("a file");
    path
}

fn id(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

#[test]
fn what_is_there_is_found_in_every_layout() {
    let under = UID.replace('-', "_");
    for (path, depth) in [
        (format!("pod{UID}"), 3),
        (format!("burstable/pod{UID}"), 4),
        (format!("kubepods-pod{under}.slice"), 3),
        (format!("kubepods-besteffort.slice/kubepods-besteffort-pod{under}.slice"), 4),
    ] {
        let root = tempfile::tempdir().expect("a folder");
        let path = pod(&root, &path);
        fs::create_dir(path.join(format!("cri-containerd-{}.scope", id(1)))).expect("a container");
        let tree = Tree::open(root.path(), 2).expect("inotify");
        let folder = &tree.folders()[&uid(UID)];
        assert_eq!((&folder.path, folder.cgroup.depth), (&path, depth));
        assert_eq!(folder.containers.keys().collect::<Vec<_>>(), [&id(1)]);
    }
}

#[test]
fn what_comes_and_goes_is_followed() {
    let root = tempfile::tempdir().expect("a folder");
    let mut tree = Tree::open(root.path(), 2).expect("inotify");
    assert!(tree.folders().is_empty() && !tree.read().expect("news").is_changed);

    // A level of its own, a pod in it and a container in that, before anybody looks.
    let path = pod(&root, &format!("burstable/pod{UID}"));
    fs::create_dir(path.join(id(1))).expect("a container");
    let news = tree.read().expect("news");
    assert!(news.is_changed && news.stirred.contains(&uid(UID)));
    assert_eq!(tree.folders()[&uid(UID)].containers.len(), 1);

    fs::create_dir(path.join(id(2))).expect("a container");
    fs::create_dir(path.join("other")).expect("no container");
    assert!(tree.read().expect("news").is_changed);
    assert_eq!(tree.folders()[&uid(UID)].containers.len(), 2);

    fs::write(path.join(POPULATION), "populated 1\n").expect("a process");
    let news = tree.read().expect("news");
    assert!(!news.is_changed && news.stirred.contains(&uid(UID)));

    fs::remove_dir(path.join(id(1))).expect("the container ends");
    assert!(tree.read().expect("news").is_changed);
    assert_eq!(tree.folders()[&uid(UID)].containers.keys().collect::<Vec<_>>(), [&id(2)]);

    fs::remove_dir_all(&path).expect("the pod ends");
    assert!(tree.read().expect("news").is_changed);
    assert!(tree.folders().is_empty());
    // A level that nobody is in stays, and is listened to.
    let _path = pod(&root, &format!("burstable/pod{OTHER}"));
    assert!(tree.read().expect("news").is_changed);
    assert!(tree.folders().contains_key(&uid(OTHER)));
}

#[test]
fn a_pod_that_is_made_anew_is_another_cgroup() {
    let root = tempfile::tempdir().expect("a folder");
    let path = pod(&root, &format!("pod{UID}"));
    let mut tree = Tree::open(root.path(), 2).expect("inotify");
    let before = tree.folders()[&uid(UID)].cgroup.id;
    // Kept, so that its inode number is not given to the next.
    let kept = root.path().join("kept");
    fs::rename(&path, &kept).expect("moved");
    fs::create_dir(&path).expect("anew");
    drop(tree.look_again().expect("news"));
    assert_ne!(tree.folders()[&uid(UID)].cgroup.id, before);
}

#[test]
fn folders_inside_of_a_pod_are_no_pods() {
    let root = tempfile::tempdir().expect("a folder");
    let path = pod(&root, &format!("pod{UID}"));
    let container = path.join(id(1));
    fs::create_dir(&container).expect("a container");
    let mut tree = Tree::open(root.path(), 2).expect("inotify");
    fs::create_dir(path.join(format!("pod{OTHER}"))).expect("a claim to be another");
    fs::create_dir(container.join(format!("pod{OTHER}"))).expect("and one more");
    drop(tree.read().expect("news"));
    drop(tree.look_again().expect("news"));
    assert_eq!(tree.folders().keys().collect::<Vec<_>>(), [&uid(UID)]);
}

#[test]
fn after_an_overrun_everything_is_read_anew() {
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("a limit");
    let most: usize = most.trim().parse().expect("a number");
    let root = tempfile::tempdir().expect("a folder");
    let level = root.path().join("burstable");
    fs::create_dir(&level).expect("a level");
    let mut tree = Tree::open(root.path(), 2).expect("inotify");
    // Names differ, for the kernel merges news that are the same.
    for number in 0..=most / 2 {
        let noise = level.join(number.to_string());
        fs::write(&noise, "").expect("a file");
        fs::remove_file(&noise).expect("gone");
    }
    let _path = pod(&root, &format!("burstable/pod{UID}"));
    let news = tree.read().expect("news");
    assert!(news.was_overrun && news.is_changed);
    assert!(tree.folders().contains_key(&uid(UID)));
    fs::remove_dir_all(level.join(format!("pod{UID}"))).expect("the pod ends");
    assert!(tree.read().expect("news").is_changed, "it is still listened to");
    assert!(tree.folders().is_empty());
}

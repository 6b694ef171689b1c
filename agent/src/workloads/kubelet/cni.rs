//! What libcni keeps of every pod it connected: who it is and where its network namespace is, some
//! time before there are processes in it. Not a promised interface: what cannot be read is left out,
//! and the processes of the pod tell the same later.
//!
//! Source: `libcni/api.go` of containernetworking/cni, `cachedInfo`; the arguments are those of the
//! container runtime.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor},
};
use serde::Deserialize;

use crate::workloads::uid::PodUid;

/// Where libcni keeps it, unless a runtime says otherwise.
pub const FOLDER: &str = "/var/lib/cni/results";

/// What one file says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Connected {
    pub uid: PodUid,
    pub netns: PathBuf,
}

/// Follows the folder.
pub struct CniCache {
    inotify: Inotify,
    folder: PathBuf,
    watch: Option<WatchDescriptor>,
}

/// Files are a few kilobytes.
const LARGEST: u64 = 1 << 20;

#[derive(Deserialize)]
struct Cached {
    kind: String,
    netns: PathBuf,
    #[serde(rename = "cniArgs", default)]
    arguments: Vec<(String, String)>,
}

impl CniCache {
    /// The folder may be made later.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let mut cache = Self { inotify, folder: folder.to_owned(), watch: None };
        cache.subscribe()?;
        Ok(cache)
    }

    /// Subscribes if that could not be done before; then the whole folder is to be read.
    pub fn subscribe(&mut self) -> io::Result<bool> {
        if self.watch.is_some() {
            return Ok(false);
        }
        let flags =
            AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR;
        match self.inotify.add_watch(&self.folder, flags) {
            Ok(watch) => self.watch = Some(watch),
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(self.watch.is_some())
    }

    /// What was written since the last look. After a loss of news, all of it.
    pub fn read(&mut self) -> io::Result<Vec<Connected>> {
        let mut connected = Vec::new();
        loop {
            match self.inotify.read_events() {
                Ok(events) => {
                    for event in events {
                        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                            connected = self.all();
                        } else if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                            self.watch = None;
                        } else if let Some(name) = event.name {
                            connected.extend(read(&self.folder.join(name)));
                        }
                    }
                }
                Err(Errno::EAGAIN) => return Ok(connected),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// What every file says.
    pub fn all(&self) -> Vec<Connected> {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        entries.flatten().filter_map(|entry| read(&entry.path())).collect()
    }
}

impl AsFd for CniCache {
    /// Readable when there are news.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

fn read(path: &Path) -> Option<Connected> {
    let is_small = fs::metadata(path).is_ok_and(|it| it.is_file() && it.len() <= LARGEST);
    let text = is_small.then(|| fs::read(path).ok()).flatten()?;
    parse(&text)
}

fn parse(text: &[u8]) -> Option<Connected> {
    let Cached { kind, netns, arguments } = serde_json::from_slice(text).ok()?;
    let uid = arguments.iter().find(|(key, _)| key == "K8S_POD_UID")?;
    let uid = PodUid::parse(&uid.1).filter(|_| kind == "cniCacheV1")?;
    Some(Connected { uid, netns })
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::{CniCache, Connected, parse};
    use crate::workloads::uid::PodUid;

    const UID: &str = "0123abcd-89ab-4def-8123-456789abcdef";

    fn file(uid: &str, netns: &str) -> String {
        format!(
            r#"{{"kind":"cniCacheV1","containerId":"a1","config":"e30=","ifName":"eth0","networkName":"pods",
            "netns":"{netns}","cniArgs":[["IgnoreUnknown","1"],["K8S_POD_NAMESPACE","shop"],["K8S_POD_NAME","web"],
            ["K8S_POD_INFRA_CONTAINER_ID","a1"],["K8S_POD_UID","{uid}"]],"capabilityArgs":{{"dns":{{}}}},
            "result":{{"cniVersion":"1.0.0","interfaces":[{{"name":"veth0"}}],"ips":[],"dns":{{}}}}}}"#
        )
    }

    fn connected(netns: &str) -> Connected {
        Connected { uid: PodUid::parse(UID).expect("a uid"), netns: PathBuf::from(netns) }
    }

    #[test]
    fn a_file_as_libcni_writes_it() {
        assert_eq!(parse(file(UID, "/run/n1").as_bytes()), Some(connected("/run/n1")));
        for text in ["", "{}", "[]", &file("x", "/run/n1"), &file(UID, "/n").replace("V1", "V9")] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn files_are_followed_in_a_folder_that_comes_later() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("results");
        let mut cache = CniCache::open(&folder).expect("inotify");
        assert_eq!(cache.read().expect("news"), []);
        fs::create_dir(&folder).expect("made");
        fs::write(folder.join("a"), file(UID, "/run/n1")).expect("written");
        assert!(cache.subscribe().expect("inotify"), "now it is there");
        assert_eq!(cache.all(), [connected("/run/n1")]);
        fs::write(folder.join("b"), file(UID, "/run/n2")).expect("written");
        fs::write(folder.join("c"), "half a fi").expect("written");
        assert_eq!(cache.read().expect("news"), [connected("/run/n2")]);
        assert!(!cache.subscribe().expect("inotify"), "once is enough");
    }
}

//! The folders of pods in the cgroup2 tree, followed with inotify(7). A folder is subscribed to
//! before it is read, so nothing that is made meanwhile is missed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor},
};

use super::layout;
use crate::workloads::{place::Cgroup, uid::PodUid};

/// The cgroup of a pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Folder {
    pub path: PathBuf,
    pub cgroup: Cgroup,
    /// Cgroups of its containers, by the ids of these.
    pub containers: BTreeMap<String, Container>,
}

/// The cgroup of a container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Container {
    pub path: PathBuf,
    pub cgroup_id: u64,
}

/// Follows the folders below one root.
pub struct Tree {
    inotify: Inotify,
    root: PathBuf,
    root_depth: u8,
    watched: BTreeMap<WatchDescriptor, Watched>,
    folders: BTreeMap<PodUid, Folder>,
}

/// What a subscription is for.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Watched {
    /// A folder with pods, or with such folders: so many levels below the root.
    Level(PathBuf, u8),
    Pod(PodUid, PathBuf),
    /// Whether there are processes in the pod.
    Population(PodUid),
}

/// What is different since the last look.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TreeNews {
    pub is_changed: bool,
    /// Pods in which something began or ended.
    pub stirred: BTreeSet<PodUid>,
    /// News were lost, and everything was read anew.
    pub was_overrun: bool,
}

/// Levels between the root and a pod, of which kubelets use one.
const LEVELS: u8 = 3;
/// Says whether there are processes in a cgroup, and tells of changes (`cgroup-v2.rst`).
const POPULATION: &str = "cgroup.events";

impl Tree {
    /// Subscribes to what is below `root`, and reads it.
    pub fn open(root: &Path, root_depth: u8) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let mut tree = Self {
            inotify,
            root: root.to_owned(),
            root_depth,
            watched: BTreeMap::new(),
            folders: BTreeMap::new(),
        };
        tree.look_again()?;
        Ok(tree)
    }

    pub const fn folders(&self) -> &BTreeMap<PodUid, Folder> {
        &self.folders
    }

    /// Takes in all news that have come. After a loss of news everything is read anew.
    pub fn read(&mut self) -> io::Result<TreeNews> {
        let mut news = TreeNews::default();
        loop {
            match self.inotify.read_events() {
                Ok(events) => {
                    for event in events {
                        self.take_in(&event, &mut news)?;
                    }
                }
                Err(Errno::EAGAIN) => return Ok(news),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Reads all folders anew. What was subscribed to before stays so.
    pub fn look_again(&mut self) -> io::Result<TreeNews> {
        let before = std::mem::take(&mut self.folders);
        let mut news = TreeNews::default();
        self.enter_level(&self.root.clone(), 0, &mut news)?;
        news.is_changed = before != self.folders;
        news.stirred.extend(self.folders.keys());
        Ok(news)
    }

    fn take_in(&mut self, event: &InotifyEvent, news: &mut TreeNews) -> io::Result<()> {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            let found = self.look_again()?;
            news.is_changed |= found.is_changed;
            news.stirred.extend(found.stirred);
            news.was_overrun = true;
            return Ok(());
        }
        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
            self.watched.remove(&event.wd);
            return Ok(());
        }
        let Some(watched) = self.watched.get(&event.wd).cloned() else {
            return Ok(());
        };
        let name = event.name.as_ref().and_then(|name| name.to_str());
        let is_gone = event.mask.contains(AddWatchFlags::IN_DELETE);
        match (watched, name) {
            (Watched::Population(uid), _) => {
                news.stirred.insert(uid);
            }
            (Watched::Level(path, level), Some(name)) => match layout::pod(name) {
                Some(uid) if is_gone => {
                    let is_it = |folder: &Folder| folder.path == path.join(name);
                    if self.folders.get(&uid).is_some_and(is_it) {
                        self.folders.remove(&uid);
                        news.is_changed = true;
                    }
                }
                Some(uid) => self.enter_pod(uid, &path.join(name), news)?,
                None if !is_gone => self.enter_level(&path.join(name), level + 1, news)?,
                None => {}
            },
            (Watched::Pod(uid, path), Some(name)) => {
                let Some(id) = layout::container(name) else { return Ok(()) };
                let Some(folder) = self.folders.get_mut(&uid).filter(|it| it.path == path) else {
                    return Ok(());
                };
                if is_gone {
                    news.is_changed |= folder.containers.remove(id).is_some();
                } else if let Some(container) = container_at(path.join(name)) {
                    folder.containers.insert(id.to_owned(), container);
                    news.is_changed = true;
                }
                news.stirred.insert(uid);
            }
            (Watched::Level(..) | Watched::Pod(..), None) => {}
        }
        Ok(())
    }

    fn enter_level(&mut self, path: &Path, level: u8, news: &mut TreeNews) -> io::Result<()> {
        if level > LEVELS || !self.watch(path, FOLDER, Watched::Level(path.to_owned(), level))? {
            return Ok(());
        }
        for (name, path) in folders_in(path) {
            match layout::pod(&name) {
                Some(uid) => self.enter_pod(uid, &path, news)?,
                None => self.enter_level(&path, level + 1, news)?,
            }
        }
        Ok(())
    }

    fn enter_pod(&mut self, uid: PodUid, path: &Path, news: &mut TreeNews) -> io::Result<()> {
        if !self.watch(path, FOLDER, Watched::Pod(uid, path.to_owned()))? {
            return Ok(());
        }
        let _is_there =
            self.watch(&path.join(POPULATION), AddWatchFlags::IN_MODIFY, Watched::Population(uid))?;
        let Some(Container { cgroup_id: id, .. }) = container_at(path.to_owned()) else {
            return Ok(());
        };
        // A kubelet makes one folder a pod. Should there be two, the newer one counts.
        if self.folders.get(&uid).is_some_and(|known| known.cgroup.id > id) {
            return Ok(());
        }
        let below = path.strip_prefix(&self.root).map_or(0, |rest| rest.components().count());
        let depth = u8::try_from(usize::from(self.root_depth) + below).unwrap_or(u8::MAX);
        let containers = folders_in(path).into_iter().filter_map(|(name, path)| {
            Some((layout::container(&name)?.to_owned(), container_at(path)?))
        });
        let folder = Folder {
            path: path.to_owned(),
            cgroup: Cgroup { id, depth },
            containers: containers.collect(),
        };
        self.folders.insert(uid, folder);
        news.is_changed = true;
        news.stirred.insert(uid);
        Ok(())
    }

    /// Subscribes; says whether the place is still there.
    fn watch(&mut self, path: &Path, flags: AddWatchFlags, what: Watched) -> io::Result<bool> {
        match self.inotify.add_watch(path, flags) {
            Ok(watch) => {
                self.watched.insert(watch, what);
                Ok(true)
            }
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ENODEV) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Tree {
    /// Readable when there are news.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

const FOLDER: AddWatchFlags =
    AddWatchFlags::IN_CREATE.union(AddWatchFlags::IN_DELETE).union(AddWatchFlags::IN_ONLYDIR);

/// The cgroup at `path`; its id is the inode number.
fn container_at(path: PathBuf) -> Option<Container> {
    let cgroup_id = fs::metadata(&path).ok()?.ino();
    Some(Container { path, cgroup_id })
}

/// Folders in a folder, by name. None in one that is gone.
fn folders_in(path: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = fs::read_dir(path) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .collect()
}

#[cfg(test)]
mod tests;

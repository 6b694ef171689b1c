//! The task that keeps the roster of pods true: it listens to the cgroup tree, the links, libcni and
//! the API, and looks for network namespaces where one is missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::unix::AsyncFd,
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    kubelet::{
        cni::{CniCache, Connected},
        home,
        links::Links,
        tree::Tree,
    },
    netns::Asker,
    pod::Pods,
    roster::{Home, Root, Roster, Sightings},
    uid::PodUid,
};
use crate::datapath::{netns_cookie, wait_readable};

/// What is to be followed.
#[derive(Clone, Debug)]
pub struct Site {
    pub root: Root,
    /// Where libcni keeps what it connected; see [`super::kubelet::cni::FOLDER`].
    pub cni_cache: PathBuf,
    /// Pods are connected by other means than veths.
    pub is_without_veths: bool,
}

/// Why pods cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum CensusError {
    #[error("follow {what}: {source} ({hint})")]
    Follow { what: &'static str, source: io::Error, hint: &'static str },
    #[error("the source of the pods ended (this is a bug of exeat)")]
    SourceEnded,
}

/// Made by [`Census::open`], then [`Census::run`].
pub struct Census {
    tree: Tree,
    links: Links,
    cni: CniCache,
    asker: Asker,
    pods: watch::Receiver<Arc<Pods>>,
    output: watch::Sender<Arc<Roster>>,
    homes: BTreeMap<PodUid, Home>,
    /// When to look for the namespace of a pod again, and how long was waited before.
    searches: BTreeMap<PodUid, Search>,
    node_cookie: u64,
    is_without_veths: bool,
}

#[derive(Clone, Copy, Debug)]
struct Search {
    at: Instant,
    wait: Duration,
}

/// First and longest wait before a namespace is looked for again, while a pod has processes and all
/// are still in the namespace of the node.
const WAIT: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(500));
/// How often everything is looked at anew, should a source have kept something back.
const AGAIN: Duration = Duration::from_secs(15);

impl Census {
    /// Subscribes to everything, then looks at what is there. `pods` holds the whole list by now:
    /// so does the roster.
    pub fn open(
        site: Site,
        pods: watch::Receiver<Arc<Pods>>,
    ) -> Result<(Self, watch::Receiver<Arc<Roster>>), CensusError> {
        let Site { root, cni_cache, is_without_veths } = site;
        let follow = |what, hint| move |source| CensusError::Follow { what, source, hint };
        let watches = "is fs.inotify.max_user_watches used up?";
        let tree = Tree::open(&root.path, root.cgroup.depth)
            .map_err(follow("the cgroups of pods", watches))?;
        let cni = CniCache::open(&cni_cache).map_err(follow("what libcni keeps", watches))?;
        let links = Links::open().map_err(follow("links", "may this user use rtnetlink?"))?;
        let node_cookie = netns_cookie()
            .map_err(follow("the network namespace of the node", "it takes Linux 5.14"))?;
        let asker = Asker::start().map_err(follow("network namespaces", "are threads used up?"))?;
        let (output, roster) = watch::channel(Arc::default());
        let mut census = Self {
            tree,
            links,
            cni,
            asker,
            pods,
            output,
            homes: BTreeMap::new(),
            searches: BTreeMap::new(),
            node_cookie,
            is_without_veths,
        };
        let everybody = census.tree.folders().keys().copied().collect();
        let now = Instant::now();
        census.stir(&everybody, now);
        census.search(now);
        census.take_in_connected(census.cni.all());
        census.publish();
        Ok((census, roster))
    }

    /// Follows all changes until told to stop.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), CensusError> {
        let ready = |source: &dyn AsFd| -> io::Result<AsyncFd<OwnedFd>> {
            wait_readable(source.as_fd().try_clone_to_owned()?)
        };
        let failed = |source| CensusError::Follow {
            what: "changes of pods",
            source,
            hint: "are descriptors used up?",
        };
        let tree = ready(&self.tree).map_err(failed)?;
        let links = ready(&self.links).map_err(failed)?;
        let cni = ready(&self.cni).map_err(failed)?;
        let mut again = every(AGAIN);
        loop {
            let next = self.searches.values().map(|search| search.at).min();
            let mut is_time = false;
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                changed = self.pods.changed() => changed.map_err(|_| CensusError::SourceEnded)?,
                result = news(&tree) => result.map_err(failed)?,
                result = news(&links) => result.map_err(failed)?,
                result = news(&cni) => result.map_err(failed)?,
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
                _ = again.tick() => is_time = true,
            }
            self.take_in(is_time);
            self.publish();
        }
    }

    /// Takes in whatever has come from any source.
    fn take_in(&mut self, is_time: bool) {
        let now = Instant::now();
        let mut stirred = self.follow_tree(is_time);
        stirred.extend(self.follow_links(is_time));
        self.stir(&stirred, now);
        match self.cni.read() {
            Ok(connected) => self.take_in_connected(connected),
            Err(error) => tracing::warn!(%error, "read what libcni keeps"),
        }
        if is_time && matches!(self.cni.subscribe(), Ok(true)) {
            self.take_in_connected(self.cni.all());
        }
        let folders = self.tree.folders();
        self.searches.retain(|uid, _| folders.contains_key(uid));
        self.search(now);
    }

    /// Pods to look at.
    fn follow_tree(&mut self, is_time: bool) -> BTreeSet<PodUid> {
        let before: Vec<PodUid> = self.tree.folders().keys().copied().collect();
        let mut news = self.tree.read();
        if let (true, Ok(news)) = (is_time, &mut news) {
            match self.tree.look_again() {
                Ok(found) => news.stirred.extend(found.stirred),
                Err(error) => tracing::warn!(%error, "read the cgroups of pods"),
            }
        }
        match news {
            Ok(news) => {
                if news.was_overrun {
                    tracing::warn!("news of cgroups were lost: all of them were read anew");
                }
                // What libcni said of a pod that has no cgroup yet is kept.
                for uid in before.iter().filter(|uid| !self.tree.folders().contains_key(uid)) {
                    self.homes.remove(uid);
                }
                news.stirred
            }
            Err(error) => {
                tracing::error!(%error, "follow the cgroups of pods: looked at every few seconds");
                BTreeSet::new()
            }
        }
    }

    /// Pods to look at.
    fn follow_links(&mut self, is_time: bool) -> BTreeSet<PodUid> {
        let mut news = self.links.read();
        if let (true, Ok(news)) = (is_time, &mut news) {
            match self.links.look_again() {
                Ok(is_changed) => news.is_changed |= is_changed,
                Err(error) => tracing::warn!(%error, "read the links"),
            }
        }
        let news = match news {
            Ok(news) => news,
            Err(error) => {
                tracing::error!(%error, "follow the links: looked at every few seconds");
                return BTreeSet::new();
            }
        };
        if news.was_overrun {
            tracing::warn!("news of links were lost: all of them were read anew");
        }
        let is_gone = |home: &Home| news.was_overrun || news.gone.contains(&home.namespace);
        let gone: BTreeSet<PodUid> =
            self.homes.iter().filter(|(_, home)| is_gone(home)).map(|(uid, _)| *uid).collect();
        self.homes.retain(|uid, _| !gone.contains(uid));
        if news.was_overrun {
            self.take_in_connected(self.cni.all());
        }
        gone
    }

    /// Looks for the namespaces of these pods at once.
    fn stir(&mut self, pods: &BTreeSet<PodUid>, now: Instant) {
        for uid in pods.iter().filter(|uid| !self.homes.contains_key(uid)) {
            self.searches.insert(*uid, Search { at: now, wait: WAIT.0 });
        }
    }

    fn search(&mut self, now: Instant) {
        let due = self.searches.iter().filter(|(_, search)| search.at <= now);
        let due: Vec<(PodUid, Duration)> = due.map(|(uid, it)| (*uid, it.wait)).collect();
        for (uid, wait) in due {
            self.searches.remove(&uid);
            let Some(folder) = self.tree.folders().get(&uid) else { continue };
            match home::of_pod(&folder.path) {
                Ok(home::Home::Own(namespace)) => self.settle(uid, namespace),
                // It is looked for when something happens in the cgroup.
                Ok(home::Home::Nobody) => {}
                Ok(home::Home::Host) if self.is_on_host(uid) => {}
                Ok(home::Home::Host) => {
                    let wait = (wait * 2).min(WAIT.1);
                    self.searches.insert(uid, Search { at: now + wait, wait });
                }
                Err(error) => tracing::warn!(%uid, %error, "look for the namespace of a pod"),
            }
        }
    }

    /// Whether the API says that the pod is in the namespace of the node.
    fn is_on_host(&self, uid: PodUid) -> bool {
        let pods = self.pods.borrow();
        pods.values().any(|pod| pod.is_host_network && PodUid::parse(&pod.uid) == Some(uid))
    }

    fn take_in_connected(&mut self, connected: Vec<Connected>) {
        for Connected { uid, netns } in connected {
            if self.homes.contains_key(&uid) {
                continue;
            }
            match home::at(&netns) {
                Ok(Some(namespace)) => self.settle(uid, namespace),
                Ok(None) => {}
                Err(error) => tracing::debug!(%uid, %error, "open a namespace that libcni names"),
            }
        }
    }

    fn settle(&mut self, uid: PodUid, namespace: File) {
        let number = self.links.number(namespace.as_fd());
        let home = number.and_then(|number| {
            Ok(Home { namespace: number, cookie: self.asker.cookie(namespace)? })
        });
        match home {
            Ok(home) => {
                self.searches.remove(&uid);
                self.homes.insert(uid, home);
            }
            Err(error) => tracing::warn!(%uid, %error, "number the namespace of a pod"),
        }
    }

    fn publish(&mut self) {
        let sightings = Sightings {
            pods: Arc::clone(&self.pods.borrow_and_update()),
            folders: self.tree.folders().clone(),
            homes: self.homes.clone(),
            veths: self.links.veths().clone(),
            node_cookie: self.node_cookie,
            is_without_veths: self.is_without_veths,
        };
        let roster = sightings.roster();
        self.output.send_if_modified(|current| {
            let is_changed = **current != roster;
            if is_changed {
                *current = Arc::new(roster);
            }
            is_changed
        });
    }
}

/// Waits for news, and forgets that there were any: whoever waits reads all of them.
async fn news(source: &AsyncFd<OwnedFd>) -> io::Result<()> {
    source.readable().await?.clear_ready();
    Ok(())
}

fn every(period: Duration) -> Interval {
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

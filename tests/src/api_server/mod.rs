//! An API server of Kubernetes for tests: lists, watches, pages, bookmarks, selectors, definitions
//! of kinds, permissions and forgetting, over HTTP and TLS on a socket of this machine. It keeps
//! objects and nothing else: there are no controllers, and nothing is validated.
//!
//! Source: <https://kubernetes.io/docs/reference/using-api/api-concepts/>.

pub mod gate;
mod kinds;
mod list;
mod request;
mod serve;
mod status;
mod store;
mod watch;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Result;
use tokio::{net::TcpListener, sync::oneshot, task::JoinSet};

use self::{status::Status, store::Store};

/// A running double. It ends with the tasks it was started in.
#[derive(Debug)]
pub struct ApiServer {
    pub address: SocketAddr,
    /// Certificate of the authority that vouches for it, in PEM.
    pub authority: String,
    shared: Arc<Shared>,
    _stop: oneshot::Sender<()>,
}

/// What all requests share.
#[derive(Debug)]
struct Shared {
    store: Mutex<Store>,
    settings: Mutex<Settings>,
    /// Wakes watches.
    changed: tokio::sync::watch::Sender<u64>,
    /// By watch that is being served, the revision of its last bookmark.
    bookmarks: Mutex<BTreeMap<u64, u64>>,
}

#[derive(Debug)]
struct Settings {
    /// By token, the plurals it may not touch.
    tokens: BTreeMap<String, BTreeSet<String>>,
    streams_lists: bool,
    bookmark_every: Duration,
    /// Watches that began in an earlier one end.
    epoch: u64,
}

/// Whoever has it may do everything.
pub const ADMIN: &str = "admin-token";

impl ApiServer {
    /// Starts one on a free port.
    pub async fn start(tasks: &mut JoinSet<()>) -> Result<Self> {
        let (acceptor, authority) = serve::certificate()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let settings = Settings {
            tokens: [(ADMIN.to_owned(), BTreeSet::new())].into(),
            streams_lists: true,
            bookmark_every: Duration::from_mins(1),
            epoch: 0,
        };
        let shared = Arc::new(Shared {
            store: Mutex::new(Store::new()),
            settings: Mutex::new(settings),
            changed: tokio::sync::watch::Sender::new(0),
            bookmarks: Mutex::default(),
        });
        let (stop, stopped) = oneshot::channel();
        tasks.spawn(serve::serve(listener, acceptor, Arc::clone(&shared), stopped));
        Ok(Self { address, authority, shared, _stop: stop })
    }

    /// Whoever has `token` may do everything but touch what is of these plurals.
    pub fn admit(&self, token: &str, but: &[&str]) {
        let but = but.iter().map(|&plural| plural.to_owned()).collect();
        self.shared.settings().tokens.insert(token.to_owned(), but);
    }

    /// Whether lists may be asked for as streams (`sendInitialEvents`).
    pub fn stream_lists(&self, may: bool) {
        self.shared.settings().streams_lists = may;
    }

    pub fn bookmark_every(&self, period: Duration) {
        self.shared.settings().bookmark_every = period;
    }

    /// Forgets all that happened until now: who begins to watch from there must list again.
    pub fn compact(&self) {
        self.shared.store().compact();
    }

    /// Serves a kind, as if its definition had been written.
    pub fn define(&self, group: &str, version: &str, kind: &str) {
        let plural = crate::test_cluster::plural(kind);
        let definition = serde_json::json!({"spec": {
            "group": group, "scope": "Namespaced", "names": {"plural": plural, "kind": kind},
            "versions": [{"name": version, "served": true}],
        }});
        self.shared.store().kinds.define(&definition);
        self.shared.tell();
    }

    /// Writes an object as it is, without a request.
    pub fn insert(&self, plural: &str, object: serde_json::Value) {
        {
            let mut store = self.shared.store();
            let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
            let (namespace, name) = (text("namespace"), text("name"));
            if let Some(drawer) = store.kinds.drawer_of(plural) {
                store.put(&store::Place { drawer, namespace, name }, Some(object));
            }
        }
        self.shared.tell();
    }

    /// Removes an object, forgets that it did, and ends all watches, all at once: nobody is told.
    pub fn forget_object(&self, plural: &str, namespace: &str, name: &str) {
        {
            let mut store = self.shared.store();
            let drawer = store.kinds.drawer_of(plural);
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            if let Some(drawer) = drawer {
                store.put(&store::Place { drawer, namespace, name }, None);
            }
            store.compact();
            self.shared.settings().epoch += 1;
        }
        self.shared.tell();
    }

    pub fn revision(&self) -> u64 {
        self.shared.store().revision()
    }

    /// The revision that every watch has heard of in a bookmark; 0 if there is one that has not.
    pub fn oldest_bookmark(&self) -> u64 {
        self.shared.bookmarks().values().min().copied().unwrap_or(0)
    }

    /// Ends all watches without a word.
    pub fn cut_watches(&self) {
        self.shared.settings().epoch += 1;
        self.shared.tell();
    }
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bookmarks(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.bookmarks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

impl Settings {
    /// What a token may not touch.
    fn denied_to(&self, token: &str) -> Result<BTreeSet<String>, Status> {
        self.tokens.get(token).cloned().ok_or_else(Status::unauthorized)
    }
}

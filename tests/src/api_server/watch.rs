//! Watches: what happens from a revision on, as lines of JSON without end.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{Stream, stream::unfold};
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::{
    sync::watch::Receiver,
    time::{Instant, sleep_until},
};

use super::{
    Shared,
    kinds::Kind,
    list::shown,
    request::{Query, Selection, Target},
    status::Status,
    store::{Change, Store},
};

/// How long a watch lasts if it does not say.
const LASTS: Duration = Duration::from_mins(30);

/// Tells watches apart.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// One watch that is being served.
pub(super) struct Watch {
    shared: Arc<Shared>,
    target: Target,
    kind: Kind,
    selection: Selection,
    is_metadata: bool,
    /// What happened up to this revision was told.
    told: u64,
    lines: VecDeque<Bytes>,
    changed: Receiver<u64>,
    ends: Instant,
    bookmark: Option<Instant>,
    epoch: u64,
    is_over: bool,
    number: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.bookmarks().remove(&self.number);
    }
}

impl Watch {
    /// Begins a watch, or says why not.
    pub(super) fn begin(
        shared: &Arc<Shared>,
        target: &Target,
        kind: &Kind,
        query: &Query,
        is_metadata: bool,
    ) -> Result<Self, Status> {
        let selection = query.selection(kind)?;
        let is_list = wants_list(query, shared.settings().streams_lists)?;
        let lasts = query.number("timeoutSeconds")?.map_or(LASTS, Duration::from_secs);
        let settings = shared.settings();
        let (epoch, every) = (settings.epoch, settings.bookmark_every);
        drop(settings);
        let now = Instant::now();
        let mut watch = Self {
            shared: Arc::clone(shared),
            target: target.clone(),
            kind: kind.clone(),
            selection,
            is_metadata,
            told: query.number("resourceVersion")?.unwrap_or(0),
            lines: VecDeque::new(),
            changed: shared.changed.subscribe(),
            ends: now + lasts,
            bookmark: query.is_set("allowWatchBookmarks").then(|| now + every),
            epoch,
            is_over: false,
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
        };
        shared.bookmarks().insert(watch.number, 0);
        if watch.told == 0 || is_list {
            watch.tell_all(is_list);
        } else {
            let store = shared.store();
            if store.is_forgotten(watch.told) {
                watch.tell_gone(&store);
            }
        }
        Ok(watch)
    }

    /// The lines, until it ends.
    pub(super) fn lines(self) -> impl Stream<Item = Bytes> {
        unfold(self, |mut watch| async { Some((watch.next().await?, watch)) })
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.is_over || self.shared.settings().epoch != self.epoch {
                return None;
            }
            self.tell_changes();
            if !self.lines.is_empty() {
                continue;
            }
            tokio::select! {
                () = sleep_until(self.ends) => return None,
                () = sleep_until(self.bookmark.unwrap_or(self.ends)), if self.bookmark.is_some() => {
                    self.tell_bookmark(false);
                }
                changed = self.changed.changed() => {
                    changed.ok()?;
                }
            }
        }
    }

    /// Tells all objects as they are; at the end of a streamed list says that it is one.
    fn tell_all(&mut self, is_list: bool) {
        let shared = Arc::clone(&self.shared);
        let store = shared.store();
        self.told = store.revision();
        for (place, object) in store.at(&self.target.drawer, self.told).unwrap_or_default() {
            if self.is_within(&place.namespace) && self.selection.fits(&object) {
                self.tell("ADDED", object);
            }
        }
        if is_list {
            self.tell_bookmark(true);
        }
    }

    fn tell_changes(&mut self) {
        let shared = Arc::clone(&self.shared);
        let store = shared.store();
        if store.kinds.find(&self.target.drawer, &self.target.version).is_none() {
            self.is_over = true;
        }
        for change in store.since(&self.target.drawer, self.told) {
            self.told = change.revision;
            self.tell_change(change);
        }
        self.told = self.told.max(store.revision());
    }

    /// What does not fit any more is gone for whoever watches, and what begins to fit is new.
    fn tell_change(&mut self, change: Change) {
        if !self.is_within(&change.place.namespace) {
            return;
        }
        let fits =
            |object: &Option<Value>| object.as_ref().is_some_and(|it| self.selection.fits(it));
        let (did, does) = (fits(&change.before), fits(&change.after));
        let what = match (did, does) {
            (false, false) => return,
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
        };
        let Some(mut object) = (if does { change.after } else { change.before }) else { return };
        // Also what only left the selection is told of with the revision at which it did.
        object["metadata"]["resourceVersion"] = change.revision.to_string().into();
        self.tell(what, object);
    }

    fn is_within(&self, namespace: &str) -> bool {
        self.target.namespace.as_deref().is_none_or(|it| it == namespace)
    }

    fn tell(&mut self, what: &str, object: Value) {
        let object = shown(object, &self.target, &self.kind, self.is_metadata, false);
        self.tell_line(&json!({"type": what, "object": object}));
    }

    fn tell_bookmark(&mut self, ends_list: bool) {
        let Some(bookmark) = &mut self.bookmark else { return };
        self.shared.bookmarks().insert(self.number, self.told);
        *bookmark = Instant::now() + self.shared.settings().bookmark_every;
        let mut metadata = json!({"resourceVersion": self.told.to_string()});
        if ends_list {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let (version, kind) = if self.is_metadata {
            ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadata")
        } else {
            (self.target.api_version(), self.kind.name.as_str())
        };
        let object = json!({"apiVersion": version, "kind": kind, "metadata": metadata});
        self.tell_line(&json!({"type": "BOOKMARK", "object": object}));
    }

    /// In the stream, for its answer has begun.
    fn tell_gone(&mut self, store: &Store) {
        let status = Status::expired(self.told, store.revision());
        self.tell_line(&json!({"type": "ERROR", "object": status.json()}));
        self.is_over = true;
    }

    fn tell_line(&mut self, line: &Value) {
        self.lines.push_back(Bytes::from(format!("{line}\n")));
    }
}

/// Whether the watch is to begin with a list (KEP-3157).
fn wants_list(query: &Query, streams_lists: bool) -> Result<bool, Status> {
    let matching = query.text("resourceVersionMatch");
    if query.text("sendInitialEvents").is_empty() {
        if matching.is_empty() {
            return Ok(false);
        }
        return Err(Status::invalid(
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ));
    }
    if !streams_lists {
        return Err(Status::invalid(
            "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
        ));
    }
    if matching != "NotOlderThan" {
        return Err(Status::invalid(
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ));
    }
    Ok(query.is_set("sendInitialEvents"))
}

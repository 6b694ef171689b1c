//! The source task for files: notices changes, loads, publishes. What the files mean is the
//! business of [`super::load`].

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    load::{Loaded, load},
    report::{Report, Severity},
};

/// Quiet time after a change, so that a file which is written in pieces is read once.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// How many times the files may change during the quiet time before they are read all the same: who
/// writes without end must not keep every other change out.
const UNQUIET: u32 = 10;
/// For changes that no notification told of: other file systems, folders made anew.
const POLL: Duration = Duration::from_secs(5);

/// The registry that is in force, and how fresh it is.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub loaded: Arc<Loaded>,
    /// When it was last read.
    pub read: SystemTime,
    /// Since when some file cannot be read or parsed, so that what it said before is in force.
    pub stale_since: Option<Instant>,
    /// When the change that led to it was noticed; none for the one the agent started with.
    pub noticed: Option<Instant>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self::started(Loaded::default())
    }
}

impl Snapshot {
    /// What the agent starts with.
    pub fn started(loaded: Loaded) -> Self {
        Self {
            loaded: Arc::new(loaded),
            read: SystemTime::UNIX_EPOCH,
            stale_since: None,
            noticed: None,
        }
    }

    /// How long the registry has not been what the files say; zero while all can be read.
    pub fn age(&self, now: Instant) -> Duration {
        self.stale_since.map_or(Duration::ZERO, |since| now.duration_since(since))
    }
}

/// Loads the registry for the start of the agent: every path must be there and every file
/// readable, because there is nothing older to fall back on.
pub fn load_first(paths: &[PathBuf]) -> Result<Snapshot, Vec<String>> {
    let loaded = load(paths, None);
    if loaded.errors.is_empty() {
        return Ok(Snapshot { read: SystemTime::now(), ..Snapshot::started(loaded) });
    }
    Err(loaded.errors.iter().map(|error| format!("registry: {error}")).collect())
}

/// Why the task ended.
#[derive(Debug, thiserror::Error)]
#[error("load the registry: the loading thread panicked (this is a bug of exeat)")]
pub struct LoadPanicked;

/// Publishes a new snapshot whenever the files say something else. Runs until `stop`.
pub async fn watch_files(
    paths: Vec<PathBuf>,
    output: watch::Sender<Arc<Snapshot>>,
    stop: CancellationToken,
) -> Result<(), LoadPanicked> {
    let (notifier, mut wakeups) = mpsc::channel(1);
    let mut watcher = Watches::new(notifier);
    watcher.arm(&paths);
    let mut poll = interval(POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(()) = wakeups.recv() => {}
            _ = poll.tick() => {
                watcher.arm(&paths);
                if !output.borrow().loaded.errors.is_empty() {
                    // What could not be read is tried again even if it looks the same. Only here:
                    // reading is itself a notice.
                    seen = None;
                }
            }
        }
        let look = fingerprint(&paths);
        if seen.as_ref() == Some(&look) {
            continue;
        }
        let noticed = Instant::now();
        // Taken before loading: what changes during it is noticed in the next round.
        seen = Some(quiet(&paths, look).await);
        reload(&paths, &output, noticed).await?;
    }
}

/// Waits until nobody writes any more. Says what the files look like then.
async fn quiet(paths: &[PathBuf], mut look: Vec<FileLook>) -> Vec<FileLook> {
    for _ in 0..UNQUIET {
        sleep(DEBOUNCE).await;
        let now = fingerprint(paths);
        if now == look {
            break;
        }
        look = now;
    }
    look
}

/// Reads the files once, whether or not they look changed, and publishes if anything is different.
/// Not beside [`watch_files`]: who reads first may publish last.
pub async fn reload_files(
    paths: &[PathBuf],
    output: &watch::Sender<Arc<Snapshot>>,
) -> Result<(), LoadPanicked> {
    reload(paths, output, Instant::now()).await
}

/// Loads once and publishes if anything is different.
async fn reload(
    paths: &[PathBuf],
    output: &watch::Sender<Arc<Snapshot>>,
    noticed: Instant,
) -> Result<(), LoadPanicked> {
    let before = Arc::clone(&output.borrow());
    let (previous, paths) = (Arc::clone(&before.loaded), paths.to_vec());
    let loaded = tokio::task::spawn_blocking(move || load(&paths, Some(&previous)))
        .await
        .map_err(|_| LoadPanicked)?;
    if loaded.says_the_same(&before.loaded) {
        return Ok(());
    }
    tell(&loaded, &before.loaded);
    let stale_since = (!loaded.errors.is_empty()).then(|| before.stale_since.unwrap_or(noticed));
    output.send_replace(Arc::new(Snapshot {
        loaded: Arc::new(loaded),
        read: SystemTime::now(),
        stale_since,
        noticed: Some(noticed),
    }));
    Ok(())
}

fn errors(loaded: &Loaded) -> Vec<String> {
    loaded.errors.iter().map(ToString::to_string).collect()
}

/// Logs what is new, once.
fn tell(new: &Loaded, old: &Loaded) {
    let known = errors(old);
    for error in errors(new).iter().filter(|error| !known.contains(error)) {
        tracing::warn!("registry: {error}; what it said before stays in force");
    }
    tell_reports(new.reports.iter().filter(|report| !old.reports.contains(report)));
    tracing::info!(
        objects = new.objects,
        in_force = new.in_force().len(),
        unreadable = new.errors.len(),
        "registry changed"
    );
}

/// Logs reports.
pub fn tell_reports<'a>(reports: impl Iterator<Item = &'a Report>) {
    for Report { code, severity, object, path, message } in reports {
        let code = code.as_str();
        if *severity == Severity::Info {
            tracing::info!(code, %object, path, "registry: {message}");
        } else {
            tracing::warn!(code, %object, path, "registry: {message}");
        }
    }
}

/// One file as its folder sees it; a change of content changes one of these.
#[derive(Debug, Eq, PartialEq)]
struct FileLook {
    path: PathBuf,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

/// Looks at all files, without reading them.
fn fingerprint(paths: &[PathBuf]) -> Vec<FileLook> {
    let mut looks = Vec::new();
    for path in paths {
        looks.extend(look(path));
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            looks.extend(look(&entry.path()));
        }
    }
    looks.sort_by(|a, b| a.path.cmp(&b.path));
    looks
}

fn look(path: &Path) -> Option<FileLook> {
    let metadata = path.metadata().ok()?;
    Some(FileLook {
        path: path.to_owned(),
        inode: metadata.ino(),
        bytes: metadata.len(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

/// Notifications of the kernel about the files. Where they fail, polling does the work.
struct Watches {
    watcher: Option<RecommendedWatcher>,
    has_told: bool,
}

impl Watches {
    fn new(notifier: mpsc::Sender<()>) -> Self {
        let tell = move |event| {
            // A full channel means that the task is told already.
            if may_be_change(&event) {
                let _is_full = notifier.try_send(()).is_err();
            }
        };
        let watcher = notify::recommended_watcher(tell);
        if let Err(error) = &watcher {
            tracing::warn!(%error, "no notifications of file changes; looking every few seconds");
        }
        Self { watcher: watcher.ok(), has_told: false }
    }

    /// Watches every path, and the folder of each file, because editors replace files. Doing it
    /// again is cheap, and covers folders that were made anew.
    fn arm(&mut self, paths: &[PathBuf]) {
        let Some(watcher) = &mut self.watcher else { return };
        for path in paths {
            let folder = if path.is_dir() { path.as_path() } else { folder_of(path) };
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {}
                Err(error) if self.has_told => tracing::debug!(%error, "watch"),
                Err(error) => {
                    self.has_told = true;
                    tracing::warn!(folder = %folder.display(), %error, "cannot watch; looking every few seconds");
                }
            }
        }
    }
}

/// Whether the files may be others after an event. Opening and reading change nothing, and this task
/// does both itself: told of that, it would look again and again without end.
fn may_be_change(event: &notify::Result<Event>) -> bool {
    // Where something was lost, that may have been a change.
    let Ok(Event { kind: EventKind::Access(access), .. }) = event else { return true };
    match access {
        AccessKind::Close(AccessMode::Write | AccessMode::Any | AccessMode::Other)
        | AccessKind::Any
        | AccessKind::Other => true,
        AccessKind::Read | AccessKind::Open(_) | AccessKind::Close(_) => false,
    }
}

/// The folder a file is in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "each test awaits the task it starts")]

    use std::{fs, path::Path, sync::Arc, time::Duration};

    use tokio::{
        sync::{mpsc, watch},
        time::timeout,
    };
    use tokio_util::sync::CancellationToken;

    use super::{Snapshot, Watches, fingerprint, load_first, watch_files};

    const ENTRY: &str = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
        metadata: {name: NAME, namespace: shop}\n\
        spec: {hosts: [NAME.example.com], ports: [{number: 80, name: http, protocol: HTTP}]}\n";

    fn put(folder: &Path, name: &str) {
        let draft = folder.join(".draft");
        fs::write(&draft, ENTRY.replace("NAME", name)).expect("write");
        fs::rename(draft, folder.join(format!("{name}.yaml"))).expect("rename");
    }

    async fn next(
        updates: &mut watch::Receiver<Arc<Snapshot>>,
        wanted: impl Fn(&Snapshot) -> bool,
    ) -> Arc<Snapshot> {
        let change = updates.wait_for(|snapshot| wanted(snapshot));
        let found = timeout(Duration::from_secs(20), change).await.expect("in time");
        Arc::clone(&found.expect("the task runs"))
    }

    #[tokio::test]
    async fn changes_are_published_and_what_is_broken_keeps_the_last_good() {
        let folder = tempfile::tempdir().expect("a folder");
        put(folder.path(), "a");
        let paths = vec![folder.path().to_owned()];
        let first = load_first(&paths).expect("readable");
        assert_eq!(first.loaded.registry.service_entries().len(), 1);
        let (output, mut updates) = watch::channel(Arc::new(first));
        let stop = CancellationToken::new();
        let task = tokio::spawn(watch_files(paths, output, stop.clone()));

        put(folder.path(), "b");
        next(&mut updates, |it| it.loaded.registry.service_entries().len() == 2).await;

        fs::write(folder.path().join("b.yaml"), "\"unclosed: [\n").expect("write");
        let broken = next(&mut updates, |it| !it.loaded.errors.is_empty()).await;
        assert_eq!(broken.loaded.registry.service_entries().len(), 2, "b stays as it was");
        assert!(broken.stale_since.is_some());

        fs::remove_file(folder.path().join("b.yaml")).expect("remove");
        let healed = next(&mut updates, |it| it.loaded.errors.is_empty()).await;
        assert_eq!(healed.loaded.registry.service_entries().len(), 1);
        assert!(healed.stale_since.is_none());

        stop.cancel();
        task.await.expect("no panic").expect("no error");
    }

    #[tokio::test]
    async fn looking_and_reading_wake_nobody() {
        const LOOKS: usize = 20;
        let folder = tempfile::tempdir().expect("a folder");
        put(folder.path(), "a");
        let paths = vec![folder.path().to_owned()];
        let (notifier, mut wakeups) = mpsc::channel(10 * LOOKS);
        let mut watches = Watches::new(notifier);
        watches.arm(&paths);
        for _ in 0..LOOKS {
            assert_eq!(fingerprint(&paths).len(), 2);
            load_first(&paths).expect("readable");
        }
        // The twin: a change wakes. Events come in their order, so this one comes last.
        put(folder.path(), "b");
        let mut told = 0;
        while timeout(Duration::from_secs(if told == 0 { 20 } else { 1 }), wakeups.recv())
            .await
            .is_ok_and(|it| it.is_some())
        {
            told += 1;
        }
        assert!((1..LOOKS).contains(&told), "told {told} times");
    }

    #[test]
    fn a_missing_path_is_an_error_at_the_start() {
        let errors = load_first(&["/nowhere/registry.d".into()]).expect_err("missing");
        assert!(errors[0].contains("/nowhere/registry.d"), "{errors:?}");
    }
}

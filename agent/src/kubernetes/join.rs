//! Files and the cluster to one registry.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::Declared;
use crate::registry::{
    file::{LoadPanicked, Snapshot, tell_reports},
    load::Loaded,
};

/// Publishes what files and cluster say together, from when the cluster was listed. Runs until
/// `stop`.
pub async fn join(
    mut files: watch::Receiver<Arc<Snapshot>>,
    mut cluster: watch::Receiver<Option<Arc<Declared>>>,
    output: watch::Sender<Arc<Snapshot>>,
    stop: CancellationToken,
) -> Result<(), LoadPanicked> {
    let mut is_first = true;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            changed = files.changed() => if changed.is_err() { return ended(&stop).await },
            changed = cluster.changed() => if changed.is_err() { return ended(&stop).await },
        }
        let started = Instant::now();
        let Some(declared) = cluster.borrow_and_update().clone() else { continue };
        declared.take();
        let by_files = Arc::clone(&files.borrow_and_update());
        let before = Arc::clone(&output.borrow());
        let (loaded, age) = (Arc::clone(&by_files.loaded), Age::of(&by_files, &declared));
        let previous = (!is_first).then(|| Arc::clone(&before.loaded));
        // Thousands of objects take milliseconds.
        let joined = tokio::task::spawn_blocking(move || {
            Loaded::join(&loaded, &declared.reads, previous.as_deref())
        });
        let joined = joined.await.map_err(|_| LoadPanicked)?;
        let is_same = !is_first && joined.says_the_same(&before.loaded);
        if is_same && before.stale_since == age.stale_since {
            continue;
        }
        let known = &before.loaded.reports;
        tell_reports(joined.reports.iter().filter(|report| known.binary_search(report).is_err()));
        tracing::debug!(
            objects = joined.objects,
            in_force = joined.in_force().len(),
            "registry changed"
        );
        output.send_replace(Arc::new(Snapshot {
            loaded: if is_same { Arc::clone(&before.loaded) } else { Arc::new(joined) },
            read: SystemTime::now(),
            stale_since: age.stale_since,
            noticed: age.noticed.filter(|_| !is_first && !is_same),
        }));
        is_first = false;
        rest(started.elapsed(), &stop).await;
    }
}

/// How much longer than it works the task rests, and how long at most: so that a cluster that
/// changes without end has a quarter of one core, and a change is seen within a tenth of a second.
const REST: u32 = 3;
const LONGEST_REST: Duration = Duration::from_millis(50);

async fn rest(worked: Duration, stop: &CancellationToken) {
    let rest = (worked * REST).min(LONGEST_REST);
    stop.run_until_cancelled(sleep(rest)).await;
}

/// A source that ended is a fault, unless everything ends.
async fn ended(stop: &CancellationToken) -> Result<(), LoadPanicked> {
    stop.cancelled().await;
    Ok(())
}

struct Age {
    stale_since: Option<Instant>,
    noticed: Option<Instant>,
}

impl Age {
    fn of(files: &Snapshot, cluster: &Declared) -> Self {
        let both = [files.stale_since, cluster.stale_since];
        let stale_since = both.into_iter().flatten().min();
        Self { stale_since, noticed: cluster.noticed.max(files.noticed) }
    }
}

//! How each source is: shared with those who show it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::source::Source;

/// How each source is, in the order of [`Source`]. A clone sees the same.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Held for a moment only, by whoever writes or copies.
    sources: Arc<Mutex<BTreeMap<Source, SourceHealth>>>,
}

/// How one source is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SourceHealth {
    pub objects: usize,
    /// It was complete once: what is in force is its last good state.
    pub is_synced: bool,
    /// Lists that were completed.
    pub lists: u64,
    /// Lists and watches that failed. One that expired is none.
    pub failures: u64,
    /// Since when it cannot be followed, and why.
    pub failing: Option<(Instant, String)>,
}

impl SourceHealth {
    /// For how long what it says may be outdated.
    pub fn age(&self, now: Instant) -> Duration {
        let since = self.failing.as_ref().map(|(since, _)| now.duration_since(*since));
        since.unwrap_or_default()
    }
}

impl Health {
    /// All sources.
    pub fn sources(&self) -> BTreeMap<Source, SourceHealth> {
        self.lock().clone()
    }

    /// Since when something that is in force cannot be followed. Definitions declare nothing
    /// themselves: what they define is found without them too, if later.
    pub(super) fn failing_since(&self) -> Option<Instant> {
        let sources = self.lock();
        let declaring = sources.iter().filter(|(source, _)| **source != Source::Definitions);
        declaring.filter_map(|(_, it)| Some(it.failing.as_ref()?.0)).min()
    }

    /// Whether it failed last time.
    pub(super) fn is_failing(&self, source: &Source) -> bool {
        self.lock().get(source).is_some_and(|it| it.failing.is_some())
    }

    pub(super) fn begin(&self, source: &Source) {
        self.lock().entry(source.clone()).or_default();
    }

    pub(super) fn end(&self, source: &Source) {
        self.lock().remove(source);
    }

    /// Notes how much is held.
    pub(super) fn holds(&self, source: &Source, objects: usize, is_synced: bool) {
        if let Some(health) = self.lock().get_mut(source) {
            health.objects = objects;
            health.is_synced = is_synced;
        }
    }

    /// Notes that a list was completed. Says for how long it had failed.
    pub(super) fn listed(&self, source: &Source) -> Option<Duration> {
        let mut sources = self.lock();
        let health = sources.get_mut(source)?;
        health.lists += 1;
        health.failing.take().map(|(since, _)| since.elapsed())
    }

    /// Notes a failure. Says whether it is news.
    pub(super) fn failed(&self, source: &Source, why: String) -> bool {
        let mut sources = self.lock();
        let Some(health) = sources.get_mut(source) else {
            return false;
        };
        health.failures += 1;
        let before = health.failing.take();
        let is_news = before.as_ref().is_none_or(|(_, known)| *known != why);
        let since = before.map_or_else(Instant::now, |(since, _)| since);
        health.failing = Some((since, why));
        is_news
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Source, SourceHealth>> {
        // No writer leaves anything half-done behind.
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, advance};

    use super::{Health, Source};

    #[tokio::test(start_paused = true)]
    async fn an_outage_has_an_age_until_all_was_listed_again() {
        let health = Health::default();
        let source = Source::NodePods;
        health.begin(&source);
        assert_eq!(health.listed(&source), None);
        assert!(health.failed(&source, "refused".into()));
        advance(Duration::from_secs(7)).await;
        assert!(!health.failed(&source, "refused".into()), "that is known");
        assert!(health.failed(&source, "timed out".into()));
        assert!(health.is_failing(&source));
        let state = &health.sources()[&source];
        assert_eq!(state.age(Instant::now()), Duration::from_secs(7));
        assert_eq!((state.failures, state.lists), (3, 1));
        assert_eq!(health.listed(&source), Some(Duration::from_secs(7)));
        assert_eq!(health.failing_since(), None);
        assert_eq!(health.sources()[&source].age(Instant::now()), Duration::ZERO);
        health.end(&source);
        assert!(!health.failed(&source, "late".into()) && health.sources().is_empty());
    }
}

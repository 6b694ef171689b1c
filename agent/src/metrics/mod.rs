//! Every metric: name, help, labels. Values are read at the moment of the scrape.

mod cluster;
mod exposition;
mod tables;
mod wildcards;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    metrics::histogram::{Histogram, exponential_buckets},
    registry::{Registry, Unit},
};
use tokio::time::Instant;

use crate::{
    endpoints::Summary,
    kubernetes::health::Health,
    reconcile::{Sample, State, WORKLOAD_LABELS},
};
use exposition::{Exposition, Family, Value};

/// How long things took, measured where they happen.
#[derive(Clone, Debug)]
pub struct Timings {
    reconcile: Histogram,
    change_to_enforced: Histogram,
}

impl Default for Timings {
    fn default() -> Self {
        // 1 ms to 16 s.
        let histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 15));
        Self { reconcile: histogram(), change_to_enforced: histogram() }
    }
}

impl Timings {
    /// One round of reconcile, and since when the change was known that it brought in force.
    pub fn reconciled(&self, took: Duration, since_change: Option<Duration>) {
        self.reconcile.observe(took.as_secs_f64());
        if let Some(since) = since_change {
            self.change_to_enforced.observe(since.as_secs_f64());
        }
    }
}

/// Events that were read from the kernel and could not be looked at.
#[derive(Clone, Debug, Default)]
pub struct Lost(Arc<AtomicU64>);

impl Lost {
    pub fn add(&self, events: u64) {
        self.0.fetch_add(events, Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What workloads were given at their first enforcement, and what is still looked for.
#[derive(Clone, Debug, Default)]
pub struct Preseeded(Arc<PreseededCounts>);

#[derive(Debug, Default)]
struct PreseededCounts {
    names: AtomicU64,
    flows: AtomicU64,
    unresolved: AtomicU64,
}

impl Preseeded {
    pub fn add_names(&self, addresses: u64) {
        self.0.names.fetch_add(addresses, Ordering::Relaxed);
    }

    pub fn add_flows(&self, flows: u64) {
        self.0.flows.fetch_add(flows, Ordering::Relaxed);
    }

    pub fn set_unresolved(&self, names: u64) {
        self.0.unresolved.store(names, Ordering::Relaxed);
    }

    /// Addresses of names.
    pub fn names(&self) -> u64 {
        self.0.names.load(Ordering::Relaxed)
    }

    /// Connections that were adopted.
    pub fn flows(&self) -> u64 {
        self.0.flows.load(Ordering::Relaxed)
    }

    /// Names that are still tried.
    pub fn unresolved(&self) -> u64 {
        self.0.unresolved.load(Ordering::Relaxed)
    }
}

pub(crate) const ENDPOINT_NAMES_HELP: &str = "Names that stand for endpoints: resolved, kept while the resolvers are silent, without an address, never answered, too many";

/// How names that stand for endpoints are resolved.
#[derive(Clone, Debug, Default)]
pub struct EndpointNames(
    // Held to copy the value.
    Arc<Mutex<Summary>>,
);

impl EndpointNames {
    pub fn set(&self, summary: Summary) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = summary;
    }

    pub fn summary(&self) -> Summary {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Also for the gateway, which has metrics of its own.
    pub(crate) fn counts(&self) -> [(&'static str, usize); 5] {
        let Summary { fresh, kept, absent, unanswered, left_out } = self.summary();
        [
            ("fresh", fresh),
            ("kept", kept.len()),
            ("absent", absent.len()),
            ("unanswered", unanswered.len()),
            ("left-out", left_out),
        ]
    }
}

/// What lives as long as the agent.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub timings: Timings,
    pub lost: Lost,
    pub preseeded: Preseeded,
    pub endpoints: EndpointNames,
    /// Empty without a cluster.
    pub cluster: Health,
}

impl Metrics {
    /// The text of `/metrics` in the `OpenMetrics` format.
    ///
    /// # Errors
    ///
    /// None that can be caused: writing to a `String` does not fail.
    pub fn render(
        &self,
        state: &State,
        sample: &Sample,
        now: Instant,
    ) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("exeat");
        registry.register_with_unit(
            "reconcile_duration",
            "Time one round of bringing the kernel to what is wanted took",
            Unit::Seconds,
            self.timings.reconcile.clone(),
        );
        registry.register_with_unit(
            "change_to_enforced",
            "Time from noticing a change of the registry to its enforcement",
            Unit::Seconds,
            self.timings.change_to_enforced.clone(),
        );
        let mut families = tables::families(state, sample);
        families.extend(wildcards::families(state, sample));
        families.extend(cluster::families(&self.cluster, now));
        families.extend(self.agent_families(state, now));
        registry.register_collector(Box::new(Exposition { families }));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }

    fn agent_families(&self, state: &State, now: Instant) -> Vec<Family> {
        let age = state.source.age(now).as_secs_f64();
        let mut workloads: BTreeMap<&str, u64> =
            WORKLOAD_LABELS.iter().map(|label| (*label, 0)).collect();
        for workload in &state.workloads {
            *workloads.entry(workload.label()).or_default() += 1;
        }
        let loaded = &state.source.loaded;
        vec![
            Family::counter("events_lost", "Events of the kernel that were not looked at")
                .with([], self.lost.count()),
            Family::counter(
                "preseeded",
                "What workloads were given at their first enforcement: addresses of names they are granted, and connections that were open before",
            )
            .with_all([("name", self.preseeded.names()), ("flow", self.preseeded.flows())].map(
                |(kind, count)| (vec![("kind", kind.to_owned())], Value::Count(count)),
            )),
            Family::gauge("endpoint_names", ENDPOINT_NAMES_HELP)
            .with_all(self.endpoints.counts().map(|(state, count)| {
                (vec![("state", state.to_owned())], Value::Count(count as u64))
            })),
            Family::gauge(
                "registry_age_seconds",
                "How long some registry file could not be read, or some part of the cluster not be followed, so that what it said before is in force; 0 while all can be",
            )
            .with([], Value::Float(age)),
            Family::gauge("registry_objects", "Objects of the registry").with_all(
                objects(state).into_iter().map(|((kind, state), count)| {
                    (vec![("kind", kind), ("state", state.to_owned())], Value::Count(count))
                }),
            ),
            Family::gauge("registry_files_unreadable", "Registry files that cannot be read")
                .with([], loaded.errors.len() as u64),
            Family::gauge("reports", "Reports about registry objects, see `exeat status`")
                .with_all(reports(state).into_iter().map(|(code, count)| {
                    (vec![("code", code.to_owned())], Value::Count(count))
                })),
            Family::gauge("workloads", "Workloads by how they are held").with_all(
                workloads.into_iter().map(|(label, count)| {
                    (vec![("state", label.to_owned())], Value::Count(count))
                }),
            ),
            Family::gauge("build_info", "The running version; always 1")
                .with([("version", env!("CARGO_PKG_VERSION").to_owned())], 1),
        ]
    }
}

/// Objects by kind and whether they are in force. Invalid ones are those with an error report.
fn objects(state: &State) -> BTreeMap<(String, &'static str), u64> {
    let mut counts = BTreeMap::new();
    let loaded = &state.source.loaded;
    for object in loaded.in_force() {
        *counts.entry((object.kind.clone(), "in-force")).or_default() += 1;
    }
    let invalid: std::collections::BTreeSet<_> = loaded
        .reports
        .iter()
        .filter(|report| report.code.refuses())
        .map(|report| &report.object)
        .collect();
    for object in invalid {
        *counts.entry((object.kind.clone(), "invalid")).or_default() += 1;
    }
    counts
}

fn reports(state: &State) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for report in state.all_reports() {
        *counts.entry(report.code.as_str()).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests;

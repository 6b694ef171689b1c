//! Metrics of what is followed of a cluster.

use tokio::time::Instant;

use super::exposition::{Family, Value};
use crate::kubernetes::health::{Health, SourceHealth};

pub(super) fn families(health: &Health, now: Instant) -> [Family; 4] {
    let sources = health.sources();
    let each = |family: Family, of: &dyn Fn(&SourceHealth) -> Value| {
        family.with_all(
            sources
                .iter()
                .map(|(source, it)| (vec![("source", source.to_string())], of(it)))
                .collect::<Vec<_>>(),
        )
    };
    [
        each(
            Family::gauge(
                "registry_source_age_seconds",
                "How long a part of the cluster could not be followed, so that what it said before is in force; 0 while it can be",
            ),
            &|it| Value::Float(it.age(now).as_secs_f64()),
        ),
        each(Family::gauge("registry_source_objects", "Objects that the cluster has"), &|it| {
            Value::Count(it.objects as u64)
        }),
        each(
            Family::counter(
                "registry_source_lists",
                "Lists of the cluster's objects that were completed",
            ),
            &|it| Value::Count(it.lists),
        ),
        each(
            Family::counter(
                "registry_source_failures",
                "Lists and watches of the cluster that failed",
            ),
            &|it| Value::Count(it.failures),
        ),
    ]
}

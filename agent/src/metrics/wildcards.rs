//! Metrics of what questions below granted wildcards carry, with or without limits: they tell which
//! limits would be felt.

use std::collections::BTreeMap;

use super::exposition::{Family, Labels, Value};
use crate::reconcile::{Sample, State};

/// Of one workload.
#[derive(Clone, Copy, Default)]
struct Carried {
    queries: u64,
    bytes: u64,
    longest_label: u64,
    most_entropy: u64,
}

pub(super) fn families(state: &State, sample: &Sample) -> [Family; 4] {
    let mut all: BTreeMap<Labels, Carried> = BTreeMap::new();
    for (id, value) in &sample.wildcards {
        // Those of workloads that are gone go with the next sweep.
        let known = state.directory.workload(*id).map(|known| known.key.clone());
        let (namespace, workload) = known.map(|key| (key.namespace, key.name)).unwrap_or_default();
        let carried =
            all.entry(vec![("namespace", namespace), ("workload", workload)]).or_default();
        carried.queries += value.queries;
        carried.bytes += value.bytes;
        carried.longest_label = carried.longest_label.max(value.longest_label);
        carried.most_entropy = carried.most_entropy.max(value.most_entropy);
    }
    let each = |family: Family, of: fn(&Carried) -> u64| {
        family.with_all(all.iter().map(|(labels, it)| (labels.clone(), Value::Count(of(it)))))
    };
    [
        each(
            Family::counter(
                "dns_wildcard_queries",
                "DNS questions about names below granted wildcards that went to a resolver",
            ),
            |it| it.queries,
        ),
        each(
            Family::counter(
                "dns_wildcard_bytes",
                "Bytes of the labels that wildcards stood for in those questions",
            ),
            |it| it.bytes,
        ),
        each(
            Family::gauge(
                "dns_wildcard_longest_label_bytes",
                "Longest label that a wildcard stood for, see dns.tunnel.labelLength",
            ),
            |it| it.longest_label,
        ),
        each(
            Family::gauge(
                "dns_wildcard_most_entropy_bits",
                "Most entropy of the labels that a wildcard stood for, see dns.tunnel.entropyBits",
            ),
            |it| it.most_entropy,
        ),
    ]
}

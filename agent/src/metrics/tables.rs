//! Metrics of what the kernel counted: flows, DNS, tables, programs.

use std::collections::BTreeMap;

use exeat_common::{
    abi::{CounterKey, CounterValue},
    limits::map,
    reason::{Layer, Reason, Verdict},
};

use super::exposition::{Family, Labels, Value};
use crate::reconcile::{Sample, State};

/// Everything that a sample says.
pub(super) fn families(state: &State, sample: &Sample) -> Vec<Family> {
    let mut flows: BTreeMap<Labels, CounterValue> = BTreeMap::new();
    let mut queries: BTreeMap<&str, u64> = QUERY_RESULTS.iter().map(|it| (*it, 0)).collect();
    let mut answers: BTreeMap<&str, u64> = ANSWER_RESULTS.iter().map(|it| (*it, 0)).collect();
    for (key, value) in &sample.counters {
        // A number that this version does not know is counted as unknown rather than left out.
        let reason = Reason::from_u8(key.reason);
        if Layer::from_u8(key.layer) == Some(Layer::Dns) {
            let (side, result) = dns_result(reason);
            let results = if side == Side::Query { &mut queries } else { &mut answers };
            *results.entry(result).or_default() += value.count;
        } else {
            let sum = flows
                .entry(flow_labels(state, *key))
                .or_insert(CounterValue { count: 0, bytes: 0 });
            sum.count += value.count;
            sum.bytes += value.bytes;
        }
    }
    let by_result =
        |(result, count): (&str, u64)| (vec![("result", result.to_owned())], Value::Count(count));
    let mut families = vec![
        Family::counter("flows", "Flows and packets judged, by verdict")
            .with_all(flows.iter().map(|(it, sum)| (it.clone(), Value::Count(sum.count)))),
        Family::counter("flow_bytes", "Bytes of the packets judged, by verdict")
            .with_all(flows.iter().map(|(it, sum)| (it.clone(), Value::Count(sum.bytes)))),
        Family::counter("dns_queries", "DNS questions of workloads to trusted resolvers")
            .with_all(queries.into_iter().map(by_result)),
        Family::counter("dns_answers", "DNS answers of trusted resolvers to workloads")
            .with_all(answers.into_iter().map(by_result)),
    ];
    families.extend(usage_families(sample));
    families
}

fn usage_families(sample: &Sample) -> [Family; 5] {
    let of_map = |map: &str| vec![("map", map.to_owned())];
    let facts = sample.usage.iter().find(|usage| usage.map == map::FACTS);
    let of_program = |program: &str| vec![("program", program.to_owned())];
    [
        Family::gauge("facts", "Addresses learned from DNS and not yet collected")
            .with([], facts.map_or(0, |usage| usage.entries)),
        Family::gauge("map_entries", "Entries in a kernel table")
            .with_all(sample.usage.iter().map(|it| (of_map(it.map), Value::Count(it.entries)))),
        Family::gauge("map_capacity", "Entries a kernel table can hold")
            .with_all(sample.usage.iter().map(|it| (of_map(it.map), Value::Count(it.capacity)))),
        Family::counter(
            "bpf_program_run_seconds",
            "Time in a kernel program; needs kernel.bpf_stats_enabled",
        )
        .with_all(
            sample
                .programs
                .iter()
                .map(|it| (of_program(it.program), Value::Float(it.run_time.as_secs_f64()))),
        ),
        Family::counter(
            "bpf_program_runs",
            "Runs of a kernel program; needs kernel.bpf_stats_enabled",
        )
        .with_all(sample.programs.iter().map(|it| (of_program(it.program), Value::Count(it.runs)))),
    ]
}

/// Workloads that are gone, or never were one, have empty names.
fn flow_labels(state: &State, key: CounterKey) -> Labels {
    let known = state.directory.workload(key.workload).map(|known| known.key.clone());
    let (namespace, workload) = known.map(|key| (key.namespace, key.name)).unwrap_or_default();
    let layer = Layer::from_u8(key.layer).map_or(UNKNOWN, Layer::as_str);
    let verdict = Verdict::from_u8(key.verdict).map_or(UNKNOWN, Verdict::as_str);
    let reason = Reason::from_u8(key.reason).map_or(UNKNOWN, Reason::as_str);
    vec![
        ("namespace", namespace),
        ("workload", workload),
        ("layer", layer.to_owned()),
        ("verdict", verdict.to_owned()),
        ("reason", reason.to_owned()),
    ]
}

const UNKNOWN: &str = "unknown";
const QUERY_RESULTS: [&str; 4] = ["granted", "internal", "denied", "malformed"];
const ANSWER_RESULTS: [&str; 6] =
    ["learned", "passed", "guarded", "not-asked", "table-full", "deferred"];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Side {
    Answer,
    Query,
}

/// Which of the two metrics a reason of the DNS layer belongs to, and its label there.
fn dns_result(reason: Option<Reason>) -> (Side, &'static str) {
    match reason {
        Some(Reason::NameGranted) => (Side::Query, "granted"),
        Some(Reason::InternalName | Reason::TrustedResolver) => (Side::Query, "internal"),
        Some(Reason::NameNotGranted) => (Side::Query, "denied"),
        Some(Reason::DnsMalformed | Reason::Malformed) => (Side::Query, "malformed"),
        Some(Reason::AnswerLearned) => (Side::Answer, "learned"),
        Some(Reason::AnswerPassed) => (Side::Answer, "passed"),
        Some(Reason::AddressGuarded) => (Side::Answer, "guarded"),
        Some(Reason::AnswerNotAsked) => (Side::Answer, "not-asked"),
        Some(Reason::AnswerDeferred) => (Side::Answer, "deferred"),
        Some(Reason::TableFull) => (Side::Answer, "table-full"),
        Some(Reason::ShareUsed) => (Side::Answer, "share-used"),
        Some(other) => (Side::Query, other.as_str()),
        None => (Side::Query, UNKNOWN),
    }
}

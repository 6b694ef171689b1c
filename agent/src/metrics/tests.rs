//! The text of `/metrics` for a known state.

use exeat_common::{
    abi::{CounterKey, CounterValue, WildcardValue},
    id::WorkloadId,
    limits::map,
    reason::{Layer, Reason, Verdict},
};
use tokio::time::Instant;

use super::Metrics;
use crate::{
    datapath::MapUsage,
    reconcile::{Sample, State},
};

fn counter(
    layer: Layer,
    verdict: Verdict,
    reason: Reason,
    count: u64,
) -> (CounterKey, CounterValue) {
    let key = CounterKey {
        workload: WorkloadId::new(7),
        layer: layer as u8,
        verdict: verdict as u8,
        reason: reason as u8,
        reserved: 0,
    };
    (key, CounterValue { count, bytes: count * 10 })
}

fn carried((bytes, longest_label): (u64, u64)) -> (WorkloadId, WildcardValue) {
    let value = WildcardValue { queries: 1, bytes, longest_label, most_entropy: 9, spent: 5 };
    (WorkloadId::new(7), value)
}

#[tokio::test]
async fn names_and_labels_are_as_promised() {
    let sample = Sample {
        counters: vec![
            counter(Layer::Socket, Verdict::Deny, Reason::NotRegistered, 3),
            counter(Layer::Dns, Verdict::Deny, Reason::NameNotGranted, 2),
            counter(Layer::Dns, Verdict::Allow, Reason::AnswerLearned, 4),
        ],
        // Two that are gone: neither has a name, so they are told as one.
        wildcards: [(20, 8), (30, 7)].map(carried).to_vec(),
        usage: vec![MapUsage { map: map::FACTS, entries: 5, capacity: 9 }],
        programs: vec![],
    };
    let metrics = Metrics::default();
    metrics.lost.add(6);
    metrics.preseeded.add_flows(8);
    metrics.timings.reconciled(std::time::Duration::from_millis(3), None);
    let text = metrics.render(&State::default(), &sample, Instant::now()).expect("a String");
    for line in [
        "exeat_flows_total{namespace=\"\",workload=\"\",layer=\"socket\",verdict=\"deny\",reason=\"not-registered\"} 3",
        "exeat_flow_bytes_total{namespace=\"\",workload=\"\",layer=\"socket\",verdict=\"deny\",reason=\"not-registered\"} 30",
        "exeat_dns_queries_total{result=\"denied\"} 2",
        "exeat_dns_queries_total{result=\"granted\"} 0",
        "exeat_dns_answers_total{result=\"learned\"} 4",
        "exeat_dns_wildcard_queries_total{namespace=\"\",workload=\"\"} 2",
        "exeat_dns_wildcard_bytes_total{namespace=\"\",workload=\"\"} 50",
        "exeat_dns_wildcard_longest_label_bytes{namespace=\"\",workload=\"\"} 8",
        "exeat_dns_wildcard_most_entropy_bits{namespace=\"\",workload=\"\"} 9",
        "exeat_facts 5",
        "exeat_map_entries{map=\"FACTS\"} 5",
        "exeat_map_capacity{map=\"FACTS\"} 9",
        "exeat_events_lost_total 6",
        "exeat_preseeded_total{kind=\"name\"} 0",
        "exeat_preseeded_total{kind=\"flow\"} 8",
        "exeat_registry_age_seconds 0.0",
        "exeat_workloads{state=\"enforced\"} 0",
        "exeat_reconcile_duration_seconds_count 1",
        "exeat_change_to_enforced_seconds_count 0",
        "# EOF",
    ] {
        assert!(text.lines().any(|it| it == line), "no line {line} in\n{text}");
    }
    for family in ["reports", "registry_objects", "bpf_program_runs", "bpf_program_run_seconds"] {
        assert!(text.contains(&format!("# TYPE exeat_{family} ")), "{family}");
    }
}

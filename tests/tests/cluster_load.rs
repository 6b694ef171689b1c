//! Many objects and many changes: what is kept of an object, and how long a change takes to be seen.
//! More of both by `EXEAT_LOAD_ENTRIES`; figures are printed, and only memory is judged.

#![cfg(test)]

use std::{
    alloc::System,
    time::{Duration, Instant},
};

use cap::Cap;
use exeat_agent::registry::file::Snapshot;
use exeat_tests::{
    api_server::ApiServer,
    test_cluster::{Followed, TestCluster},
};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// What one entry may take, compiled registry and connections aside.
const BYTES_PER_ENTRY: usize = 6 << 10;
const PODS: usize = 500;
const CHANGES: usize = 400;
const CHANGES_PER_SECOND: u32 = 200;

fn entries() -> usize {
    let given = std::env::var("EXEAT_LOAD_ENTRIES").ok();
    given.map_or(2000, |text| text.parse().expect("EXEAT_LOAD_ENTRIES is a number"))
}

fn entry(namespace: &str, number: usize, host: &str) -> Value {
    json!({
        "metadata": {
            "name": format!("entry-{number}"), "namespace": namespace, "uid": format!("uid-{number}"),
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"team": "shop"},
            "managedFields": [{"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:hosts": {}, "f:ports": {}, "f:resolution": {}}}}],
        },
        "spec": {
            "hosts": [host], "resolution": "DNS", "location": "MESH_EXTERNAL",
            "ports": [{"number": 443, "name": "tls", "protocol": "TLS"}],
        },
    })
}

fn pod(namespace: &str, node: &str, number: usize) -> Value {
    json!({
        "metadata": {
            "name": format!("pod-{number}"), "namespace": namespace, "uid": format!("pod-uid-{number}"),
            "labels": {"app": "web"},
        },
        "spec": {"nodeName": node, "containers": [{"name": "app", "image": "example.com/app"}]},
        "status": {"phase": "Running", "podIP": "10.244.0.5"},
    })
}

#[tokio::test]
async fn many_entries() {
    let count = entries();
    let cluster = TestCluster::start("load").await.expect("a cluster");
    let Some(double) = &cluster.double else {
        println!("a real server is not loaded: not tried");
        return cluster.finish().await.expect("nothing is left");
    };
    double.define("networking.istio.io", "v1", "ServiceEntry");
    let namespace = cluster.namespace.clone();
    for number in 0..count {
        let host = format!("h{number}.example.com");
        double.insert("serviceentries", entry(&namespace, number, &host));
    }
    for number in 0..PODS {
        double.insert("pods", pod(&namespace, &cluster.node, number));
    }
    let before = ALLOCATOR.allocated();
    let started = Instant::now();
    let mut followed = cluster.follow(Snapshot::default()).await.expect("a client");
    followed.registry(|it| it.loaded.registry.service_entries().len() == count).await;
    followed.pods(|it| it.len() == PODS).await;
    let listed = started.elapsed();
    let bytes = ALLOCATOR.allocated().saturating_sub(before);
    println!(
        "{count} entries and {PODS} pods: listed in {listed:?}, {} kB held, {} bytes an object",
        bytes >> 10,
        bytes / (count + PODS)
    );
    assert!(bytes < (count + PODS) * BYTES_PER_ENTRY, "{bytes}");

    let (mut took, snapshots) = change(double, &mut followed, &namespace, count).await;
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    println!(
        "{CHANGES} changes in {snapshots} snapshots: seen after {:?}, p99 {:?}",
        at(50),
        at(99)
    );
    followed.end().await;
    cluster.finish().await.expect("nothing is left");
}

/// Changes entries at the given rate. Says after what time each was seen, and in how many snapshots.
async fn change(
    double: &ApiServer,
    followed: &mut Followed,
    namespace: &str,
    count: usize,
) -> (Vec<Duration>, usize) {
    let mut took = Vec::new();
    let mut clock = tokio::time::interval(Duration::from_secs(1) / CHANGES_PER_SECOND);
    let mut waiting: Vec<(String, Instant)> = Vec::new();
    let mut snapshots = 0;
    let mut number = 0;
    while number < CHANGES || !waiting.is_empty() {
        tokio::select! {
            _ = clock.tick(), if number < CHANGES => {
                let host = format!("changed-{number}.example.com");
                double.insert("serviceentries", entry(namespace, number % count, &host));
                waiting.push((host, Instant::now()));
                number += 1;
            }
            changed = followed.registry.changed() => {
                changed.expect("the task runs");
                snapshots += 1;
                let now = Instant::now();
                let snapshot = followed.registry.borrow_and_update().clone();
                let seen: std::collections::BTreeSet<String> = snapshot
                    .loaded.registry.service_entries().iter()
                    .flat_map(|it| it.hosts.iter().map(ToString::to_string))
                    .filter(|host| host.starts_with("changed-"))
                    .collect();
                waiting.retain(|(host, since)| {
                    let is_seen = seen.contains(host);
                    took.extend(is_seen.then(|| now.duration_since(*since)));
                    !is_seen
                });
            }
            () = tokio::time::sleep(Duration::from_mins(1)) => panic!("{} changes were lost", waiting.len()),
        }
    }
    (took, snapshots)
}

//! The agent's sources against an API server: the double, or the one that `EXEAT_TEST_KUBECONFIG`
//! leads to. What a real one cannot be made to do says so in the output of its test.

#![cfg(test)]

mod agent;
mod events;
mod objects;
mod outages;
mod registry;
mod workloads;

use exeat_agent::registry::file::Snapshot;
use exeat_tests::test_cluster::{Followed, TestCluster};
use objects::{ISTIO, definition};

/// A cluster that has entries.
async fn cluster(test: &str) -> TestCluster {
    let cluster = TestCluster::start(test).await.expect("a cluster");
    cluster.put(&definition(ISTIO, "v1", "ServiceEntry")).await.expect("a definition");
    cluster
}

async fn follow(cluster: &TestCluster) -> Followed {
    cluster.follow(Snapshot::default()).await.expect("a client")
}

async fn finish(cluster: TestCluster, followed: Followed) {
    followed.end().await;
    cluster.finish().await.expect("nothing is left");
}

/// Makes an object; a definition may be there a moment before its objects may.
async fn put(cluster: &TestCluster, object: &serde_json::Value) {
    let mut result = cluster.put(object).await;
    for _ in 0..100 {
        if result.is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        result = cluster.put(object).await;
    }
    result.expect("put");
}

async fn remove(cluster: &TestCluster, object: &serde_json::Value) {
    cluster.remove(object).await.expect("remove");
}

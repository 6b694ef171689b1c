//! What the cluster is told: refused objects and denied pods, as Events.

use exeat_agent::flows::{
    Line,
    record::{Destination, FlowRecord, RecordWorkload},
};

use super::{
    cluster, finish, follow,
    objects::{declares, entry, names, pod},
    put,
};

/// Every node finds the same fault: it is told once all the same.
#[tokio::test]
async fn a_refused_object_is_told_of_once() {
    let cluster = cluster("refused").await;
    let mut nodes = [follow(&cluster).await, follow(&cluster).await, follow(&cluster).await];
    let made = cluster.put(&entry(&cluster, "bad", "*")).await.expect("an object");
    put(&cluster, &entry(&cluster, "good", "a.example.com")).await;
    for node in &mut nodes {
        node.registry(declares(&cluster, &["a.example.com"])).await;
    }
    let events = cluster.events("bad").await.expect("an event");
    let event = &events[0];
    assert_eq!(event.reason.as_deref(), Some("RegistryObjectRefused"));
    let note = event.note.as_deref().expect("a note");
    assert!(note.starts_with("E-HOST-FULL-WILDCARD spec.hosts[0]: "), "{note}");
    let regarding = event.regarding.as_ref().expect("an object");
    assert_eq!(regarding.uid, made.metadata.uid);
    assert_eq!(regarding.api_version.as_deref(), Some("networking.istio.io/v1"));

    // The next one comes after whatever the other nodes had to say of the first.
    put(&cluster, &entry(&cluster, "bad-too", "*")).await;
    for node in &mut nodes {
        let is_told = |code: &str| code == "E-HOST-FULL-WILDCARD";
        node.registry(|it| {
            let reports = it.loaded.reports.iter().filter(|it| is_told(it.code.as_str()));
            reports.filter(|it| it.object.namespace == cluster.namespace).count() == 2
        })
        .await;
    }
    cluster.events("bad-too").await.expect("an event");
    assert_eq!(cluster.events("bad").await.expect("events").len(), 1);
    let [first, second, third] = nodes;
    second.end().await;
    third.end().await;
    finish(cluster, first).await;
}

#[tokio::test]
async fn a_denied_pod_is_told_of() {
    let cluster = cluster("denied").await;
    put(&cluster, &pod(&cluster, "web", &cluster.node)).await;
    let mut followed = follow(&cluster).await;
    followed.pods(|it| names(it) == ["web"]).await;
    let line = |verdict: &str, name: &str| Line {
        record: FlowRecord {
            verdict: verdict.to_owned(),
            workload: Some(RecordWorkload {
                namespace: cluster.namespace.clone(),
                name: "web".to_owned(),
                ..RecordWorkload::default()
            }),
            destination: Destination {
                port: 443,
                name: Some(name.to_owned()),
                ..Destination::default()
            },
            count: 1,
            ..FlowRecord::default()
        },
        message: format!("tcp to {name}:443: no entry declares it"),
    };
    followed.flows.add(line("allow", "b.example.com"));
    for _ in 0..100 {
        followed.flows.add(line("deny", "a.example.com"));
    }
    let events = cluster.events("web").await.expect("an event");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].reason.as_deref(), Some("EgressDenied"));
    let note = events[0].note.as_deref();
    assert_eq!(note, Some("tcp to a.example.com:443: no entry declares it"));
    let uid = events[0].regarding.as_ref().and_then(|it| it.uid.clone());
    assert_eq!(uid.as_ref(), followed.pods.borrow().keys().next());
    finish(cluster, followed).await;
}

//! Pods: those of this node, and those that entries select as their endpoints.

use exeat_agent::workloads::pod::Pods;
use serde_json::json;

use super::{
    cluster, finish, follow,
    objects::{entry, names, pod, running},
    put, remove,
};

#[tokio::test]
async fn the_pods_of_this_node_are_followed() {
    let cluster = cluster("pods").await;
    let here = pod(&cluster, "here", &cluster.node);
    put(&cluster, &pod(&cluster, "elsewhere", "another")).await;
    let mut followed = follow(&cluster).await;
    followed.registry(|it| it.loaded.objects > 0).await;
    assert!(followed.pods.borrow().is_empty());

    put(&cluster, &here).await;
    let pods = followed.pods(|it| names(it) == ["here"]).await;
    let (uid, first) = pods.first_key_value().expect("a pod");
    assert_eq!((&first.uid, first.addresses.len(), &first.sidecar), (uid, 0, &None));
    assert_eq!(first.labels["app"], "web");
    assert_eq!(first.key.namespace, cluster.namespace);

    cluster.put_status(&running(&here, "10.244.0.5")).await.expect("a status");
    let pods = followed.pods(|it| it.values().any(|it| !it.addresses.is_empty())).await;
    let pod = &pods[uid];
    assert_eq!(pod.addresses, ["10.244.0.5".parse::<std::net::IpAddr>().expect("an address")]);
    assert_eq!(pod.sidecar.as_deref(), Some("abc"));

    let mut labelled =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"app": "db"}}});
    labelled["metadata"]["name"] = "here".into();
    labelled["metadata"]["namespace"] = cluster.namespace.as_str().into();
    put(&cluster, &labelled).await;
    followed.pods(|it| it.values().any(|it| it.labels["app"] == "db")).await;
    finish(cluster, followed).await;
}

/// A pod that comes again under its name is another pod, and one that has ended is none.
#[tokio::test]
async fn pods_end() {
    let cluster = cluster("ends").await;
    let web = pod(&cluster, "web", &cluster.node);
    put(&cluster, &web).await;
    let mut followed = follow(&cluster).await;
    let before = followed.pods(|it| names(it) == ["web"]).await;
    remove(&cluster, &web).await;
    put(&cluster, &web).await;
    let after = followed.pods(|it| names(it) == ["web"] && it.keys().ne(before.keys())).await;
    assert_eq!(after.len(), 1);
    let mut ended = running(&web, "10.244.0.5");
    ended["status"]["phase"] = "Succeeded".into();
    cluster.put_status(&ended).await.expect("a status");
    followed.pods(Pods::is_empty).await;
    finish(cluster, followed).await;
}

/// Pods of all nodes, but only while they are somebody's endpoints, and only in that namespace.
#[tokio::test]
async fn pods_that_an_entry_selects() {
    let cluster = cluster("selected").await;
    let far = pod(&cluster, "far", "another");
    put(&cluster, &far).await;
    cluster.put_status(&running(&far, "10.244.0.6")).await.expect("a status");
    let mut followed = follow(&cluster).await;
    let first = followed.registry(|it| it.loaded.objects > 0).await;
    assert!(first.loaded.registry.pods().is_empty());
    let mut selecting = entry(&cluster, "s", "s.example.com");
    selecting["spec"]["resolution"] = "STATIC".into();
    selecting["spec"]["workloadSelector"] = json!({"labels": {"app": "web"}});
    put(&cluster, &selecting).await;
    let second = followed.registry(|it| it.loaded.registry.pods().len() == 1).await;
    let endpoint = &second.loaded.registry.pods()[0];
    assert!(endpoint.is_ready && endpoint.ports["tls"] == 8443);
    assert!(followed.pods.borrow().is_empty(), "it is on another node");
    remove(&cluster, &selecting).await;
    followed.registry(|it| it.loaded.registry.pods().is_empty()).await;
    finish(cluster, followed).await;
}

/// A pod cannot exempt itself, and is told so.
#[tokio::test]
async fn a_pod_of_this_node_that_asks_for_exemption_is_reported() {
    let cluster = cluster("exempt").await;
    let mut web = pod(&cluster, "web", &cluster.node);
    web["metadata"]["annotations"] = json!({"traffic.sidecar.istio.io/excludeOutboundPorts": "22"});
    put(&cluster, &web).await;
    let mut followed = follow(&cluster).await;
    let first = followed.registry(|it| it.loaded.objects > 0).await;
    let codes = first.loaded.reports.iter().filter(|it| it.object.name == "web");
    let codes: Vec<&str> = codes.map(|it| it.code.as_str()).collect();
    assert_eq!(codes, ["W-POD-EXCLUSION"]);
    assert!(first.loaded.registry.pods().is_empty());
    finish(cluster, followed).await;
}

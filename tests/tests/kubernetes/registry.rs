//! Objects of the registry: all that there are, as they change, of kinds that come and go.

use std::sync::Arc;

use exeat_agent::registry::{
    file::{Snapshot, load_first},
    kubernetes::service::Kind,
};
use serde_json::json;

use super::{
    cluster, finish, follow,
    objects::{GLOO, declares, definition, entry, hosts, service, slice},
    put, remove,
};

#[tokio::test]
async fn entries_are_followed() {
    let cluster = cluster("entries").await;
    put(&cluster, &entry(&cluster, "a", "a.example.com")).await;
    let mut followed = follow(&cluster).await;
    let first = followed.registry(declares(&cluster, &["a.example.com"])).await;
    assert!(first.stale_since.is_none());
    assert!(
        first.loaded.registry.namespaces().iter().any(|it| it.header.name() == cluster.namespace)
    );

    put(&cluster, &entry(&cluster, "b", "b.example.com")).await;
    let second = followed.registry(declares(&cluster, &["a.example.com", "b.example.com"])).await;
    assert!(second.noticed.is_some(), "so that it can be told how long it took");

    put(&cluster, &entry(&cluster, "a", "c.example.com")).await;
    followed.registry(declares(&cluster, &["b.example.com", "c.example.com"])).await;
    remove(&cluster, &entry(&cluster, "b", "")).await;
    followed.registry(declares(&cluster, &["c.example.com"])).await;
    finish(cluster, followed).await;
}

/// More objects than one answer holds; with and without streams of them.
#[tokio::test]
async fn lists_are_read_whole() {
    let cluster = cluster("pages").await;
    let mut wanted = Vec::new();
    for number in 0..600 {
        put(
            &cluster,
            &entry(&cluster, &format!("e{number}"), &format!("h{number:03}.example.com")),
        )
        .await;
        wanted.push(format!("h{number:03}.example.com"));
    }
    for streams in [true, false] {
        match &cluster.double {
            Some(double) => double.stream_lists(streams),
            None => println!("a real server answers as it can"),
        }
        let mut followed = follow(&cluster).await;
        let first = followed.registry(|it| it.loaded.objects > 0).await;
        assert_eq!(
            hosts(&cluster, &first.loaded),
            wanted,
            "nothing is published before all is read"
        );
        put(&cluster, &entry(&cluster, "e0", &format!("a{streams}.example.com"))).await;
        let name = format!("a{streams}.example.com");
        followed.registry(|it| hosts(&cluster, &it.loaded).contains(&name)).await;
        put(&cluster, &entry(&cluster, "e0", "h000.example.com")).await;
        followed.registry(|it| hosts(&cluster, &it.loaded) == wanted).await;
        followed.end().await;
    }
    cluster.finish().await.expect("nothing is left");
}

/// A kind whose definition comes after the agent, and goes again.
#[tokio::test]
async fn kinds_come_and_go() {
    let cluster = cluster("kinds").await;
    let external = definition(GLOO, "v2", "ExternalService");
    remove(&cluster, &external).await;
    put(&cluster, &entry(&cluster, "a", "a.example.com")).await;
    let mut followed = follow(&cluster).await;
    let declares = |count: usize| {
        let namespace = cluster.namespace.clone();
        move |it: &Snapshot| {
            let external = it.loaded.registry.external_services().iter();
            it.loaded.objects > 0
                && external.filter(|it| it.header.namespace() == namespace).count() == count
        }
    };
    followed.registry(declares(0)).await;

    put(&cluster, &external).await;
    let object = json!({
        "apiVersion": format!("{GLOO}/v2"), "kind": "ExternalService",
        "metadata": {"name": "x", "namespace": cluster.namespace},
        "spec": {"hosts": ["x.example.com"], "ports": [{"number": 443, "name": "tls", "protocol": "TLS"}]},
    });
    put(&cluster, &object).await;
    followed.registry(declares(1)).await;

    remove(&cluster, &external).await;
    let last = followed.registry(declares(0)).await;
    assert_eq!(hosts(&cluster, &last.loaded), ["a.example.com"], "the other kinds stay");
    followed.health(|it| !it.sources().keys().any(|it| it.to_string() == "ExternalService")).await;
    finish(cluster, followed).await;
}

/// What was good stays in force while what came after it is not.
#[tokio::test]
async fn an_object_that_becomes_invalid_stays_as_it_was() {
    let cluster = cluster("invalid").await;
    put(&cluster, &entry(&cluster, "a", "a.example.com")).await;
    let mut followed = follow(&cluster).await;
    followed.registry(declares(&cluster, &["a.example.com"])).await;
    put(&cluster, &entry(&cluster, "a", "*")).await;
    let kept = followed
        .registry(|it| it.loaded.reports.iter().any(|it| it.object.namespace == cluster.namespace))
        .await;
    assert_eq!(hosts(&cluster, &kept.loaded), ["a.example.com"]);
    let codes: Vec<&str> = kept.loaded.reports.iter().map(|it| it.code.as_str()).collect();
    assert!(codes.contains(&"E-HOST-FULL-WILDCARD"), "{codes:?}");
    put(&cluster, &entry(&cluster, "a", "b.example.com")).await;
    let healed = followed.registry(declares(&cluster, &["b.example.com"])).await;
    assert!(!healed.loaded.reports.iter().any(|it| it.object.namespace == cluster.namespace));
    // One that never was valid declares nothing.
    put(&cluster, &entry(&cluster, "z", "*")).await;
    let refused =
        followed.registry(|it| it.loaded.reports.iter().any(|it| it.object.name == "z")).await;
    assert_eq!(hosts(&cluster, &refused.loaded), ["b.example.com"]);
    finish(cluster, followed).await;
}

/// Files add to the cluster. Of an object that both have, the file's counts.
#[tokio::test]
async fn files_and_cluster_are_one_registry() {
    let cluster = cluster("files").await;
    put(&cluster, &entry(&cluster, "a", "a.example.com")).await;
    put(&cluster, &entry(&cluster, "both", "cluster.example.com")).await;
    let folder = std::env::temp_dir().join(format!("exeat-join-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = |name: &str, host: &str| {
        let path = folder.join(format!("{name}.json"));
        std::fs::write(path, entry(&cluster, name, host).to_string()).expect("write");
    };
    file("both", "file.example.com");
    file("f", "f.example.com");
    let files = load_first(std::slice::from_ref(&folder)).expect("readable");
    std::fs::remove_dir_all(&folder).expect("remove");
    let mut followed = cluster.follow(files).await.expect("a client");
    let first = followed.registry(|it| it.loaded.objects > 0).await;
    assert_eq!(
        hosts(&cluster, &first.loaded),
        ["a.example.com", "f.example.com", "file.example.com"]
    );
    let twice = first.loaded.reports.iter().find(|it| it.object.name == "both").expect("a report");
    assert_eq!(twice.code.as_str(), "E-DUPLICATE", "{twice:?}");
    finish(cluster, followed).await;
}

#[tokio::test]
async fn services_and_the_endpoints_that_are_dialled() {
    let cluster = cluster("services").await;
    for (name, is_headless) in [("plain", false), ("headless", true)] {
        put(&cluster, &service(&cluster, name, is_headless)).await;
        put(&cluster, &slice(&cluster, name, "10.244.0.9")).await;
    }
    let mut followed = follow(&cluster).await;
    let own = |snapshot: &Snapshot| {
        let registry = &snapshot.loaded.registry;
        let services =
            registry.services().iter().filter(|it| it.header.namespace() == cluster.namespace);
        let slices =
            registry.endpoints().iter().filter(|it| it.header.namespace() == cluster.namespace);
        let services: Vec<_> =
            services.map(|it| (it.header.name().to_owned(), it.kind.clone())).collect();
        let slices: Vec<_> =
            slices.map(|it| (it.service.clone(), it.subsets[0].addresses.len())).collect();
        (services, slices)
    };
    let first = followed.registry(|it| own(it).0.len() == 2).await;
    let (services, slices) = own(&first);
    assert!(services.iter().any(|(name, kind)| name == "headless" && *kind == Kind::Headless));
    assert_eq!(slices, [("headless".to_owned(), 1)], "nobody dials those behind an address");
    // Of a change there nobody is told; of the next one that matters everybody is.
    let mut many = slice(&cluster, "plain", "10.244.0.9");
    many["endpoints"][0]["addresses"] = json!(["10.244.0.9", "10.244.0.10"]);
    put(&cluster, &many).await;
    many["metadata"] = slice(&cluster, "headless", "")["metadata"].clone();
    put(&cluster, &many).await;
    let second = followed.registry(|it| own(it).1 == [("headless".to_owned(), 2)]).await;
    let third = Arc::clone(&followed.registry.borrow());
    assert!(Arc::ptr_eq(&second, &third));
    finish(cluster, followed).await;
}

#[tokio::test]
async fn settings_of_the_mesh() {
    let cluster = cluster("mesh").await;
    let map = |name: &str, text: &str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"mesh": text},
            "metadata": {"name": name, "namespace": cluster.namespace},
        })
    };
    put(&cluster, &map("istio-other", "rootNamespace: other")).await;
    let mut followed = follow(&cluster).await;
    let first = followed.registry(|it| it.loaded.objects > 0).await;
    assert!(first.loaded.registry.meshes().is_empty(), "the ConfigMap that is named, and no other");
    put(&cluster, &map("istio", "rootNamespace: root")).await;
    let root =
        |it: &Snapshot| it.loaded.registry.meshes().first().map(|it| it.root_namespace.clone());
    followed.registry(|it| root(it).as_deref() == Some("root")).await;
    remove(&cluster, &map("istio", "")).await;
    followed.registry(|it| root(it).is_none()).await;
    finish(cluster, followed).await;
}

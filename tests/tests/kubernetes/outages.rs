//! When the API server is gone, forgets, or refuses.

use std::time::Duration;

use exeat_agent::{kubernetes::health::Health, workloads::pod::Pods};
use tokio::time::Instant;

use super::{
    cluster, finish, follow,
    objects::{declares, entry, hosts, names, pod},
    put, remove,
};

/// Lists of a source that were completed.
fn lists(health: &Health, source: &str) -> u64 {
    let sources = health.sources();
    let found = sources.iter().find(|(it, _)| it.to_string() == source);
    found.map_or(0, |(_, health)| health.lists)
}

fn is_failing(health: &Health, source: &str) -> bool {
    let sources = health.sources();
    sources.iter().any(|(it, health)| it.to_string() == source && health.failing.is_some())
}

#[tokio::test]
async fn while_the_server_is_gone_the_last_good_state_stays_and_ages() {
    let cluster = cluster("gone").await;
    put(&cluster, &entry(&cluster, "a", "a.example.com")).await;
    put(&cluster, &entry(&cluster, "b", "b.example.com")).await;
    let web = pod(&cluster, "web", &cluster.node);
    put(&cluster, &web).await;
    let mut followed = follow(&cluster).await;
    followed.registry(declares(&cluster, &["a.example.com", "b.example.com"])).await;
    followed.pods(|it| names(it) == ["web"]).await;

    cluster.gate.shut();
    let stale = followed.registry(|it| it.stale_since.is_some()).await;
    followed
        .health(|it| is_failing(it, "ServiceEntry") && is_failing(it, "pods of this node"))
        .await;
    assert_eq!(hosts(&cluster, &stale.loaded), ["a.example.com", "b.example.com"]);
    assert_eq!(names(&followed.pods.borrow()), ["web"]);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(stale.age(Instant::now()) >= Duration::from_millis(50));
    // Nobody will tell of what vanishes now: that it is missing in the next list must do.
    remove(&cluster, &entry(&cluster, "a", "")).await;
    remove(&cluster, &web).await;
    put(&cluster, &entry(&cluster, "c", "c.example.com")).await;

    cluster.gate.open();
    followed.registry(declares(&cluster, &["b.example.com", "c.example.com"])).await;
    followed.pods(Pods::is_empty).await;
    followed.registry(|it| it.stale_since.is_none()).await;
    finish(cluster, followed).await;
}

#[tokio::test]
async fn without_a_server_nothing_is_published_at_the_start() {
    let cluster = cluster("absent").await;
    put(&cluster, &entry(&cluster, "a", "a.example.com")).await;
    put(&cluster, &pod(&cluster, "web", &cluster.node)).await;
    cluster.gate.shut();
    let mut followed = follow(&cluster).await;
    followed.health(|it| is_failing(it, "Service") && is_failing(it, "pods of this node")).await;
    assert!(
        !followed.registry.has_changed().expect("it runs"),
        "an empty registry denies everything"
    );
    assert!(!followed.pods.has_changed().expect("it runs"));
    cluster.gate.open();
    followed.registry(declares(&cluster, &["a.example.com"])).await;
    followed.pods(|it| names(it) == ["web"]).await;
    finish(cluster, followed).await;
}

/// A watch that is too old is no fault: all is listed again.
#[tokio::test]
async fn a_server_that_forgot_is_asked_for_everything_again() {
    let cluster = cluster("forgot").await;
    let Some(double) = &cluster.double else {
        println!("a real server forgets when it likes: not tried");
        return cluster.finish().await.expect("nothing is left");
    };
    put(&cluster, &entry(&cluster, "a", "a.example.com")).await;
    put(&cluster, &entry(&cluster, "b", "b.example.com")).await;
    let mut followed = follow(&cluster).await;
    followed.registry(declares(&cluster, &["a.example.com", "b.example.com"])).await;
    followed.health(|it| lists(it, "ServiceEntry") == 1).await;
    // All at once: no watch hears of the end of `a`.
    double.forget_object("serviceentries", &cluster.namespace, "a");
    followed.registry(declares(&cluster, &["b.example.com"])).await;
    followed.health(|it| lists(it, "ServiceEntry") == 2).await;
    assert!(followed.registry.borrow().stale_since.is_none());
    assert!(followed.health.sources().values().all(|it| it.failures == 0));
    finish(cluster, followed).await;
}

/// A watch on what nobody changes stays young by bookmarks, and need not list again.
#[tokio::test]
async fn bookmarks_keep_a_watch_young() {
    let cluster = cluster("bookmarks").await;
    let Some(double) = &cluster.double else {
        println!("a real server forgets when it likes: not tried");
        return cluster.finish().await.expect("nothing is left");
    };
    double.bookmark_every(Duration::from_millis(20));
    put(&cluster, &entry(&cluster, "a", "a.example.com")).await;
    let mut followed = follow(&cluster).await;
    followed.registry(declares(&cluster, &["a.example.com"])).await;
    double.compact();
    // Each watch hears of the revision by which everything before is forgotten.
    let revision = double.revision();
    let told = async {
        while double.oldest_bookmark() < revision {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), told).await.expect("bookmarks");
    double.cut_watches();
    put(&cluster, &entry(&cluster, "b", "b.example.com")).await;
    followed.registry(declares(&cluster, &["a.example.com", "b.example.com"])).await;
    assert_eq!(lists(&followed.health, "ServiceEntry"), 1);
    finish(cluster, followed).await;
}

/// What may not be read is named, nothing is published without it, and it is tried again.
#[tokio::test]
async fn a_missing_permission_is_named() {
    let cluster = cluster("forbidden").await;
    put(&cluster, &entry(&cluster, "a", "a.example.com")).await;
    let limited = cluster.limited(&["serviceentries"]).await.expect("a client");
    let mut followed = cluster.follow_as(&limited).await.expect("a client");
    followed
        .health(|it| is_failing(it, "ServiceEntry") && lists(it, "pods of this node") == 1)
        .await;
    let sources = followed.health.sources();
    let (_, why) = sources.values().find_map(|it| it.failing.clone()).expect("a failing source");
    assert!(why.contains("serviceentries") && why.contains("grant"), "{why}");
    assert!(!followed.registry.has_changed().expect("it runs"));
    cluster.limited(&[]).await.expect("a grant");
    followed.registry(declares(&cluster, &["a.example.com"])).await;
    finish(cluster, followed).await;
}

/// Who may not watch definitions still finds kinds, by looking.
#[tokio::test]
async fn without_definitions_kinds_are_looked_for() {
    let cluster = cluster("blind").await;
    put(&cluster, &entry(&cluster, "a", "a.example.com")).await;
    let limited = cluster.limited(&["customresourcedefinitions"]).await.expect("a client");
    let mut followed = cluster.follow_as(&limited).await.expect("a client");
    followed.registry(declares(&cluster, &["a.example.com"])).await;
    assert!(is_failing(&followed.health, "customresourcedefinitions"));
    finish(cluster, followed).await;
}

//! Promises 3 and 7: with the agent dead everything goes on, and taking over leaves no packet
//! unjudged.

#![cfg(test)]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use exeat_tests::agent::text;
use exeat_tests::pod_client::Kind;
use exeat_tests::registry::Entry;
use exeat_tests::scene::Scene;
use exeat_tests::wait;

const LOAD_ATTEMPTS: u64 = 50_000;
/// How often the agent is killed under load.
const KILLS: u64 = 5;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn www() -> Entry {
    Entry::new("shop", "www", "www.example.com").port(80, "HTTP")
}

fn scene(test: &str) -> Scene {
    let cdn = Entry::new("shop", "cdn", "*.cdn.example.net").port(80, "HTTP");
    let scene = Scene::start(test, &[www(), cdn]).unwrap();
    let dns = &scene.world.dns;
    dns.set("www.example.com", &[ip("203.0.113.10"), ip("2001:db8::10")], 3600);
    dns.set("new.cdn.example.net", &[ip("203.0.113.20"), ip("2001:db8::20")], 3600);
    dns.set("www.example.org", &[ip("203.0.113.99"), ip("2001:db8::99")], 3600);
    dns.set("later.example.com", &[ip("203.0.113.30")], 3600);
    scene
}

/// What must hold at any time, whatever the agent does.
#[track_caller]
fn assert_enforced(scene: &Scene) {
    let web = &scene.world.web;
    for kind in [Kind::A, Kind::Aaaa] {
        scene.assert_name_reaches(web, "www.example.com", kind, 80);
    }
    scene.assert_refused(web, ip("203.0.113.99"), 80);
    scene.assert_refused(web, ip("2001:db8::99"), 80);
    scene.assert_no_such_name(web, "www.example.org");
}

#[test]
fn killed_under_load_and_started_again_nothing_leaks_and_nothing_fails() {
    let mut scene = scene("load");
    let web = scene.world.web.clone();
    let mut allowed = Vec::new();
    for kind in [Kind::A, Kind::Aaaa] {
        let address = web.address_of("www.example.com", kind).unwrap();
        allowed.push(SocketAddr::new(address, 80));
    }
    let denied = ["203.0.113.99", "2001:db8::99", "203.0.113.10"];
    let denied = denied.map(|text| SocketAddr::new(ip(text), 8080));
    let enough = scene.world.node.run().dir().join("enough");
    let load = web.start_load(&allowed, &denied, LOAD_ATTEMPTS, &enough).unwrap();
    for kill in 1..=KILLS {
        let progress = kill * LOAD_ATTEMPTS / 2 / (KILLS + 1);
        let arrivals = || scene.world.http.arrivals().at_port(80);
        let under_load = wait::holds(Duration::from_mins(2), || arrivals() >= progress);
        assert!(under_load, "the load goes on: {} connections", arrivals());
        scene.kill_agent().unwrap();
        scene.start_agent().unwrap();
    }
    std::fs::write(&enough, "").unwrap();
    let load = load.finish().unwrap();
    println!("{load:?}");
    assert!(load.allowed_ok + load.denied_blocked >= LOAD_ATTEMPTS, "{load:?}");
    assert_eq!((load.allowed_failed, load.denied_leaked), (0, 0), "{load:?}");
    for to in denied {
        assert_eq!(scene.world.tap.packets_to(to).unwrap(), 0, "packets for {to}");
    }
    assert!(load.surprises.is_empty(), "{load:?}");
}

#[test]
fn with_the_agent_dead_new_names_are_learned_and_the_rest_is_refused() {
    let mut scene = scene("dead");
    assert_enforced(&scene);
    scene.kill_agent().unwrap();
    let web = scene.world.web.clone();
    for kind in [Kind::A, Kind::Aaaa] {
        scene.assert_name_reaches(&web, "new.cdn.example.net", kind, 80);
    }
    assert_enforced(&scene);
    scene.start_agent().unwrap();
    // Learned while nobody was there, and still known to the agent that took over.
    scene.assert_reaches(&web, ip("203.0.113.20"), 80);
    assert_enforced(&scene);
}

#[test]
fn an_orderly_stop_leaves_enforcement_in_place() {
    let mut scene = scene("stop");
    scene.agent.take().unwrap().stop().unwrap();
    assert_enforced(&scene);
    scene.start_agent().unwrap();
    assert_enforced(&scene);
}

#[test]
fn a_registry_changed_while_the_agent_was_dead_is_in_force_when_it_is_ready() {
    let mut scene = scene("changed");
    let web = scene.world.web.clone();
    let www_address = scene.assert_name_reaches(&web, "www.example.com", Kind::A, 80);
    scene.kill_agent().unwrap();
    scene.remove(&www()).unwrap();
    scene.put(&Entry::new("shop", "later", "later.example.com").port(80, "HTTP")).unwrap();
    scene.assert_reaches(&web, www_address, 80);
    scene.assert_no_such_name(&web, "later.example.com");
    scene.start_agent().unwrap();
    scene.assert_refused(&web, www_address, 80);
    scene.assert_no_such_name(&web, "www.example.com");
    scene.assert_name_reaches(&web, "later.example.com", Kind::A, 80);
}

#[test]
fn registry_changes_take_effect_on_what_was_learned_before() {
    let scene = scene("live");
    let web = &scene.world.web;
    let address = scene.assert_name_reaches(web, "www.example.com", Kind::A, 80);
    scene.remove(&www()).unwrap();
    scene.wait_until_refused(web, address, 80);
    scene.assert_no_such_name(web, "www.example.com");
    scene.put(&www()).unwrap();
    scene.wait_until_resolves(web, "www.example.com");
    scene.assert_name_reaches(web, "www.example.com", Kind::A, 80);
    scene.put(&www().port(8080, "HTTP")).unwrap();
    let opened = || web.connect(address, 8080).is_ok_and(|reached| reached.is_ok());
    assert!(wait::holds(exeat_tests::scene::IN_FORCE_WITHIN, opened), "a port was added");
}

#[test]
fn a_second_agent_refuses_and_changes_nothing() {
    let scene = scene("second");
    let before = scene.files.pinned();
    let output = scene.files.run_to_end(&scene.world.node).unwrap();
    assert!(!output.status.success(), "{output:?}");
    let words = text(&output);
    assert!(words.contains("another") && words.contains("lock"), "{words}");
    assert_eq!(scene.files.pinned(), before);
    assert_enforced(&scene);
    assert_eq!(scene.agent().http("/healthz").unwrap().0, 200, "the first one is well");
}

#[test]
fn cleanup_takes_everything_out_of_the_kernel() {
    let mut scene = scene("cleanup");
    assert_enforced(&scene);
    assert_ne!(scene.files.pinned().len(), 0);
    scene.agent.take().unwrap().stop().unwrap();
    scene.files.clean_up(&scene.world.node).unwrap();
    assert_eq!(scene.files.pinned().len(), 0, "{:?}", scene.files.pinned());
    let web = &scene.world.web;
    scene.assert_reaches(web, ip("203.0.113.99"), 8080);
    assert_eq!(web.address_of("www.example.org", Kind::A).unwrap(), ip("203.0.113.99"));
    // A second time there is nothing to do, which is no error.
    scene.files.clean_up(&scene.world.node).unwrap();
}

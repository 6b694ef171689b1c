//! Promise 2, no race between an answer and the first connect; promise 3, names are refused
//! in place; promise 4, an answer counts only if that pod asked that question.

#![cfg(test)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use exeat_tests::node::{Pod, RESOLVER_V4, STRANGER_RESOLVER};
use exeat_tests::pod_client::{Kind, probe_outside_cgroup};
use exeat_tests::registry::Entry;
use exeat_tests::scene::Scene;
use exeat_tests::servers::{EchoServer, HttpServer};
use exeat_tests::wait;
use exeat_tests::world::STRANGERS_ANSWER;
use serde_json::Value;

const BOTH: [Kind; 2] = [Kind::A, Kind::Aaaa];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn scene(test: &str) -> Scene {
    let mut scene = prepare(test);
    scene.start_agent().unwrap();
    scene
}

fn prepare(test: &str) -> Scene {
    let entries = [
        Entry::new("shop", "www", "www.example.com").port(80, "HTTP"),
        Entry::new("shop", "partner", "partner.example.com").port(8080, "HTTP"),
        Entry::new("shop", "many", "*.many.example.com").port(80, "HTTP"),
    ];
    let scene = Scene::prepare(test, &entries).unwrap();
    let dns = &scene.world.dns;
    dns.set("www.example.com", &[ip("203.0.113.10"), ip("2001:db8::10")], 60);
    dns.set("partner.example.com", &[ip("203.0.113.12"), ip("2001:db8::12")], 60);
    dns.set("www.example.org", &[ip("203.0.113.99"), ip("2001:db8::99")], 60);
    dns.numbered("many.example.com", |number| {
        let v4 = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number;
        let v6 = u128::from(Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 0)) + u128::from(number);
        vec![Ipv4Addr::from(v4).into(), Ipv6Addr::from(v6).into()]
    });
    scene
}

#[test]
fn an_unregistered_name_does_not_exist_and_the_question_stays_on_the_node() {
    let scene = scene("nxdomain");
    let web = &scene.world.web;
    scene.assert_no_such_name(web, "www.example.org");
    scene.assert_no_such_name(web, "com");
    scene.assert_no_such_name(web, "www.example.com.evil.example");
    // The twin: a registered name gets to the resolver and back.
    for kind in BOTH {
        let before = scene.world.dns.asked("www.example.com");
        scene.assert_name_reaches(web, "www.example.com", kind, 80);
        assert_eq!(scene.world.dns.asked("www.example.com") - before, 1);
    }
}

#[test]
fn names_are_compared_without_regard_to_case() {
    let scene = scene("case");
    let web = &scene.world.web;
    scene.assert_name_reaches(web, "wWw.ExAmPlE.cOm", Kind::A, 80);
    scene.assert_no_such_name(web, "wWw.ExAmPlE.oRg");
}

#[test]
fn answers_over_tcp_teach_and_refused_names_open_nothing() {
    let scene = scene("tcp");
    let web = &scene.world.web;
    for (kind, bare) in [(Kind::A, ip("203.0.113.99")), (Kind::Aaaa, ip("2001:db8::99"))] {
        let ask = |name| web.resolve_at(kind.resolver(), name, kind, &["--tcp"]).unwrap();
        let granted = ask("www.example.com");
        let address = *granted.addresses.first().unwrap_or_else(|| panic!("{granted:?}"));
        scene.assert_reaches(web, address, 80);
        let refused = ask("www.example.org");
        assert!(refused.addresses.is_empty(), "a name that is not granted: {refused:?}");
        scene.assert_refused(web, bare, 80);
    }
}

#[test]
fn an_alias_teaches_the_address_at_its_end() {
    let scene = scene("alias");
    let web = &scene.world.web;
    let dns = &scene.world.dns;
    dns.alias("www.example.com", "edge.cdn.example", 60);
    dns.alias("edge.cdn.example", "node7.cdn.example", 60);
    dns.set("node7.cdn.example", &[ip("203.0.113.70"), ip("2001:db8::70")], 60);
    for kind in BOTH {
        scene.assert_name_reaches(web, "www.example.com", kind, 80);
    }
    // The alias' targets are no registered names of their own.
    scene.assert_no_such_name(web, "node7.cdn.example");
}

#[test]
fn a_resolver_that_is_not_trusted_is_not_reached_and_teaches_nothing() {
    let scene = scene("stranger");
    let web = &scene.world.web;
    let server = SocketAddr::new(STRANGER_RESOLVER, 53);
    for options in [&["--timeout-ms", "1000"][..], &["--tcp", "--timeout-ms", "1000"]] {
        let before = scene.world.tap.packets(STRANGER_RESOLVER).unwrap();
        let told = web.resolve_at(server, "www.example.com", Kind::A, options).unwrap();
        assert!(told.addresses.is_empty(), "{told:?}");
        assert_eq!(scene.world.tap.packets(STRANGER_RESOLVER).unwrap() - before, 0);
    }
    assert_eq!(scene.world.stranger.asked_total(), 0);
    scene.assert_refused(web, ip(STRANGERS_ANSWER), 80);
    // The twin: the same question to the trusted resolver.
    scene.assert_name_reaches(web, "www.example.com", Kind::A, 80);
}

#[test]
fn records_nobody_asked_for_open_nothing() {
    let scene = scene("stray");
    let (web, stray) = (&scene.world.web, ip("203.0.113.66"));
    // partner.example.com is registered, but this is not an answer to a question about it.
    scene.world.dns.stray("www.example.com", "partner.example.com", stray);
    let told = web.resolve("www.example.com", Kind::A).unwrap();
    assert_eq!(told.addresses, [stray, ip("203.0.113.10")], "the pod has both");
    for port in [80, 8080] {
        scene.assert_refused(web, stray, port);
    }
    scene.assert_reaches(web, ip("203.0.113.10"), 80);
    scene.assert_name_reaches(web, "partner.example.com", Kind::A, 8080);
}

/// The forger takes the resolver's address and port, and sends from a socket that only the
/// wire layer sees. `tests/netns.rs` shows that without an agent these datagrams arrive.
#[test]
fn a_forged_answer_from_another_pod_does_not_arrive() {
    let scene = scene("forged");
    let (web, ledger) = (&scene.world.web, &scene.world.ledger);
    ledger.netns.ip(&format!("addr add {RESOLVER_V4}/32 dev lo\n")).unwrap();
    let victim = SocketAddr::new(web.v4.into(), 5000);
    let listener = EchoServer::start(&web.netns, &[victim]).unwrap();
    forged_answers_open_nothing(&scene, web, 53, |args| {
        let _: Value = probe_outside_cgroup(&scene.world.node, ledger, args).unwrap();
    });
    assert_eq!(listener.arrivals().total(), 0, "forged answers that arrived");
}

/// Here they do arrive: the resolver's own host sends answers nobody asked for.
#[test]
fn a_forged_answer_from_the_resolvers_address_opens_nothing() {
    let scene = scene("spoofed");
    let web = &scene.world.web;
    let victim = SocketAddr::new(web.v4.into(), 5000);
    let listener = EchoServer::start(&web.netns, &[victim]).unwrap();
    forged_answers_open_nothing(&scene, web, 5353, |args| {
        scene.world.node.internet_probe(args).unwrap();
    });
    let arrived = || listener.arrivals().total() > 0;
    assert!(wait::holds(Duration::from_secs(5), arrived), "the forger does send");
}

/// Sends answers that nobody asked for: before any question, and after one with something
/// about it wrong.
fn forged_answers_open_nothing(scene: &Scene, web: &Pod, from_port: u16, send: impl Fn(&[&str])) {
    let evil = ip("203.0.113.66");
    let from = SocketAddr::new(RESOLVER_V4, from_port).to_string();
    let forged = |to_port: u16, id: &str, name: &str| {
        let (evil, to) = (evil.to_string(), SocketAddr::new(web.v4.into(), to_port).to_string());
        send(&[
            "forge", "--from", &from, "--to", &to, "--id", id, "--name", name, "--answer", &evil,
            "--times", "20",
        ]);
    };
    forged(5000, "7", "www.example.com");
    scene.assert_refused(web, evil, 80);
    // A question from port 5001 with id 7.
    let options = ["--id", "7", "--local-port", "5001"];
    let asked = web.resolve_at(Kind::A.resolver(), "www.example.com", Kind::A, &options).unwrap();
    assert_eq!(asked.addresses, [ip("203.0.113.10")]);
    forged(5001, "8", "www.example.com");
    forged(5002, "7", "www.example.com");
    forged(5001, "7", "partner.example.com");
    // All as in the question; only where it comes from is wrong.
    forged(5001, "7", "www.example.com");
    for port in [80, 8080] {
        scene.assert_refused(web, evil, port);
    }
    // The twin: what the resolver did answer is open.
    scene.assert_reaches(web, ip("203.0.113.10"), 80);
}

#[test]
fn an_answer_never_opens_an_internal_address() {
    let mut scene = prepare("rebinding");
    let internal = "scope: all\nclusterCidrs: [10.9.0.0/24, \"fd00:9::/64\"]\n";
    let config = scene.files.config_for(&scene.world.node);
    scene.files.write_config(&format!("{internal}{config}")).unwrap();
    scene.start_agent().unwrap();
    let (web, ledger, dns) = (&scene.world.web, &scene.world.ledger, &scene.world.dns);
    let inside = HttpServer::start(&ledger.netns, &[80], &[]).unwrap();
    // The other pod, the node's side of the veth, the metadata service of a cloud.
    let internal = ["10.9.0.3", "fd00:9::3", "169.254.1.1", "169.254.169.254"];
    for address in internal.map(ip) {
        dns.set("www.example.com", &[address], 60);
        let kind = if address.is_ipv4() { Kind::A } else { Kind::Aaaa };
        // Whether the pod sees the answer is not the point; what it opens is.
        web.resolve("www.example.com", kind).unwrap();
        let reached = web.connect(address, 80).unwrap();
        assert_eq!(reached.result, "EPERM", "{address}");
    }
    assert_eq!(inside.arrivals().total(), 0);
    // The twin: an address of the internet.
    dns.set("www.example.com", &[ip("203.0.113.10")], 60);
    scene.assert_name_reaches(web, "www.example.com", Kind::A, 80);
}

/// In two pods, because each has a share of the facts of its own (4096).
#[test]
fn five_thousand_first_connects_beside_two_cpu_hogs() {
    let scene = scene("race");
    let (web, ledger) = (&scene.world.web, &scene.world.ledger);
    let _hogs = [web.start_burning().unwrap(), ledger.start_burning().unwrap()];
    for (pod, kind, first) in [(web, Kind::A, 0), (ledger, Kind::Aaaa, 2500)] {
        let outcome = pod.first_connects("many.example.com", 80, first, 2500, kind).unwrap();
        assert_eq!((outcome.attempts, outcome.failed), (2500, 0), "{outcome:?}");
        println!("{kind:?}: 2500 first connects in {:.1} s, 0 failed", outcome.seconds);
    }
    let accepted = || scene.world.http.arrivals().at_port(80);
    let all = wait::holds(Duration::from_secs(10), || accepted() == 5000);
    assert!(all, "{} of 5000 connections at the server", accepted());
    // The twin: an address of the same kind that no answer named.
    scene.assert_refused(web, ip("198.18.100.100"), 80);
}

#[test]
fn a_pod_that_fills_its_share_takes_nothing_from_another() {
    let scene = scene("share");
    let (web, ledger) = (&scene.world.web, &scene.world.ledger);
    let known = scene.assert_name_reaches(web, "www.example.com", Kind::A, 80);
    let outcome = web.first_connects("many.example.com", 80, 0, 4200, Kind::A).unwrap();
    assert!(outcome.failed > 0, "the share has an end: {outcome:?}");
    assert!(outcome.failed < 200, "and up to there it is the pod's to use: {outcome:?}");
    scene.assert_reaches(web, known, 80);
    let outcome = ledger.first_connects("many.example.com", 80, 5000, 50, Kind::A).unwrap();
    assert_eq!((outcome.attempts, outcome.failed), (50, 0), "{outcome:?}");
}

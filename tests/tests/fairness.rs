//! Promise 8: one pod cannot use up another pod's share of any table, whatever it floods.

#![cfg(test)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;

use exeat_tests::pod_client::{Kind, probe_outside_cgroup};
use exeat_tests::probe::Flooded;
use exeat_tests::registry::Entry;
use exeat_tests::scene::Scene;
use exeat_tests::servers::HttpServer;
use exeat_tests::world::{ECHO_ADDRESSES, ECHO_PORT};

/// A trusted resolver that never answers by itself.
const SILENT_RESOLVER: &str = "192.0.2.54";
/// Beyond one pod's share of the queries, and of the table for all of them.
const QUERIES: u32 = 100_000;
/// Declared as a whole, and larger than the table of flows.
const WIDE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// Beyond one pod's share of the flows, and the whole table but for what the share leaves.
const FLOWS: u32 = 131_072;
const DATAGRAMS: u32 = 200_000;
const PACE: u32 = 400;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn scene(test: &str) -> Scene {
    let entries = [
        Entry::new("shop", "many", "*.many.example.com").port(80, "HTTP"),
        Entry::new("shop", "echo", "echo.example.com").port(ECHO_PORT, "UDP"),
        Entry::new("shop", "wide", "wide.example.com")
            .address("198.18.0.0/15")
            .port(ECHO_PORT, "UDP"),
        Entry::new("bank", "www", "www.example.com").port(80, "HTTP"),
        Entry::new("bank", "slow", "slow.example.com").port(80, "HTTP"),
    ];
    let mut scene = Scene::prepare(test, &entries).unwrap();
    let dns = &scene.world.dns;
    dns.set("www.example.com", &[ip("203.0.113.10")], 3600);
    dns.set("echo.example.com", &[ip(ECHO_ADDRESSES[0])], 3600);
    // What is sent there is dropped without a word; else ICMP would tell who asks that nobody is there.
    silence(&scene, "add");
    let config = scene.files.config_for(&scene.world.node);
    let trusted = format!("resolvers: [\"{SILENT_RESOLVER}\", ");
    scene.files.write_config(&config.replace("resolvers: [", &trusted)).unwrap();
    scene.start_agent().unwrap();
    scene
}

/// Adds or deletes the route that swallows what is sent to the silent resolver.
fn silence(scene: &Scene, verb: &str) {
    let route = format!("route {verb} blackhole {SILENT_RESOLVER}/32 table local\n");
    scene.world.node.internet().ip(&route).unwrap();
}

/// The neighbour goes on resolving while `flood` runs; prints what it felt. Only that every answer
/// came is asserted: how long it took is told, since other work on the machine decides it too.
fn beside(scene: &Scene, what: &str, flood: impl FnOnce() -> Flooded + Send) {
    let neighbour = &scene.world.ledger;
    let calm = neighbour.pace("www.example.com", PACE).unwrap();
    let (flooded, busy) = thread::scope(|scope| {
        let flood = scope.spawn(flood);
        let mut busy = Vec::new();
        while busy.is_empty() || !flood.is_finished() {
            busy.push(neighbour.pace("www.example.com", PACE).unwrap());
        }
        (flood.join().unwrap(), busy)
    });
    let failed: usize = busy.iter().map(|it| it.failed).sum();
    assert_eq!((calm.failed, failed), (0, 0), "the neighbour has every answer beside {what}");
    for pace in busy {
        println!(
            "{what}: {flooded:?}; the neighbour's p50 {} -> {} us, p99 {} -> {} us",
            calm.p50_micros, pace.p50_micros, calm.p99_micros, pace.p99_micros
        );
    }
}

/// How often a share was found used up.
fn share_used(scene: &Scene) -> f64 {
    let metrics = scene.agent().metrics().unwrap();
    let result = [("result", "share-used")];
    metrics.sum("exeat_dns_queries_total", &result)
        + metrics.sum("exeat_dns_answers_total", &result)
}

#[test]
fn a_flood_of_questions_takes_no_question_of_another_pod_away() {
    let scene = scene("questions");
    let (hostile, neighbour) = (&scene.world.web, &scene.world.ledger);
    let silent = SocketAddr::new(ip(SILENT_RESOLVER), 53);
    let asking = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let more = ["--id", "4711", "--local-port", "40404", "--timeout-ms", "60000"];
            neighbour.resolve_at(silent, "slow.example.com", Kind::A, &more).unwrap()
        });
        beside(&scene, "questions", || {
            hostile.flood_queries(silent, "many.example.com", QUERIES).unwrap()
        });
        // The answer to the neighbour's question comes only now.
        silence(&scene, "delete");
        let to = SocketAddr::new(neighbour.v4.into(), 40404).to_string();
        let from = silent.to_string();
        let forge = ["forge", "--from", &from, "--to", &to, "--id", "4711"];
        let answer = ["--name", "slow.example.com", "--answer", "203.0.113.30"];
        scene.world.node.internet_probe(&[&forge[..], &answer].concat()).unwrap();
        asking.join().unwrap()
    });
    assert_eq!(asking.addresses, [ip("203.0.113.30")], "{asking:?}");
    scene.assert_reaches(neighbour, ip("203.0.113.30"), 80);
    assert!(share_used(&scene) > 0.0, "the flood went over its share");
}

#[test]
fn a_flood_of_flows_leaves_room_for_those_of_another_pod() {
    let scene = scene("flows");
    let (hostile, neighbour) = (&scene.world.web, &scene.world.ledger);
    beside(&scene, "flows", || hostile.flood_flows(WIDE, ECHO_PORT, FLOWS).unwrap());
    // A server's replies need a remembered flow each. With the table full they would be denied.
    let port = 8080;
    let server = HttpServer::start(&neighbour.netns, &[port], &[]).unwrap();
    for address in [IpAddr::from(neighbour.v4), IpAddr::from(neighbour.v6)] {
        let (address, port) = (address.to_string(), port.to_string());
        let reached = scene.world.node.internet_probe(&["connect", &address, &port]).unwrap();
        assert_eq!(reached["result"], "OK", "{reached}");
    }
    drop(server);
    // Beyond its share the hostile pod is still judged, packet by packet.
    let metrics = scene.agent().metrics().unwrap();
    let refused = metrics.sum("exeat_flows_total", &[("layer", "wire"), ("reason", "share-used")]);
    assert!(refused > 0.0, "the flood went over its share");
    let echo = hostile.address_of("echo.example.com", Kind::A).unwrap();
    scene.assert_echoes(echo, ECHO_PORT, || hostile.udp(echo, ECHO_PORT));
    scene.assert_refused(hostile, ip("203.0.113.99"), 80);
}

#[test]
fn a_flood_of_denied_packets_slows_nobody_and_nothing_of_it_arrives() {
    let scene = scene("denied");
    let hostile = &scene.world.web;
    let to = SocketAddr::new(ip("203.0.113.30"), ECHO_PORT);
    beside(&scene, "denied packets", || {
        let count = DATAGRAMS.to_string();
        probe_outside_cgroup(
            &scene.world.node,
            hostile,
            &["flood-datagrams", &to.to_string(), "--count", &count],
        )
        .unwrap()
    });
    assert_eq!(scene.world.tap.packets_to(to).unwrap(), 0, "packets for {to}");
    // The twin: the same address may be reached once it is declared.
    let entry = Entry::new("shop", "late", "late.example.com").port(ECHO_PORT, "UDP");
    scene.world.dns.set("late.example.com", &[to.ip()], 60);
    scene.put(&entry).unwrap();
    scene.wait_until_resolves(hostile, "late.example.com");
    scene.assert_echoes(to.ip(), ECHO_PORT, || hostile.udp(to.ip(), ECHO_PORT));
}

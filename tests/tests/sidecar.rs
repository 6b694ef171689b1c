//! Promise 5 for pods with a proxy of their own: their flows go through it, it is told where they were going
//! as netfilter would tell it, and it is held to the registry too.

#![cfg(test)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use exeat_tests::flows::{About, FlowLog};
use exeat_tests::node::Pod;
use exeat_tests::pod_client::{Kind, probe_binary, probe_outside_cgroup, run_probe};
use exeat_tests::probe::{Originals, Reached};
use exeat_tests::registry::Entry;
use exeat_tests::scene::Scene;
use exeat_tests::sidecar::{PORT, Sidecar};
use exeat_tests::wait;
use exeat_tests::world::{ECHO_PORT, World};

const BOTH: [Kind; 2] = [Kind::A, Kind::Aaaa];
const DEADLINE: Duration = Duration::from_secs(5);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn www() -> Entry {
    Entry::new("shop", "www", "www.example.com").port(80, "HTTP").port(443, "TLS")
}

/// `web` has a proxy; its cgroup is there unless `late`.
fn scene(test: &str, entries: &[Entry], late: bool) -> Scene {
    let mut scene = Scene::prepare(test, entries).expect("a world");
    let World { web, node, .. } = &scene.world;
    if !late {
        std::fs::create_dir(web.sidecar_cgroup()).expect("a cgroup");
    }
    let config = scene.files.config_with_sidecars(node, &[web]);
    scene.files.write_config(&config).expect("a configuration");
    scene.world.dns.set("www.example.com", &[ip("203.0.113.10"), ip("2001:db8::10")], 3600);
    scene.start_agent().expect("an agent");
    scene
}

/// Connections that wait for their proxy, as the kernel's table has them.
fn waiting(scene: &Scene) -> f64 {
    let metrics = scene.agent().metrics().expect("metrics");
    assert!(metrics.has("exeat_map_entries"));
    metrics.sum("exeat_map_entries", &[("map", "HANDOVERS")])
}

fn as_sidecar(pod: &Pod, args: &[&str]) -> Reached {
    let command = pod.sidecar_command(probe_binary().expect("a probe")).expect("a command");
    run_probe(command, args).expect("a probe")
}

#[test]
fn flows_go_through_the_proxy_which_is_told_where_they_were_going() {
    let scene = scene("through", &[www()], false);
    let web = &scene.world.web;
    let proxy = Sidecar::start(web, PORT).expect("a proxy");
    let mut expected = Vec::new();
    for kind in BOTH {
        let address = web.address_of("www.example.com", kind).expect("an address");
        for port in [80, 443] {
            scene.assert_reaches(web, address, port);
            expected.push(SocketAddr::new(address, port).to_string());
        }
        let reached = web.connect(address, 80).expect("a probe");
        assert_eq!(reached.peer, Some(SocketAddr::new(address, 80)), "what getpeername shows");
        expected.push(SocketAddr::new(address, 80).to_string());
    }
    let mapped = IpAddr::V6(Ipv4Addr::new(203, 0, 113, 10).to_ipv6_mapped());
    scene.assert_reaches(web, mapped, 80);
    expected.push("203.0.113.10:80".to_owned());
    assert_eq!(proxy.told(), expected);
    // The twins: what nothing declares comes neither to the proxy nor out of the pod.
    scene.assert_refused(web, ip("203.0.113.99"), 80);
    scene.assert_refused(web, ip("203.0.113.10"), 8080);
    assert_eq!(proxy.told(), expected);
    // A pod without a proxy goes straight.
    scene.assert_name_reaches(&scene.world.ledger, "www.example.com", Kind::A, 80);
    assert_eq!(proxy.told(), expected);
    assert!(wait::holds(DEADLINE, || waiting(&scene) == 0.0), "nothing waits");
}

#[test]
fn the_proxy_is_judged_and_not_sent_back_to_itself() {
    let scene = scene("proxy", &[www()], false);
    let web = &scene.world.web;
    let proxy = Sidecar::start(web, PORT).expect("a proxy");
    for kind in BOTH {
        let address = web.address_of("www.example.com", kind).expect("an address");
        let server = SocketAddr::new(address, 80);
        let before = scene.world.http.arrivals().at(server);
        let reached = as_sidecar(web, &["connect", &address.to_string(), "80"]);
        assert!(reached.is_ok(), "{reached:?}");
        assert_eq!(reached.peer, Some(server));
        assert_eq!(scene.world.http.arrivals().at(server) - before, 1);
        for (to, port) in [(address, 8080), (ip("203.0.113.99"), 80)] {
            scene.assert_silent(SocketAddr::new(to, port), "EPERM", || {
                Ok(as_sidecar(web, &["connect", &to.to_string(), &port.to_string()]))
            });
        }
    }
    assert!(proxy.told().is_empty(), "{:?}", proxy.told());
}

#[test]
fn past_the_proxy_nothing_leaves() {
    let scene = scene("past", &[www()], false);
    let web = &scene.world.web;
    let _proxy = Sidecar::start(web, PORT).expect("a proxy");
    for kind in BOTH {
        let address = web.address_of("www.example.com", kind).expect("an address");
        scene.assert_reaches(web, address, 80);
        let to = SocketAddr::new(address, 443);
        let before = scene.world.tap.packets_to(to).expect("a count");
        let args = ["connect", &address.to_string(), "443", "--timeout-ms", "1000"];
        let reached: Reached =
            probe_outside_cgroup(&scene.world.node, web, &args).expect("a probe");
        assert!(!reached.is_ok(), "{reached:?}");
        assert_eq!(scene.world.tap.packets_to(to).expect("a count"), before, "{to}");
    }
}

#[test]
fn before_the_proxy_is_there_calls_fail_at_once_and_say_why() {
    let scene = scene("late", &[www()], true);
    let web = &scene.world.web;
    let log = FlowLog::follow(&scene.files, &scene.world.node).expect("the flow log");
    let address = web.address_of("www.example.com", Kind::A).expect("an address");
    let mark = log.mark();
    scene.assert_refused(web, address, 80);
    let record = log.denial(web, About::Address(address, 80), mark, DEADLINE).expect("a record");
    assert_eq!((record.layer.as_str(), record.reason.as_str()), ("socket", "no-sidecar"));
    // Its container comes up: not listening yet, then listening.
    std::fs::create_dir(web.sidecar_cgroup()).expect("a cgroup");
    let known = wait::holds(DEADLINE, || {
        web.connect(address, 80).is_ok_and(|reached| reached.result == "ECONNREFUSED")
    });
    assert!(known, "the proxy's cgroup was found");
    let proxy = Sidecar::start(web, PORT).expect("a proxy");
    scene.assert_reaches(web, address, 80);
    assert_eq!(proxy.told(), [SocketAddr::new(address, 80).to_string()]);
    assert!(wait::holds(DEADLINE, || waiting(&scene) == 0.0), "nothing is left of the refused");
}

#[test]
fn datagrams_do_not_go_through_the_proxy() {
    let clock = Entry::new("shop", "clock", "www.example.com").port(ECHO_PORT, "UDP");
    let scene = scene("clock", &[clock], false);
    let web = &scene.world.web;
    let proxy = Sidecar::start(web, PORT).expect("a proxy");
    for kind in BOTH {
        let address = web.address_of("www.example.com", kind).expect("an address");
        scene.assert_echoes(address, ECHO_PORT, || web.udp(address, ECHO_PORT));
        scene.assert_echoes(address, ECHO_PORT, || web.udp_connected(address, ECHO_PORT));
        scene.assert_refused(web, address, ECHO_PORT);
    }
    assert!(proxy.told().is_empty());
}

#[test]
fn the_port_of_the_proxy_is_the_configured_one() {
    let mut scene = scene("port", &[www()], false);
    scene.agent.take().expect("an agent").stop().expect("an end");
    let config = std::fs::read_to_string(scene.files.config()).expect("a configuration");
    scene.files.write_config(&format!("{config}sidecar: {{port: 15101}}\n")).expect("written");
    scene.start_agent().expect("an agent");
    let web = &scene.world.web;
    let wrong = Sidecar::start(web, PORT).expect("a proxy");
    let right = Sidecar::start(web, 15101).expect("a proxy");
    let address = scene.assert_name_reaches(web, "www.example.com", Kind::A, 80);
    assert_eq!(right.told(), [SocketAddr::new(address, 80).to_string()]);
    assert!(wrong.told().is_empty());
}

#[test]
fn what_cannot_go_through_the_proxy_is_refused() {
    let scene = scene("cannot", &[www()], false);
    let web = &scene.world.web;
    let proxy = Sidecar::start(web, PORT).expect("a proxy");
    let address = web.address_of("www.example.com", Kind::A).expect("an address");
    let log = FlowLog::follow(&scene.files, &scene.world.node).expect("the flow log");
    let mark = log.mark();
    let to = SocketAddr::new(address, 80);
    // Loopback cannot be reached by way of eth0.
    scene.assert_silent(to, "EPERM", || {
        web.probe(&["connect", &address.to_string(), "80", "--device", "eth0"])
    });
    let record = log.denial(web, About::Address(address, 80), mark, DEADLINE).expect("a record");
    assert_eq!((record.layer.as_str(), record.reason.as_str()), ("socket", "no-redirect"));
    assert!(proxy.told().is_empty());
    // The twins: bound to nothing, and over several paths.
    scene.assert_reaches(web, address, 80);
    let args = ["leak", "connect-mptcp", "--to", &to.to_string(), "--wait-ms", "3000"];
    let reached: Reached = web.probe(&args).expect("a probe");
    assert!(reached.is_ok(), "{reached:?}");
    assert_eq!(proxy.told(), [to.to_string(), to.to_string()]);
}

/// The agent has not seen the new one yet: whatever it connects to, it must not be told of its own.
#[test]
fn a_proxy_in_the_place_of_another_is_not_sent_round_in_circles() {
    let scene = scene("renewed", &[www()], false);
    let web = &scene.world.web;
    let address = web.address_of("www.example.com", Kind::A).expect("an address");
    let first = Sidecar::start(web, PORT).expect("a proxy");
    scene.assert_reaches(web, address, 80);
    drop(first);
    let removed = wait::holds(DEADLINE, || std::fs::remove_dir(web.sidecar_cgroup()).is_ok());
    assert!(removed, "the cgroup of the proxy that ended");
    let second = Sidecar::start(web, PORT).expect("a proxy");
    let passes = || web.connect(address, 80).is_ok_and(|reached| reached.is_ok());
    assert!(wait::holds(DEADLINE, passes), "the new proxy is known after a while");
    let to = SocketAddr::new(address, 80).to_string();
    let told = second.told();
    assert_eq!(told.iter().filter(|it| **it == to).count(), 1, "{told:?}");
    assert!(told.len() < 1_000, "{} connections", told.len());
}

/// Source ports are few, so that each is used again and again; a quarter of the connections is reset before
/// they say anything.
#[test]
fn ten_thousand_connections_are_told_right_and_leave_nothing_behind() {
    const CLIENTS: u32 = 500;
    const CONNECTIONS: u32 = 10_000;
    const SOURCE_PORTS: u32 = 800;
    let entry = |number: u8| {
        Entry::new("shop", &format!("e{number}"), &format!("e{number}.example.com"))
            .address(&format!("203.0.113.{number}"))
            .address(&format!("2001:db8::{number}"))
            .port(80, "TCP")
            .port(5432, "TCP")
    };
    let scene = scene("exact", &[1, 2, 3, 4, 5].map(entry), false);
    let web = &scene.world.web;
    let range = format!("40000 {}", 40_000 + SOURCE_PORTS - 1);
    web.netns.sysctl("net/ipv4/ip_local_port_range", &range).expect("a range");
    web.netns.sysctl("net/core/somaxconn", "8192").expect("a backlog");
    let _proxy = Sidecar::start_telling(web, PORT).expect("a proxy");
    let mut args = vec!["originals".to_owned()];
    args.extend(["--clients".to_owned(), CLIENTS.to_string()]);
    args.extend(["--connections".to_owned(), CONNECTIONS.to_string()]);
    for number in 1..=5 {
        for port in [80, 5432] {
            for address in
                [format!("203.0.113.{number}:{port}"), format!("[2001:db8::{number}]:{port}")]
            {
                args.extend(["--to".to_owned(), address]);
            }
        }
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let told: Originals = web.probe(&args).expect("a probe");
    println!("{told:?}");
    assert_eq!((told.wrong, told.missing, told.failed), (0, 0, 0), "{told:?}");
    assert_eq!(told.reset, u64::from(CONNECTIONS / 4));
    assert_eq!(told.right, u64::from(CONNECTIONS - CONNECTIONS / 4));
    assert!(told.source_ports <= SOURCE_PORTS as usize, "{told:?}");
    assert!(CONNECTIONS as usize >= 10 * told.source_ports, "ports are used again: {told:?}");
    assert!(wait::holds(DEADLINE, || waiting(&scene) == 0.0), "{} left", waiting(&scene));
}

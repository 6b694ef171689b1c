//! Starting the agent beside running workloads: what the registry allows goes on, what it does not
//! ends, and a restart gives nothing. Every connection is shown to work before the agent starts.

#![cfg(test)]

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use exeat_tests::node::Family;
use exeat_tests::pod_client::Kind;
use exeat_tests::registry::Entry;
use exeat_tests::scene::{IN_FORCE_WITHIN, Scene};
use exeat_tests::servers::{DnsServer, LineServer, Unknown};
use exeat_tests::session::Session;
use exeat_tests::wait;

/// Granted to `api.example.com`.
const GRANTED: u16 = 7000;
/// Granted to nobody.
const OTHER: u16 = 7001;
/// Where the pod itself listens.
const SERVED: u16 = 5300;
const BOTH: [Kind; 2] = [Kind::A, Kind::Aaaa];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn api() -> Entry {
    Entry::new("shop", "api", "api.example.com").port(GRANTED, "TCP")
}

/// `api` moves to another address after the pod has connected to it; `www` stays.
fn prepare(test: &str) -> Scene {
    let www = Entry::new("shop", "www", "www.example.com").port(80, "HTTP");
    let many = Entry::new("shop", "many", "*.many.example.com").port(80, "HTTP");
    let scene = Scene::prepare(test, &[www, api(), many]).unwrap();
    let dns = &scene.world.dns;
    dns.set("www.example.com", &[ip("203.0.113.10"), ip("2001:db8::10")], 60);
    dns.set("api.example.com", &[ip("203.0.113.40"), ip("2001:db8::40")], 60);
    dns.set("one.many.example.com", &[ip("203.0.113.50"), ip("2001:db8::50")], 60);
    scene
}

/// A connection of the pod, kept in a session under the name of its address and port.
fn key(to: SocketAddr) -> String {
    to.to_string()
}

/// The line comes back, and arrived where it was sent to.
#[track_caller]
fn assert_carries(session: &mut Session, server: &LineServer, to: SocketAddr) {
    let before = server.arrivals().at(to);
    let reached = session.say(&key(to)).unwrap();
    assert!(reached.is_ok(), "a line to {to}: {reached:?}");
    assert_eq!(server.arrivals().at(to) - before, 1, "lines that arrived at {to}");
}

/// The line does not come back, and did not arrive.
#[track_caller]
fn assert_dead(session: &mut Session, server: &LineServer, to: SocketAddr) {
    let before = server.arrivals().at(to);
    let reached = session.say(&key(to)).unwrap();
    assert!(!reached.is_ok(), "a line to {to}: {reached:?}");
    assert_eq!(server.arrivals().at(to), before, "lines that arrived at {to}");
}

#[test]
fn what_the_registry_allows_goes_on_and_the_rest_ends() {
    let mut scene = prepare("preseed");
    let web = scene.world.web.clone();
    let server = LineServer::start(scene.world.node.internet(), &[GRANTED, OTHER]).unwrap();
    let mut pod = Session::in_pod(&web).unwrap();
    let mut client = Session::outside(&scene.world.node).unwrap();
    assert!(pod.listen(SERVED).unwrap().is_ok());
    let (mut cached, mut granted, mut other, mut inbound) = (vec![], vec![], vec![], vec![]);
    for kind in BOTH {
        cached.push(web.address_of("www.example.com", kind).unwrap());
        let address = web.address_of("api.example.com", kind).unwrap();
        granted.push(SocketAddr::new(address, GRANTED));
        other.push(SocketAddr::new(address, OTHER));
        let family = if kind == Kind::A { Family::V4 } else { Family::V6 };
        inbound.push(SocketAddr::new(web.ip(family), SERVED));
    }
    for to in granted.iter().chain(&other) {
        assert!(pod.open(&key(*to), *to).unwrap().is_ok(), "{to}");
        assert_carries(&mut pod, &server, *to);
    }
    for to in &inbound {
        assert!(client.open(&key(*to), *to).unwrap().is_ok(), "{to}");
        assert!(client.say(&key(*to)).unwrap().is_ok(), "{to}");
    }
    // Nothing resolves to the address of the open connections any more.
    let dns = &scene.world.dns;
    dns.set("api.example.com", &[ip("203.0.113.41"), ip("2001:db8::41")], 60);

    scene.start_agent().unwrap();
    for address in cached {
        scene.assert_reaches(&web, address, 80);
    }
    for to in &granted {
        assert_carries(&mut pod, &server, *to);
        // It is the connection that stays, not the address.
        scene.assert_refused(&web, to.ip(), to.port());
    }
    for to in &other {
        assert_dead(&mut pod, &server, *to);
    }
    for to in &inbound {
        let reached = client.say(&key(*to)).unwrap();
        assert!(reached.is_ok(), "from outside to {to}: {reached:?}");
    }
    let metrics = scene.agent().metrics().unwrap();
    let flows = metrics.sum("exeat_preseeded_total", &[("kind", "flow")]);
    assert!((flows - 4.0).abs() < 0.1, "two outbound, two inbound: {flows}");

    // The rule that they are held to goes, and they with it. What came in stays.
    scene.remove(&api()).unwrap();
    for to in &granted {
        let ended = || !pod.say(&key(*to)).unwrap().is_ok();
        assert!(wait::holds(IN_FORCE_WITHIN, ended), "{to} outlives its rule");
        assert_dead(&mut pod, &server, *to);
    }
    assert!(client.say(&key(inbound[0])).unwrap().is_ok());
}

#[test]
fn what_cannot_be_resolved_ahead_waits_until_it_is_asked_for() {
    let mut scene = prepare("wildcard");
    let (web, dns) = (scene.world.web.clone(), &scene.world.dns);
    // A name that is granted, and says an address that no answer opens.
    dns.set("api.example.com", &[ip("169.254.1.1"), ip("203.0.113.41")], 60);
    let cached = web.address_of("one.many.example.com", Kind::A).unwrap();
    assert!(web.connect(cached, 80).unwrap().is_ok(), "before the agent");
    let asked = dns.asked("one.many.example.com");
    scene.start_agent().unwrap();
    scene.assert_refused(&web, cached, 80);
    assert_eq!(scene.world.dns.asked("one.many.example.com"), asked, "nobody can list the names");
    assert_eq!(web.connect(ip("169.254.1.1"), GRANTED).unwrap().result, "EPERM");
    // The twins: an exact name, and the wildcard's name once the pod asks.
    scene.assert_reaches(&web, ip("203.0.113.10"), 80);
    scene.assert_name_reaches(&web, "one.many.example.com", Kind::A, 80);
}

#[test]
fn a_silent_resolver_does_not_hold_the_agent_up() {
    let mut scene = prepare("silent");
    let web = scene.world.web.clone();
    let cached = ip("203.0.113.10");
    assert!(web.connect(cached, 80).unwrap().is_ok(), "before the agent");
    let address = SocketAddr::new(ip("192.0.2.99"), 53);
    let internet = scene.world.node.internet().clone();
    let silent = internet.run(|| UdpSocket::bind(address)).unwrap().unwrap();
    let config = scene.files.config_for(&scene.world.node);
    let resolvers = format!("dns: {{resolvers: [\"{}\"]}}", address.ip());
    let is_dns = |line: &&str| line.starts_with("dns:");
    let line = config.lines().find(is_dns).expect("a line about DNS").to_owned();
    scene.files.write_config(&config.replace(&line, &resolvers)).unwrap();
    // It waits for readiness.
    scene.start_agent().unwrap();
    scene.assert_refused(&web, cached, 80);
    scene.assert_refused(&web, ip("203.0.113.99"), 80);
    assert!(scene.files.log_text().contains("slow or silent"), "{}", scene.files.log_text());
    // The twin: it comes back, and the name with it. Nobody in the pod asks.
    drop(silent);
    let dns = DnsServer::start(&internet, &[address], Unknown::NxDomain).unwrap();
    dns.set("www.example.com", &[cached], 60);
    let opened = || web.connect(cached, 80).unwrap().is_ok();
    assert!(wait::holds(Duration::from_mins(1), opened), "{}", scene.files.log_text());
    scene.assert_reaches(&web, cached, 80);
}

#[test]
fn a_restart_resolves_nothing_and_adopts_nothing() {
    let mut scene = prepare("again");
    let web = scene.world.web.clone();
    scene.start_agent().unwrap();
    scene.assert_reaches(&web, ip("203.0.113.10"), 80);
    let asked = scene.world.dns.asked_total();
    assert_ne!(asked, 0, "the first start asks");
    scene.kill_agent().unwrap();
    scene.start_agent().unwrap();
    assert_eq!(scene.world.dns.asked_total(), asked, "questions of the second start");
    let metrics = scene.agent().metrics().unwrap();
    assert!(
        metrics.sum("exeat_preseeded_total", &[]).abs() < 0.1,
        "the second agent gave something"
    );
    scene.assert_reaches(&web, ip("203.0.113.10"), 80);
}

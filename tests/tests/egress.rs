//! Promise 1, nothing leaves unregistered, and promise 4, a fact belongs to the pod that
//! asked. Each denial has an allowed twin, and both are counted at the receiver.

#![cfg(test)]

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::process::Stdio;
use std::time::{Duration, Instant};

use exeat_tests::node::Pod;
use exeat_tests::pod_client::{Background, Kind, probe_binary, probe_outside_cgroup};
use exeat_tests::probe::Reached;
use exeat_tests::registry::Entry;
use exeat_tests::scene::Scene;
use exeat_tests::servers::{HttpServer, PAGE};
use exeat_tests::wait;
use exeat_tests::world::ECHO_PORT;

const BOTH: [Kind; 2] = [Kind::A, Kind::Aaaa];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// An address nobody declared, of the IP version a kind stands for.
fn bare(kind: Kind) -> IpAddr {
    match kind {
        Kind::A => ip("203.0.113.99"),
        Kind::Aaaa => ip("2001:db8::99"),
    }
}

fn www() -> Entry {
    Entry::new("shop", "www", "www.example.com").private().port(80, "HTTP").port(443, "TLS")
}

fn scene(test: &str, entries: &[Entry]) -> Scene {
    let scene = Scene::start(test, entries).unwrap();
    let dns = &scene.world.dns;
    dns.set("www.example.com", &[ip("203.0.113.10"), ip("2001:db8::10")], 60);
    dns.set("clock.example.com", &[ip("203.0.113.30"), ip("2001:db8::30")], 60);
    dns.set("img.cdn.example.net", &[ip("203.0.113.20"), ip("2001:db8::20")], 60);
    dns.set("a.b.cdn.example.net", &[ip("203.0.113.21"), ip("2001:db8::21")], 60);
    dns.set("cdn.example.net", &[ip("203.0.113.22"), ip("2001:db8::22")], 60);
    dns.set("xcdn.example.net", &[ip("203.0.113.23"), ip("2001:db8::23")], 60);
    dns.set("api.bank.example", &[ip("198.51.100.10"), ip("2001:db8:1::10")], 60);
    scene
}

#[test]
fn a_registered_name_is_reached_and_a_bare_address_is_not() {
    let scene = scene("names", &[www()]);
    let web = &scene.world.web;
    for kind in BOTH {
        let address = scene.assert_name_reaches(web, "www.example.com", kind, 80);
        scene.assert_reaches(web, address, 443);
        for port in [80, 443] {
            scene.assert_refused(web, bare(kind), port);
        }
    }
}

#[test]
fn a_declared_address_is_closed_until_its_name_was_asked_for() {
    let scene = scene("unasked", &[www()]);
    let web = &scene.world.web;
    scene.assert_refused(web, ip("203.0.113.10"), 80);
    scene.assert_name_reaches(web, "www.example.com", Kind::A, 80);
}

#[test]
fn a_wildcard_covers_names_below_it_and_not_its_apex() {
    let entry = Entry::new("shop", "cdn", "*.cdn.example.net").port(443, "TLS");
    let scene = scene("wildcard", &[entry]);
    let web = &scene.world.web;
    for kind in BOTH {
        scene.assert_name_reaches(web, "img.cdn.example.net", kind, 443);
        scene.assert_name_reaches(web, "a.b.cdn.example.net", kind, 443);
    }
    scene.assert_no_such_name(web, "cdn.example.net");
    scene.assert_no_such_name(web, "xcdn.example.net");
}

#[test]
fn a_port_that_is_not_declared_is_refused() {
    let scene = scene("ports", &[www()]);
    let web = &scene.world.web;
    for kind in BOTH {
        let address = scene.assert_name_reaches(web, "www.example.com", kind, 80);
        scene.assert_refused(web, address, 8080);
        scene.assert_refused(web, address, 5432);
    }
}

#[test]
fn udp_is_open_where_declared_and_nowhere_else() {
    let clock = Entry::new("shop", "clock", "clock.example.com").port(ECHO_PORT, "UDP");
    let tcp_only = www().port(ECHO_PORT, "TCP");
    let scene = scene("udp", &[clock, tcp_only]);
    let web = &scene.world.web;
    for kind in BOTH {
        let clock = web.address_of("clock.example.com", kind).unwrap();
        scene.assert_echoes(clock, ECHO_PORT, || web.udp(clock, ECHO_PORT));
        scene.assert_echoes(clock, ECHO_PORT, || web.udp_connected(clock, ECHO_PORT));
        let www = web.address_of("www.example.com", kind).unwrap();
        let to = SocketAddr::new(www, ECHO_PORT);
        scene.assert_silent(to, "EPERM", || web.udp(www, ECHO_PORT));
        scene.assert_silent(to, "EPERM", || web.udp_connected(www, ECHO_PORT));
        // And a UDP port opens no TCP.
        scene.assert_refused(web, clock, ECHO_PORT);
    }
}

#[test]
fn declared_addresses_and_prefixes_need_no_name() {
    let entry = Entry::new("shop", "warehouse", "warehouse.example.com")
        .address("203.0.113.50")
        .address("198.51.100.128/25")
        .address("2001:db8:50::/64")
        .port(5432, "TCP");
    let scene = scene("prefixes", &[entry]);
    let web = &scene.world.web;
    for inside in ["203.0.113.50", "198.51.100.128", "198.51.100.255", "2001:db8:50::1"] {
        scene.assert_reaches(web, ip(inside), 5432);
        scene.assert_refused(web, ip(inside), 80);
    }
    for outside in ["203.0.113.51", "198.51.100.127", "2001:db8:50:1::1"] {
        scene.assert_refused(web, ip(outside), 5432);
    }
}

#[test]
fn an_ipv4_address_in_ipv6_clothes_is_the_same_address() {
    let scene = scene("mapped", &[www()]);
    let web = &scene.world.web;
    let mapped = |address: IpAddr| match address {
        IpAddr::V4(address) => IpAddr::V6(address.to_ipv6_mapped()),
        IpAddr::V6(_) => address,
    };
    let address = web.address_of("www.example.com", Kind::A).unwrap();
    assert_ne!(mapped(address), IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    scene.assert_reaches(web, mapped(address), 80);
    scene.assert_refused(web, mapped(bare(Kind::A)), 80);
}

#[test]
fn an_entry_is_seen_by_the_namespaces_it_is_exported_to() {
    let api = Entry::new("bank", "api", "api.bank.example").private().port(443, "TLS");
    let scene = scene("export", &[api]);
    let (web, ledger) = (&scene.world.web, &scene.world.ledger);
    for kind in BOTH {
        let address = scene.assert_name_reaches(ledger, "api.bank.example", kind, 443);
        scene.assert_refused(web, address, 443);
    }
    scene.assert_no_such_name(web, "api.bank.example");
}

#[test]
fn what_one_pod_learned_opens_nothing_for_another() {
    let shared = Entry::new("shop", "www", "www.example.com").port(80, "HTTP");
    let scene = scene("facts", &[shared]);
    let (web, ledger) = (&scene.world.web, &scene.world.ledger);
    for kind in BOTH {
        let address = scene.assert_name_reaches(ledger, "www.example.com", kind, 80);
        scene.assert_refused(web, address, 80);
        // The twin: it only has to ask for itself.
        scene.assert_name_reaches(web, "www.example.com", kind, 80);
    }
}

#[test]
fn pods_do_not_reach_each_other_unregistered() {
    let peer = Entry::new("shop", "peer", "peer.example.com").address("10.9.0.3").port(8080, "TCP");
    let scene = scene("peers", &[www()]);
    let (web, ledger) = (&scene.world.web, &scene.world.ledger);
    let server = HttpServer::start(&ledger.netns, &[8080], &[]).unwrap();
    for address in [IpAddr::from(ledger.v4), IpAddr::from(ledger.v6)] {
        let reached = web.connect(address, 8080).unwrap();
        assert_eq!(reached.result, "EPERM", "{address}");
    }
    assert_eq!(server.arrivals().total(), 0);
    assert_eq!(IpAddr::from(ledger.v4), ip("10.9.0.3"));
    scene.put(&peer).unwrap();
    let opened = wait::holds(exeat_tests::scene::IN_FORCE_WITHIN, || {
        web.connect(ledger.v4.into(), 8080).is_ok_and(|reached| reached.is_ok())
    });
    assert!(opened, "the twin: registered, the peer is reached");
}

/// The socket layer judges by the socket's cgroup. A socket from elsewhere passes it, and is
/// then held by the wire layer.
#[test]
fn a_socket_from_outside_the_pods_cgroup_is_held_on_the_wire() {
    let clock = Entry::new("shop", "clock", "clock.example.com").port(ECHO_PORT, "UDP");
    let scene = scene("outside", &[www(), clock]);
    let web = &scene.world.web;
    for kind in BOTH {
        let www = web.address_of("www.example.com", kind).unwrap();
        let reached = from_outside(&scene, web, "connect", www, 80);
        assert!(reached.is_ok(), "the twin, registered and learned: {reached:?}");
        let clock = web.address_of("clock.example.com", kind).unwrap();
        let reached = from_outside(&scene, web, "udp", clock, ECHO_PORT);
        assert!(reached.is_ok(), "the twin, registered and learned: {reached:?}");
        for (verb, port) in [("connect", 80), ("udp", ECHO_PORT)] {
            let to = SocketAddr::new(bare(kind), port);
            let before = scene.world.tap.packets_to(to).unwrap();
            let reached = from_outside(&scene, web, verb, bare(kind), port);
            assert!(!reached.is_ok(), "{verb} {to}: {reached:?}");
            let left = scene.world.tap.packets_to(to).unwrap() - before;
            assert_eq!(left, 0, "{verb} {to}: packets that left the node");
        }
    }
}

fn from_outside(scene: &Scene, pod: &Pod, verb: &str, address: IpAddr, port: u16) -> Reached {
    let (address, port) = (address.to_string(), port.to_string());
    let args = [verb, &address, &port, "--timeout-ms", "1000"];
    probe_outside_cgroup(&scene.world.node, pod, &args).unwrap()
}

#[test]
fn a_process_the_agent_does_not_know_reaches_nothing() {
    let scene = scene("unknown", &[www()]);
    // A cgroup below the enforced one which no workload is configured for.
    let stray = scene.world.node.cgroup_root().join("stray");
    std::fs::create_dir(&stray).unwrap();
    let internet = scene.world.node.netns();
    let mut command = internet.command(&probe_binary().unwrap(), &stray).unwrap();
    command.args(["connect", "203.0.113.10", "80"]);
    let output = command.output().unwrap();
    let reached: Reached = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(reached.result, "EPERM", "{output:?}");
    // The twin: the same in a cgroup that is not enforced.
    let output = scene
        .world
        .node
        .command(&probe_binary().unwrap())
        .unwrap()
        .args(["connect", "203.0.113.10", "80"])
        .output()
        .unwrap();
    let reached: Reached = serde_json::from_slice(&output.stdout).unwrap();
    assert!(reached.is_ok(), "{reached:?}");
}

#[test]
fn real_curl_reads_what_is_registered_and_fails_at_once_elsewhere() {
    let scene = scene("curl", &[www()]);
    let web = &scene.world.web;
    for url in ["http://www.example.com/", "https://www.example.com/"] {
        for version in ["-4", "-6"] {
            let output = web.tool("curl", &["-sSk", version, "--max-time", "5", url]).unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), PAGE, "{url}: {output:?}");
        }
    }
    // Exit codes of curl: 6 is "could not resolve host", 7 "failed to connect".
    for (url, code) in [
        ("http://www.example.org/", 6),
        ("http://203.0.113.99/", 7),
        ("http://[2001:db8::99]/", 7),
        ("http://www.example.com:8080/", 7),
    ] {
        let start = Instant::now();
        let output = web.tool("curl", &["-sS", "--max-time", "5", url]).unwrap();
        assert_eq!(output.status.code(), Some(code), "{url}: {output:?}");
        assert!(start.elapsed() < Duration::from_secs(1), "{url} took {:?}", start.elapsed());
    }
}

#[test]
fn real_dnsmasq_and_dig_teach_as_well() {
    // A name below a wildcard, which the agent cannot resolve ahead.
    let cdn = Entry::new("shop", "cdn", "*.cdn.example.net").port(80, "HTTP");
    let mut scene = Scene::prepare("dnsmasq", &[cdn]).unwrap();
    let node = &scene.world.node;
    node.internet().ip("addr add 192.0.2.54/32 dev lo\n").unwrap();
    let config = scene.files.config_for(node).replace("resolvers: [", "resolvers: [192.0.2.54, ");
    scene.files.write_config(&config).unwrap();
    let child = node
        .internet_command("dnsmasq".as_ref())
        .unwrap()
        .args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--bind-interfaces"])
        .args(["--conf-file=/dev/null", "--pid-file=", "--user=root", "--local-ttl=60"])
        .args(["--listen-address=192.0.2.54", "--except-interface=uplink"])
        .arg("--host-record=img.cdn.example.net,203.0.113.60,2001:db8::60")
        .stderr(Stdio::null())
        .spawn()
        .expect("start dnsmasq (Debian package dnsmasq-base)");
    let _dnsmasq = Background::new(child);
    let question = ["resolve", "img.cdn.example.net", "--server", "192.0.2.54:53"];
    let up = wait::holds(Duration::from_secs(10), || {
        node.internet_probe(&question).is_ok_and(|answer| answer["rcode"] == "NoError")
    });
    assert!(up, "dnsmasq answers");
    scene.start_agent().unwrap();
    let web = &scene.world.web;
    for (kind, address) in [("A", ip("203.0.113.60")), ("AAAA", ip("2001:db8::60"))] {
        scene.assert_refused(web, address, 80);
        let dig = ["+short", "+tries=1", "+timeout=2", "@192.0.2.54", "img.cdn.example.net", kind];
        let output = web.tool("dig", &dig).unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), address.to_string());
        scene.assert_reaches(web, address, 80);
    }
    let dig = ["+tries=1", "+timeout=2", "@192.0.2.54", "www.example.org", "A"];
    let output = web.tool("dig", &dig).unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("NXDOMAIN"), "{output:?}");
}

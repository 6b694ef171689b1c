//! The ground the other tests stand on: without an agent everything reaches everything, the
//! receivers count it, and nothing is left behind. So a denial elsewhere is exeat's doing.

#![cfg(test)]

use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use exeat_tests::node::{Node, RESOLVER_V4, RESOLVER_V6, STRANGER_RESOLVER};
use exeat_tests::pod_client::{Kind, probe_outside_cgroup};
use exeat_tests::servers::{DnsServer, EchoServer, HttpServer, PAGE, Unknown};
use exeat_tests::tap::Tap;
use exeat_tests::{run, wait};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn everything_is_reachable_without_an_agent() {
    let mut node = Node::new("open").unwrap();
    let pod = node.pod("shop", "web").unwrap();
    let resolvers = [RESOLVER_V4, RESOLVER_V6].map(|address| SocketAddr::new(address, 53));
    let dns = DnsServer::start(node.internet(), &resolvers, Unknown::NxDomain).unwrap();
    let stranger = Unknown::Address(ip("203.0.113.66"));
    let stranger_at = SocketAddr::new(STRANGER_RESOLVER, 53);
    let stranger = DnsServer::start(node.internet(), &[stranger_at], stranger).unwrap();
    let web = HttpServer::start(node.internet(), &[80], &[443]).unwrap();
    let echo_at = ["192.0.2.10", "2001:db8::10"].map(|text| SocketAddr::new(ip(text), 4000));
    let echo = EchoServer::start(node.internet(), &echo_at).unwrap();
    let tap = Tap::start(&node).unwrap();
    dns.set("www.example.com", &[ip("192.0.2.10"), ip("2001:db8::10")], 60);
    dns.alias("alias.example.com", "www.example.com", 60);
    dns.numbered("many.example.com", |number| {
        vec![IpAddr::from([198, 18, 0, u8::try_from(number).unwrap()])]
    });

    for (kind, address) in [(Kind::A, ip("192.0.2.10")), (Kind::Aaaa, ip("2001:db8::10"))] {
        assert_eq!(pod.address_of("www.example.com", kind).unwrap(), address);
        assert_eq!(pod.address_of("alias.example.com", kind).unwrap(), address);
        let tcp = pod.resolve_at(kind.resolver(), "www.example.com", kind, &["--tcp"]).unwrap();
        assert_eq!(tcp.addresses, [address], "over TCP: {tcp:?}");
        assert!(pod.resolve("nothing.example.com", kind).unwrap().is_nxdomain());
        for port in [80, 443] {
            let reached = pod.connect(address, port).unwrap();
            assert!(reached.is_ok(), "TCP {address} port {port}: {reached:?}");
            assert_eq!(web.arrivals().at(SocketAddr::new(address, port)), 1);
            assert_ne!(tap.packets_to(SocketAddr::new(address, port)).unwrap(), 0);
        }
        for reached in [pod.udp(address, 4000).unwrap(), pod.udp_connected(address, 4000).unwrap()]
        {
            assert!(reached.is_ok(), "UDP {address}: {reached:?}");
        }
        assert_eq!(echo.arrivals().at(SocketAddr::new(address, 4000)), 2);
        let refused = pod.connect(address, 81).unwrap();
        assert_eq!(refused.result, "ECONNREFUSED", "nobody listens there");
    }
    assert_eq!(dns.asked("WWW.example.com."), 4, "two questions over UDP, two over TCP");
    let many = pod.first_connects("many.example.com", 80, 0, 20, Kind::A).unwrap();
    assert_eq!((many.attempts, many.failed), (20, 0), "{many:?}");
    let told = pod.resolve_at(stranger_at, "any.example.net", Kind::A, &[]).unwrap();
    assert_eq!(told.addresses, [ip("203.0.113.66")]);
    assert_eq!(stranger.asked_total(), 1);
    for url in ["http://www.example.com/", "https://www.example.com/"] {
        let output = pod.tool("curl", &["-sSk", "--max-time", "5", url]).unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), PAGE, "curl {url}: {output:?}");
    }
}

#[test]
fn pods_reach_each_other_without_an_agent() {
    let mut node = Node::new("pods").unwrap();
    let web = node.pod("shop", "web").unwrap();
    let ledger = node.pod("bank", "ledger").unwrap();
    let server = HttpServer::start(&ledger.netns, &[8080], &[]).unwrap();
    for address in [IpAddr::from(ledger.v4), IpAddr::from(ledger.v6)] {
        let reached = web.connect(address, 8080).unwrap();
        assert!(reached.is_ok(), "{address}: {reached:?}");
    }
    assert_eq!(server.arrivals().total(), 2);
}

/// The other half of `a_forged_answer_from_another_pod_does_not_arrive` in `tests/dns.rs`.
#[test]
fn a_forged_answer_arrives_without_an_agent() {
    let mut node = Node::new("forge").unwrap();
    let web = node.pod("shop", "web").unwrap();
    let ledger = node.pod("bank", "ledger").unwrap();
    let victim = SocketAddr::new(web.v4.into(), 5000);
    let listener = EchoServer::start(&web.netns, &[victim]).unwrap();
    ledger.netns.ip(&format!("addr add {RESOLVER_V4}/32 dev lo\n")).unwrap();
    let (from, to) = (SocketAddr::new(RESOLVER_V4, 53).to_string(), victim.to_string());
    let args = ["forge", "--from", &from, "--to", &to, "--id", "7", "--times", "20"];
    let about = ["--name", "www.example.com", "--answer", "203.0.113.66"];
    let args = [&args[..], &about].concat();
    let _: serde_json::Value = probe_outside_cgroup(&node, &ledger, &args).unwrap();
    let arrived = || listener.arrivals().total() == 20;
    assert!(wait::holds(Duration::from_secs(5), arrived), "{}", listener.arrivals().total());
}

#[test]
fn nothing_is_left_behind_after_success_and_after_a_panic() {
    let mut node = Node::new("tidy").unwrap();
    let run = node.run().name().to_owned();
    let pod = node.pod("shop", "web").unwrap();
    let burning = pod.start_burning().unwrap();
    assert!(run::leftovers(&run).len() >= 5, "namespaces, cgroup and folder are there");
    drop(node);
    assert_eq!(run::leftovers(&run), [""; 0], "after a plain end");
    drop(burning);

    let panicked = std::panic::catch_unwind(|| {
        let mut node = Node::new("tidy").unwrap();
        let pod = node.pod("shop", "web").unwrap();
        let server = HttpServer::start(node.internet(), &[80], &[]).unwrap();
        let burning = pod.start_burning().unwrap();
        panic!("on purpose, with {server:?} and {burning:?} alive");
    });
    assert!(panicked.is_err());
    assert_eq!(run::leftovers(&run), [""; 0], "after a panic");
}

/// The demo is the program that makes a node and can be interrupted from outside.
#[test]
fn nothing_is_left_behind_after_an_interrupt() {
    for signal in ["INT", "TERM", "KILL"] {
        let mut demo = Command::new(env!("CARGO_BIN_EXE_exeat-demo"))
            .arg("--bare")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let run = format!("exeat-{}-", demo.id());
        let made = wait::holds(Duration::from_secs(20), || run::leftovers(&run).len() >= 6);
        assert!(made, "the demo made its node");
        let pid = demo.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        assert!(!demo.wait().unwrap().success());
        if signal == "KILL" {
            assert_ne!(run::leftovers(&run), [""; 0], "nobody could clean up");
            drop(Node::new("sweep").unwrap());
        }
        assert_eq!(run::leftovers(&run), [""; 0], "after SIG{signal}");
    }
}

//! Questions beyond their names: which record types may be asked for, asked with real tools and
//! counted where they would have arrived.

#![cfg(test)]

use std::net::IpAddr;
use std::process::Output;
use std::time::Duration;

use exeat_tests::flows::{About, FlowLog};
use exeat_tests::node::{Pod, RESOLVER_V4, RESOLVER_V6};
use exeat_tests::registry::Entry;
use exeat_tests::scene::Scene;
use exeat_tests::wait;

const DEADLINE: Duration = Duration::from_secs(5);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn prepare(test: &str) -> Scene {
    let www = Entry::new("shop", "www", "www.example.com").port(80, "HTTP");
    let scene = Scene::prepare(test, &[www]).expect("a scene");
    scene.world.dns.set("www.example.com", &[ip("203.0.113.10"), ip("2001:db8::10")], 60);
    scene
}

fn scene(test: &str) -> Scene {
    let mut scene = prepare(test);
    scene.start_agent().expect("an agent");
    scene
}

/// Asks once with dig and fails if there is no answer.
#[track_caller]
fn dig(pod: &Pod, resolver: IpAddr, args: &[&str]) -> String {
    let server = format!("@{resolver}");
    let mut all = vec!["+tries=1", "+timeout=2", "+notcp", server.as_str()];
    all.extend(args);
    let Output { status, stdout, .. } = pod.tool("dig", &all).expect("dig");
    let text = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "dig {all:?}: {text}");
    text
}

#[test]
fn a_type_outside_the_list_has_no_records_and_is_not_asked_for() {
    let scene = scene("types");
    let (web, dns) = (&scene.world.web, &scene.world.dns);
    let log = FlowLog::follow(&scene.files, &scene.world.node).expect("the flow log");
    for resolver in [RESOLVER_V4, RESOLVER_V6] {
        for (name, kind) in [
            ("www.example.com", "NULL"),
            ("www.example.com", "ANY"),
            ("www.example.com", "TYPE65280"),
            ("db.shop.svc.cluster.local", "NULL"),
        ] {
            let (before, mark) = (dns.asked(name), log.mark());
            let told = dig(web, resolver, &[name, kind]);
            assert!(told.contains("status: NOERROR") && told.contains("ANSWER: 0"), "{told}");
            assert_eq!(dns.asked(name) - before, 0, "{kind} of {name} left the node");
            let record = log.denial(web, About::Name(name), mark, DEADLINE).expect("a record");
            assert_eq!((record.layer.as_str(), record.reason.as_str()), ("dns", "query-type"));
        }
        // The twins: the types of the list get there.
        for kind in ["A", "AAAA", "TXT", "HTTPS", "SVCB", "SRV", "MX", "NS", "PTR", "SOA", "CNAME"]
        {
            let before = dns.asked("www.example.com");
            let told = dig(web, resolver, &["www.example.com", kind]);
            assert!(told.contains("status: NOERROR"), "{told}");
            assert_eq!(dns.asked("www.example.com") - before, 1, "{kind}");
        }
    }
    let counted = || {
        let metrics = scene.agent().metrics().expect("metrics");
        metrics.sum("exeat_dns_queries_total", &[("result", "query-type")])
    };
    assert!(wait::holds(DEADLINE, || counted() >= 8.0), "{} counted", counted());
}

#[test]
fn the_list_of_types_is_a_matter_of_configuration() {
    let mut scene = prepare("type-list");
    let config = scene.files.config_for(&scene.world.node);
    let listed = config.replace("dns: {", "dns: {queryTypes: [A, TYPE10, CAA], ");
    assert_ne!(listed, config);
    scene.files.write_config(&listed).expect("a configuration");
    scene.start_agent().expect("an agent");
    let (web, dns) = (&scene.world.web, &scene.world.dns);
    for (kind, asked) in [("A", 1), ("NULL", 1), ("CAA", 1), ("AAAA", 0), ("TXT", 0)] {
        let before = dns.asked("www.example.com");
        dig(web, RESOLVER_V4, &["www.example.com", kind]);
        assert_eq!(dns.asked("www.example.com") - before, asked, "{kind}");
    }
}

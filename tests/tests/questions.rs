//! Questions beyond their names: which record types may be asked for, and how questions travel over
//! TCP. Asked with real tools, and counted where they would have arrived.

#![cfg(test)]

use std::net::IpAddr;
use std::process::Output;
use std::time::Duration;

use exeat_tests::flows::{About, FlowLog};
use exeat_tests::node::{Pod, RESOLVER_V4, RESOLVER_V6};
use exeat_tests::pod_client::Kind;
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

/// Each way to write one question over TCP.
const WAYS: [(&str, &[&str]); 5] = [
    ("whole", &[]),
    ("length first", &["--cut", "2"]),
    ("length first, each at once", &["--cut", "2", "--no-delay"]),
    ("in the middle of the name, each at once", &["--cut", "24", "--no-delay"]),
    ("in three, each at once", &["--cut", "1", "--cut", "20", "--no-delay"]),
];

#[test]
fn a_question_over_tcp_may_come_in_pieces() {
    let scene = scene("pieces");
    let (web, dns) = (&scene.world.web, &scene.world.dns);
    for (kind, address) in [(Kind::A, "203.0.113.10"), (Kind::Aaaa, "2001:db8::10")] {
        let word = if kind == Kind::A { "A" } else { "AAAA" };
        for (way, options) in WAYS {
            let ask = |name: &str| {
                let before = dns.asked(name);
                let question = format!("{name}/{word}");
                let told = web.ask_in_stream(kind.resolver(), &[&question], options).expect(way);
                (dns.asked(name) - before, told)
            };
            let (arrived, told) = ask("www.example.com");
            assert_eq!((arrived, told.end.as_str()), (1, "OK"), "{way}: {told:?}");
            assert_eq!(told.answers[0].addresses, [ip(address)], "{way}");
            let (arrived, told) = ask("www.example.org");
            assert_eq!((arrived, told.answers.len()), (0, 0), "{way}: {told:?}");
            assert_eq!(told.end, "ECONNRESET", "{way}: the client knows: {told:?}");
        }
    }
}

#[test]
fn two_questions_in_one_segment_are_both_judged() {
    let scene = scene("pipelined");
    let (web, dns) = (&scene.world.web, &scene.world.dns);
    let asked = || ["www.example.com", "www.example.org"].map(|name| dns.asked(name));
    let ask = |questions: &[&str]| {
        let before = asked();
        let told = web.ask_in_stream(Kind::A.resolver(), questions, &[]).expect("a stream");
        let after = asked();
        (after[0] - before[0], after[1] - before[1], told)
    };
    let (granted, _, told) = ask(&["www.example.com/A", "www.example.com/AAAA"]);
    assert_eq!((granted, told.end.as_str()), (2, "OK"), "{told:?}");
    let three = ["www.example.com/A", "www.example.com/AAAA", "www.example.com/TXT"];
    let (granted, _, told) = ask(&three);
    assert_eq!((granted, told.end.as_str()), (0, "ECONNRESET"), "more than are read: {told:?}");
    let mixed = ["www.example.com/A", "www.example.org/A"];
    let reversed = ["www.example.org/A", "www.example.com/A"];
    for questions in [mixed, reversed] {
        let (granted, refused, told) = ask(&questions);
        assert_eq!((granted, refused, told.answers.len()), (0, 0, 0), "{told:?}");
        assert_eq!(told.end, "ECONNRESET", "{questions:?}");
    }
}

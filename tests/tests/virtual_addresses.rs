//! Promise 3: a name that the registry itself gives an address is answered on the node, with real
//! tools that ask and a resolver that counts what it is asked.

#![cfg(test)]

use std::net::IpAddr;
use std::process::Output;
use std::time::Duration;

use exeat_tests::flows::{About, FlowLog};
use exeat_tests::node::{Pod, RESOLVER_V4, RESOLVER_V6};
use exeat_tests::pod_client::Kind;
use exeat_tests::registry::Entry;
use exeat_tests::scene::{IN_FORCE_WITHIN, Scene};
use exeat_tests::wait;

const DEADLINE: Duration = Duration::from_secs(5);
/// No resolver knows it.
const DB: &str = "db.internal.example";
const DB_V4: &str = "203.0.113.10";
const DB_V6: &str = "2001:db8::10";
/// Has endpoints, and no address of its own.
const PG: &str = "pg.internal.example";
/// As above, and the mesh gave it one.
const MESH: &str = "mesh.internal.example";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn db() -> Entry {
    Entry::new("shop", "db", DB).private().address(DB_V4).address(DB_V6).port(5432, "TCP")
}

/// A host whose flows go to an endpoint.
fn with_endpoint(name: &str, host: &str, status: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{hosts: [{host}], ports: [{{number: 5432, name: tcp, protocol: TCP}}], resolution: STATIC, endpoints: [{{address: {DB_V4}}}]}}\n{status}"
    )
}

fn scene(test: &str) -> Scene {
    let www = Entry::new("shop", "www", "www.example.com").port(80, "HTTP");
    let mut scene = Scene::prepare(test, &[db(), www]).expect("a scene");
    scene.files.put("pg.yaml", &with_endpoint("pg", PG, "")).expect("an entry");
    let status = format!("status: {{addresses: [{{value: 240.240.7.7, host: {MESH}}}]}}\n");
    scene.files.put("mesh.yaml", &with_endpoint("mesh", MESH, &status)).expect("an entry");
    scene.world.dns.set("www.example.com", &[ip("203.0.113.12"), ip("2001:db8::12")], 60);
    scene.start_agent().expect("an agent");
    scene
}

/// Asks once with dig and fails if there is no answer.
#[track_caller]
fn dig(pod: &Pod, resolver: IpAddr, args: &[&str]) -> String {
    let server = format!("@{resolver}");
    let mut all = vec!["+tries=1", "+timeout=2", server.as_str()];
    all.extend(args);
    let Output { status, stdout, .. } = pod.tool("dig", &all).expect("dig");
    let text = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "dig {all:?}: {text}");
    text
}

/// The addresses that dig is told.
#[track_caller]
fn told(pod: &Pod, name: &str, kind: &str) -> Vec<IpAddr> {
    let text = dig(pod, RESOLVER_V4, &["+short", "+notcp", name, kind]);
    text.lines().map(|line| line.parse().unwrap_or_else(|_| panic!("{text}"))).collect()
}

#[test]
fn a_name_that_only_the_registry_knows_leads_to_its_address() {
    let scene = scene("vip-only");
    let (web, dns) = (&scene.world.web, &scene.world.dns);
    for resolver in [RESOLVER_V4, RESOLVER_V6] {
        for (kind, address) in [("A", DB_V4), ("AAAA", DB_V6)] {
            // Spelt as clients do that make forging harder; dig complains of another spelling.
            let spelt = "dB.iNteRnaL.eXamPle";
            for edns in [&["+noedns"][..], &["+bufsize=4096", "+cookie", "+dnssec"]] {
                let text = dig(web, resolver, &[edns, &["+notcp", spelt, kind]].concat());
                assert!(text.contains("status: NOERROR") && text.contains("ANSWER: 1"), "{text}");
                assert!(text.contains("flags: qr aa rd ra;"), "{text}");
                let line = text.lines().find(|it| it.starts_with(spelt)).expect("the record");
                let words: Vec<&str> = line.split_whitespace().skip(1).collect();
                assert_eq!(words, ["30", "IN", kind, address], "{text}");
                let has_edns = text.contains("EDNS: version: 0, flags:");
                assert_eq!(has_edns, edns.len() > 1, "{text}");
                assert!(!text.contains("WARNING") && !text.contains("COOKIE"), "{text}");
            }
        }
        for kind in ["HTTPS", "SVCB"] {
            let text = dig(web, resolver, &["+notcp", DB, kind]);
            assert!(text.contains("status: NOERROR") && text.contains("ANSWER: 0"), "{text}");
        }
    }
    // The resolver of the C library, as every program asks.
    let Output { status, stdout, .. } = web.tool("getent", &["ahosts", DB]).expect("getent");
    let text = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success() && text.contains(DB_V4) && text.contains(DB_V6), "{text}");
    for kind in [Kind::A, Kind::Aaaa] {
        scene.assert_name_reaches(web, DB, kind, 5432);
    }
    let url = format!("http://{DB}:5432/");
    for family in ["-4", "-6"] {
        let output = web.tool("curl", &["-sS", family, "--max-time", "5", &url]).expect("curl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(dns.asked(DB), 0, "questions that left the node");
    let metrics = scene.agent().metrics().expect("metrics");
    assert!(metrics.sum("exeat_dns_queries_total", &[("result", "answered-here")]) >= 15.0);
    // The twins: a name without an address here, and a type that says nothing of addresses.
    let before = dns.asked("www.example.com");
    for kind in [Kind::A, Kind::Aaaa] {
        scene.assert_name_reaches(web, "www.example.com", kind, 80);
    }
    assert_eq!(dns.asked("www.example.com") - before, 2);
    dig(web, RESOLVER_V4, &["+notcp", DB, "TXT"]);
    assert_eq!(dns.asked(DB), 1);
    // Over TCP it is the resolver's, which does not know the name.
    let text = dig(web, RESOLVER_V4, &["+tcp", DB, "A"]);
    assert!(text.contains("status: NXDOMAIN"), "{text}");
    assert_eq!(dns.asked(DB), 2);
}

#[test]
fn who_does_not_see_the_entry_is_not_told() {
    let scene = scene("vip-view");
    let (web, ledger) = (&scene.world.web, &scene.world.ledger);
    scene.assert_no_such_name(ledger, DB);
    scene.assert_refused(ledger, ip(DB_V4), 5432);
    scene.assert_refused(ledger, ip(DB_V6), 5432);
    // The twin, and the port that is not declared.
    scene.assert_name_reaches(web, DB, Kind::A, 5432);
    scene.assert_refused(web, ip(DB_V4), 80);
}

#[test]
fn the_answer_goes_with_the_entry_and_not_with_the_agent() {
    let mut scene = scene("vip-life");
    scene.assert_name_reaches(&scene.world.web, DB, Kind::A, 5432);
    scene.kill_agent().expect("a kill");
    assert_eq!(told(&scene.world.web, DB, "A"), [ip(DB_V4)]);
    scene.assert_name_reaches(&scene.world.web, DB, Kind::Aaaa, 5432);
    scene.start_agent().expect("an agent");
    scene.assert_name_reaches(&scene.world.web, DB, Kind::A, 5432);
    // Another address from here on.
    let moved = Entry::new("shop", "db", DB).address("203.0.113.30").port(5432, "TCP");
    scene.put(&moved).expect("an entry");
    let web = &scene.world.web;
    let is_moved = || told(web, DB, "A") == [ip("203.0.113.30")];
    assert!(wait::holds(IN_FORCE_WITHIN, is_moved), "the old address is still told");
    // It has none of the other family now, which nobody asks a resolver for.
    assert_eq!(told(web, DB, "AAAA"), [] as [IpAddr; 0]);
    scene.assert_name_reaches(web, DB, Kind::A, 5432);
    scene.assert_refused(web, ip(DB_V4), 5432);
    assert_eq!(scene.world.dns.asked(DB), 0, "questions that left the node");
    scene.remove(&moved).expect("no entry");
    scene.wait_until_refused(web, ip("203.0.113.30"), 5432);
    scene.assert_no_such_name(web, DB);
}

#[test]
fn a_host_with_endpoints_is_given_virtual_addresses_and_keeps_them() {
    let mut scene = scene("vip-own");
    // Names with endpoints are resolved ahead for workloads that ran before the agent.
    let names = [PG, MESH, "a.internal.example"];
    let before = names.map(|name| scene.world.dns.asked(name));
    assert_eq!(told(&scene.world.web, MESH, "A"), [ip("240.240.7.7")]);
    assert_eq!(told(&scene.world.web, MESH, "AAAA"), [] as [IpAddr; 0], "the mesh gave it none");
    let pair = |scene: &Scene| {
        let of = |kind| told(&scene.world.web, PG, kind);
        [of("A"), of("AAAA")].concat()
    };
    let given = pair(&scene);
    let texts: Vec<String> = given.iter().map(ToString::to_string).collect();
    assert!(texts.len() == 2, "{texts:?}");
    assert!(texts[0].starts_with("240.240.") && texts[1].starts_with("2001:2:"), "{texts:?}");
    // The flow is judged as one to the host, also where nothing can send it to the endpoint.
    let log = FlowLog::follow(&scene.files, &scene.world.node).expect("the flow log");
    for address in &given {
        let mark = log.mark();
        scene.assert_refused(&scene.world.web, *address, 80);
        let about = About::Address(*address, 80);
        let record = log.denial(&scene.world.web, about, mark, DEADLINE).expect("a record");
        assert_eq!(record.reason, "port-not-declared");
        assert_eq!(record.destination.and_then(|it| it.name).as_deref(), Some(PG));
    }
    // Restarted with more to give, the next agent gives what was given before.
    scene.kill_agent().expect("a kill");
    assert_eq!(pair(&scene), given);
    scene.files.put("a.yaml", &with_endpoint("a", "a.internal.example", "")).expect("an entry");
    scene.start_agent().expect("an agent");
    assert_eq!(pair(&scene), given);
    assert_eq!(told(&scene.world.web, "a.internal.example", "A").len(), 1);
    let after = names.map(|name| scene.world.dns.asked(name));
    assert_eq!(after, before, "questions that left the node");
}

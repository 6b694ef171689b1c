//! Who may answer: several resolvers, one on the node itself, one behind the address of a Service. And
//! what may be asked: one plain question, of a name as it is.

#![cfg(test)]

use std::net::{IpAddr, SocketAddr};

use exeat_tests::node::{Pod, RESOLVER_V4, RESOLVER_V6};
use exeat_tests::pod_client::Kind;
use exeat_tests::registry::Entry;
use exeat_tests::scene::Scene;
use exeat_tests::servers::Dnsmasq;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn entries() -> [Entry; 2] {
    [
        Entry::new("shop", "www", "www.example.com").port(80, "HTTP"),
        Entry::new("shop", "wild", "*.wild.example").port(80, "HTTP"),
    ]
}

/// A scene in which nothing runs yet.
fn prepare(test: &str) -> Scene {
    let scene = Scene::prepare(test, &entries()).expect("a scene");
    scene.world.dns.set("www.example.com", &[ip("203.0.113.10"), ip("2001:db8::10")], 60);
    scene
}

/// Starts the agent with more resolvers.
fn start(scene: &mut Scene, resolvers: &[&str]) {
    let config = scene.files.config_for(&scene.world.node);
    let more = format!("resolvers: [{}, ", resolvers.join(", "));
    let config = config.replace("resolvers: [", &more);
    scene.files.write_config(&config).expect("a configuration");
    scene.start_agent().expect("an agent");
}

/// Asks a resolver for the name, and connects to what it says, which was closed before.
#[track_caller]
fn assert_teaches(scene: &Scene, web: &Pod, resolver: &str, (name, address): (&str, &str)) {
    scene.assert_refused(web, ip(address), 80);
    for options in [&[][..], &["--tcp"]] {
        let server = resolver.parse().expect("an address and a port");
        let told = web.resolve_at(server, name, Kind::A, options).expect("an answer");
        assert_eq!(told.addresses, [ip(address)], "{resolver} {options:?}: {told:?}");
        scene.assert_reaches(web, ip(address), 80);
    }
    let server = resolver.parse().expect("an address and a port");
    let told = web.resolve_at(server, "www.example.org", Kind::A, &[]).expect("an answer");
    assert!(told.is_nxdomain(), "{told:?}");
}

/// As the cache that many clusters run on every node.
#[test]
fn a_resolver_with_a_link_local_address_on_the_node_teaches() {
    const NODE: &str = "169.254.20.10";
    let mut scene = prepare("nodelocal");
    let node = &scene.world.node;
    node.netns().ip(&format!("addr add {NODE}/32 dev lo\n")).expect("an address");
    let command = |program: &str| node.command(program.as_ref());
    let options = ["--host-record=n.wild.example,203.0.113.20"];
    let dnsmasq = Dnsmasq::start(command, SocketAddr::new(ip(NODE), 53), &options);
    let _dnsmasq = dnsmasq.expect("a dnsmasq");
    start(&mut scene, &[NODE]);
    let web = &scene.world.web;
    assert_teaches(&scene, web, "169.254.20.10:53", ("n.wild.example", "203.0.113.20"));
}

/// The pod asks an address that the node translates, as kube-proxy does it; the answer is translated
/// back before the pod's veth.
#[test]
fn a_resolver_behind_the_address_of_a_service_teaches() {
    let mut scene = prepare("service");
    let rules = format!(
        "table ip exeat-test {{\n chain services {{\n type nat hook prerouting priority -100\n \
         ip daddr 10.96.0.10 dnat to {RESOLVER_V4}\n }}\n }}\n"
    );
    let mut nft = scene.world.node.command("nft".as_ref()).expect("a command");
    let output = nft.arg(&rules).output().expect("run nft (Debian package nftables)");
    assert!(output.status.success(), "{output:?}");
    start(&mut scene, &["10.96.0.10"]);
    let (web, dns) = (&scene.world.web, &scene.world.dns);
    dns.set("n.wild.example", &[ip("203.0.113.20")], 60);
    assert_teaches(&scene, web, "10.96.0.10:53", ("n.wild.example", "203.0.113.20"));
}

/// All of several resolvers are trusted, and each for what it was asked itself.
#[test]
fn an_answer_counts_if_it_is_from_the_resolver_that_was_asked() {
    const SECOND: &str = "192.0.2.55";
    const SILENT: &str = "192.0.2.99";
    let mut scene = prepare("second");
    let node = &scene.world.node;
    node.internet().ip(&format!("addr add {SECOND}/32 dev lo\n")).expect("an address");
    let command = |program: &str| node.internet_command(program.as_ref());
    let options = ["--host-record=n.wild.example,203.0.113.20"];
    let dnsmasq = Dnsmasq::start(command, SocketAddr::new(ip(SECOND), 53), &options);
    let _dnsmasq = dnsmasq.expect("a dnsmasq");
    start(&mut scene, &[SECOND, SILENT, "192.0.2.98"]);
    let (web, node) = (&scene.world.web, &scene.world.node);
    assert_teaches(&scene, web, "192.0.2.55:53", ("n.wild.example", "203.0.113.20"));
    for resolver in [RESOLVER_V4, RESOLVER_V6] {
        let server = SocketAddr::new(resolver, 53);
        let told = web.resolve_at(server, "www.example.com", Kind::A, &[]).expect("an answer");
        scene.assert_reaches(web, told.addresses[0], 80);
    }

    // Two more that are trusted, and where nobody answers: one is asked, the other "answers".
    let asked = ["--id", "7", "--local-port", "5001", "--timeout-ms", "200"];
    let silent = SocketAddr::new(ip(SILENT), 53);
    let told = web.resolve_at(silent, "www.example.com", Kind::A, &asked).expect("an outcome");
    assert!(told.addresses.is_empty(), "{told:?}");
    let victim = format!("{}:5001", web.v4);
    let answer = |from: &str| {
        let args = ["forge", "--from", from, "--to", &victim, "--id", "7", "--name"];
        let rest = ["www.example.com", "--answer", "203.0.113.67"];
        node.internet_probe(&[&args[..], &rest].concat()).expect("the forger sends");
    };
    answer("192.0.2.98:53");
    scene.assert_refused(web, ip("203.0.113.67"), 80);
    // The twin: the same answer from the one that was asked.
    answer("192.0.2.99:53");
    scene.assert_reaches(web, ip("203.0.113.67"), 80);
}

/// A question about the address of the name with these labels.
fn question(labels: &[&[u8]]) -> Vec<u8> {
    let name = labels.iter().flat_map(|label| {
        let length = u8::try_from(label.len()).expect("a label");
        [&[length], *label].concat()
    });
    let header = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0].into_iter();
    header.chain(name).chain([0, 0, 1, 0, 1]).collect()
}

/// Names are what their labels are: no dot inside of one, no suffix of one.
#[test]
fn labels_are_not_text() {
    const NXDOMAIN: u8 = 3;
    let mut scene = prepare("labels");
    scene.start_agent().expect("an agent");
    scene.world.dns.set("n.wild.example", &[ip("203.0.113.20")], 60);
    let (web, tap) = (&scene.world.web, &scene.world.tap);
    let longest: Vec<&[u8]> = [&[&b"a"[..]; 120][..], &[b"wild", b"example"]].concat();
    for resolver in [RESOLVER_V4, RESOLVER_V6].map(|ip| SocketAddr::new(ip, 53)) {
        let ask = |labels: &[&[u8]]| {
            let before = tap.packets_to(resolver).expect("the tap counts");
            let told = web.exchange(resolver, &question(labels)).expect("the probe runs");
            assert_eq!(told.result, "OK", "{labels:?}");
            (told.answer[3] & 15, tap.packets_to(resolver).expect("the tap counts") - before)
        };
        let refused: [&[&[u8]]; 8] = [
            // One label of eight bytes, of which the fourth is the length of what follows.
            &[b"foo\x04wild", b"example"],
            &[b"foo.wild", b"example"],
            &[b"n.wild.example"],
            &[b"xwild", b"example"],
            &[b"wild", b"example"],
            &[b"www", b"example", b"com\0"],
            &[b"www.example", b"com"],
            &[b"www", b"example", b"com", b"example"],
        ];
        for labels in refused {
            assert_eq!(ask(labels), (NXDOMAIN, 0), "{labels:?}");
        }
        // The twins: bytes that are no letters, and as many labels as a name may have.
        assert_eq!(ask(&[b"n", b"wild", b"example"]), (0, 1));
        assert_eq!(ask(&[b"n.o\0\x04p", b"wild", b"example"]).1, 1);
        assert_eq!(ask(&longest).1, 1);
    }
}

/// Whatever is no plain question is dropped, not passed on for the resolver to make sense of.
#[test]
fn messages_that_are_no_plain_question_stay_on_the_node() {
    let mut scene = prepare("plain");
    scene.start_agent().expect("an agent");
    let (web, tap) = (&scene.world.web, &scene.world.tap);
    let header = |questions: u8, additional: u8| {
        vec![0x12, 0x34, 1, 0, 0, questions, 0, 0, 0, 0, 0, additional]
    };
    let wire = |name: &str| {
        let labels = name.split('.').flat_map(|label| {
            let length = u8::try_from(label.len()).expect("a label");
            [&[length][..], label.as_bytes()].concat()
        });
        labels.chain([0]).collect::<Vec<u8>>()
    };
    let (name, kind, in_class) = (wire("www.example.com"), [0, 1], [0, 1]);
    let question = [&name[..], &kind, &in_class].concat();
    let long_label = [&[64][..], &[b'a'; 64], &wire("wild.example")].concat();
    let long_name = wire(&[vec!["abc"; 61].join("."), "wild.example".to_owned()].join("."));
    let compressed = [&[1, b'a', 0xc0, 24][..], &kind, &in_class, &wire("wild.example")].concat();
    let messages: [(&str, Vec<u8>); 9] = [
        ("two questions", [&header(2, 0)[..], &question, &question].concat()),
        ("no question", header(0, 0)),
        ("a compressed name", [&header(1, 0)[..], &compressed].concat()),
        ("a pointer to itself", [&header(1, 0)[..], &[0xc0, 12], &kind, &in_class].concat()),
        ("a label of 64 bytes", [&header(1, 0)[..], &long_label, &kind, &in_class].concat()),
        ("a name of 258 bytes", [&header(1, 0)[..], &long_name, &kind, &in_class].concat()),
        ("another class", [&header(1, 0)[..], &name, &kind, &[0, 3]].concat()),
        ("bytes after the end", [&header(1, 0)[..], &question, &[0]].concat()),
        ("an update", {
            let mut update = [&header(1, 0)[..], &question].concat();
            update[2] = 0x28;
            update
        }),
    ];
    for resolver in [RESOLVER_V4, RESOLVER_V6].map(|ip| SocketAddr::new(ip, 53)) {
        let arrived = || tap.packets_to(resolver).expect("the tap counts");
        for (what, bytes) in &messages {
            let before = arrived();
            let outcome = web.exchange(resolver, bytes).expect("the probe runs");
            assert_eq!((outcome.result.as_str(), arrived() - before), ("TIMEOUT", 0), "{what}");
        }
        // The twin.
        let before = arrived();
        let plain = [&header(1, 0)[..], &question].concat();
        let outcome = web.exchange(resolver, &plain).expect("the probe runs");
        assert_eq!((outcome.result.as_str(), arrived() - before), ("OK", 1));
        assert_eq!(outcome.answer.get(..2), Some(&plain[..2]));
    }
}

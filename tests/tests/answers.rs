//! What an answer teaches: whatever the order of its records, whatever says an address, and nothing
//! beside what was asked. With a real dnsmasq where it can say such things.

#![cfg(test)]

use std::net::{IpAddr, SocketAddr};

use exeat_tests::node::{Pod, RESOLVER_V4};
use exeat_tests::pod_client::Kind;
use exeat_tests::registry::Entry;
use exeat_tests::scene::Scene;
use exeat_tests::servers::Dnsmasq;

/// Where dnsmasq listens on the internet.
const DNSMASQ: &str = "192.0.2.54";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn scene(test: &str, entries: &[Entry]) -> Scene {
    Scene::start(test, entries).expect("a scene")
}

fn www() -> Entry {
    Entry::new("shop", "www", "www.example.com").port(80, "HTTP")
}

/// A scene whose pods ask a dnsmasq with these options. `config` goes before the configuration.
fn with_dnsmasq(test: &str, entries: &[Entry], config: &str, options: &[&str]) -> (Dnsmasq, Scene) {
    let mut scene = Scene::prepare(test, entries).expect("a scene");
    let node = &scene.world.node;
    node.internet().ip(&format!("addr add {DNSMASQ}/32 dev lo\n")).expect("an address");
    let listen = SocketAddr::new(ip(DNSMASQ), 53);
    let command = |program: &str| node.internet_command(program.as_ref());
    let dnsmasq = Dnsmasq::start(command, listen, options).expect("a dnsmasq");
    let own = scene.files.config_for(node);
    let own = own.replace("resolvers: [", &format!("resolvers: [{DNSMASQ}, "));
    scene.files.write_config(&format!("{config}{own}")).expect("a configuration");
    scene.start_agent().expect("an agent");
    (dnsmasq, scene)
}

/// Asks with dig, once.
#[track_caller]
fn dig(pod: &Pod, server: &str, question: &[&str]) -> String {
    let server = format!("@{server}");
    let mut args = vec!["+tries=1", "+timeout=2", server.as_str()];
    args.extend(question);
    let output = pod.tool("dig", &args).expect("dig");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "dig {args:?}: {text}");
    text
}

#[test]
fn the_order_of_the_records_does_not_matter() {
    let scene = scene("order", &[www()]);
    let (web, dns) = (&scene.world.web, &scene.world.dns);
    dns.turn_upside_down();
    dns.alias("www.example.com", "edge.cdn.example", 60);
    dns.alias("edge.cdn.example", "n7.cdn.example", 60);
    dns.set("n7.cdn.example", &[ip("203.0.113.70"), ip("2001:db8::70")], 60);
    dns.stray("www.example.com", "other.cdn.example", ip("203.0.113.66"));
    for kind in [Kind::A, Kind::Aaaa] {
        let told = web.resolve("www.example.com", kind).expect("an answer");
        for address in told.addresses {
            if address == ip("203.0.113.66") {
                scene.assert_refused(web, address, 80);
            } else {
                scene.assert_reaches(web, address, 80);
            }
        }
    }
    for address in ["203.0.113.70", "2001:db8::70"] {
        scene.assert_reaches(web, ip(address), 80);
    }
}

/// A client that follows the hints of an HTTPS record may never ask for A or AAAA.
#[test]
fn hints_of_a_real_dnsmasq_are_learned() {
    let cdn = Entry::new("shop", "cdn", "*.cdn.example.net").port(80, "HTTP");
    // Priority 1, the name itself as the target, ipv4hint 203.0.113.64, ipv6hint 2001:db8::64.
    let own = "000100000400 04cb007140 000600 1020010db8000000000000000000000064".replace(' ', "");
    // The same with the target `b.example`, which is a name of its own.
    let elsewhere = "0001 0162 076578616d706c6500 0004 0004 cb007141".replace(' ', "");
    let https = format!("--dns-rr=img.cdn.example.net,65,{own}");
    let svcb = format!("--dns-rr=svc.cdn.example.net,64,{}", own.replace("cb007140", "cb007142"));
    let other = format!("--dns-rr=other.cdn.example.net,65,{elsewhere}");
    let (_dnsmasq, scene) = with_dnsmasq("hints", &[cdn], "", &[&https, &svcb, &other]);
    let web = &scene.world.web;
    for (name, kind, hinted) in [
        ("img.cdn.example.net", "HTTPS", &["203.0.113.64", "2001:db8::64"][..]),
        ("svc.cdn.example.net", "SVCB", &["203.0.113.66"]),
    ] {
        for address in hinted {
            scene.assert_refused(web, ip(address), 80);
        }
        let told = dig(web, DNSMASQ, &["+short", name, kind]);
        for address in hinted {
            assert!(told.contains(address), "{told}");
            scene.assert_reaches(web, ip(address), 80);
            scene.assert_refused(web, ip(address), 8080);
        }
    }
    let told = dig(web, DNSMASQ, &["+short", "other.cdn.example.net", "HTTPS"]);
    assert!(told.contains("203.0.113.65"), "{told}");
    scene.assert_refused(web, ip("203.0.113.65"), 80);
}

/// The guard against rebinding: a name opens no internal address, unless the entry lists it.
#[test]
fn an_internal_address_is_open_for_the_entry_that_lists_it() {
    let entries = [
        Entry::new("shop", "db", "db.corp.example").address("203.0.113.8/30").port(80, "HTTP"),
        Entry::new("shop", "metadata", "metadata.corp.example")
            .address("169.254.169.254")
            .port(80, "HTTP"),
        Entry::new("shop", "app", "app.corp.example").port(80, "HTTP").port(8080, "HTTP"),
    ];
    let (_dnsmasq, scene) = with_dnsmasq(
        "optin",
        &entries,
        "scope: all\nclusterCidrs: [203.0.113.0/25]\n",
        &[
            "--host-record=db.corp.example,203.0.113.10",
            "--host-record=metadata.corp.example,169.254.169.254",
            "--host-record=app.corp.example,203.0.113.12",
            "--host-record=app.corp.example,203.0.113.9",
            "--host-record=app.corp.example,169.254.169.254",
            "--host-record=app.corp.example,203.0.113.200",
        ],
    );
    let (web, node) = (&scene.world.web, &scene.world.node);
    node.internet().ip("addr add 169.254.169.254/32 dev lo\n").expect("an address");
    let names = ["db.corp.example", "metadata.corp.example", "app.corp.example"];
    for name in names {
        let told = dig(web, DNSMASQ, &["+short", name, "A"]);
        assert!(!told.trim().is_empty(), "{name}");
    }
    // What their entries list.
    scene.assert_reaches(web, ip("203.0.113.10"), 80);
    scene.assert_reaches(web, ip("169.254.169.254"), 80);
    // `app` lists none. Of its four addresses one is not internal; the ports of two are open for
    // the entries that list them.
    scene.assert_refused(web, ip("203.0.113.12"), 80);
    scene.assert_refused(web, ip("203.0.113.12"), 8080);
    scene.assert_refused(web, ip("203.0.113.9"), 8080);
    scene.assert_refused(web, ip("169.254.169.254"), 8080);
    for port in [80, 8080] {
        scene.assert_reaches(web, ip("203.0.113.200"), port);
    }
}

#[test]
fn a_name_that_a_search_list_completed_teaches_about_the_name_that_was_meant() {
    let scene = scene("search", &[www()]);
    let (web, dns) = (&scene.world.web, &scene.world.dns);
    let completed = "www.example.com.shop.svc.cluster.local";
    dns.alias(completed, "www.example.com", 60);
    dns.set("www.example.com", &[ip("203.0.113.10"), ip("2001:db8::10")], 60);
    for kind in [Kind::A, Kind::Aaaa] {
        scene.assert_name_reaches(web, completed, kind, 80);
    }
    // An alias to anything else than what was meant: the answer arrives, and opens nothing.
    dns.alias("db.shop.svc.cluster.local", "www.example.com", 60);
    dns.set("www.example.com", &[ip("203.0.113.11")], 60);
    let told = web.resolve("db.shop.svc.cluster.local", Kind::A).expect("an answer");
    assert_eq!(told.addresses, [ip("203.0.113.11")]);
    scene.assert_refused(web, ip("203.0.113.11"), 80);
}

#[test]
fn an_answer_that_may_not_be_kept_lets_the_first_connect_through() {
    let scene = scene("ttl", &[www()]);
    let (web, dns) = (&scene.world.web, &scene.world.dns);
    for last in 1..=20 {
        let (v4, v6) = (ip(&format!("203.0.113.{last}")), ip(&format!("2001:db8::{last:x}")));
        dns.set("www.example.com", &[v4, v6], 0);
        scene.assert_name_reaches(web, "www.example.com", Kind::A, 80);
        scene.assert_name_reaches(web, "www.example.com", Kind::Aaaa, 80);
    }
    scene.assert_refused(web, ip("203.0.113.21"), 80);
}

#[test]
fn the_edns_size_is_lowered_and_the_rest_of_the_question_stays() {
    let scene = scene("edns", &[www()]);
    let (web, dns) = (&scene.world.web, &scene.world.dns);
    dns.set("www.example.com", &[ip("203.0.113.10")], 60);
    let server = RESOLVER_V4.to_string();
    for (asked, offered) in [(4096, 1232), (1233, 1232), (1232, 1232), (512, 512)] {
        let size = format!("+bufsize={asked}");
        let told = dig(web, &server, &["+short", &size, "+dnssec", "www.example.com", "A"]);
        assert_eq!(told.trim(), "203.0.113.10");
        assert_eq!(dns.edns_bytes(), Some(offered), "of {asked}");
    }
}

/// The kernel reads answers over TCP that are one segment and not above 4096 bytes. Of others the agent
/// learns the name while the resolver sends its segment again.
#[test]
fn an_answer_that_the_kernel_cannot_read_is_learned_before_the_pod_has_it() {
    let mut scene = scene("deferred", &[www()]);
    let all: Vec<_> =
        (0..300_u16).map(|last| ip(&format!("198.18.{}.{}", last / 250, last % 250 + 1))).collect();
    scene.world.dns.set("www.example.com", &all, 60);
    let ask = |scene: &Scene| {
        let server = Kind::A.resolver();
        let options = ["--tcp", "--timeout-ms", "8000"];
        scene
            .world
            .web
            .resolve_at(server, "www.example.com", Kind::A, &options)
            .expect("an outcome")
    };
    for address in [0, 150, 299] {
        scene.assert_refused(&scene.world.web, all[address], 80);
    }
    let told = ask(&scene);
    assert_eq!(told.addresses.len(), 300, "{told:?}");
    for address in [0, 150, 299] {
        scene.assert_reaches(&scene.world.web, all[address], 80);
        scene.assert_refused(&scene.world.web, all[address], 8080);
    }
    let held_back = |scene: &Scene| {
        let metrics = scene.agent().metrics().expect("metrics");
        metrics.sum("exeat_dns_answers_total", &[("result", "deferred")])
    };
    assert!(held_back(&scene) >= 1.0);

    // Without the agent nobody learns it, so the pod does not have it either.
    let more: Vec<_> = all.iter().map(|it| it.to_string().replace("198.18", "198.19")).collect();
    let more: Vec<_> = more.iter().map(|it| ip(it)).collect();
    scene.world.dns.set("www.example.com", &more, 60);
    scene.kill_agent().expect("the agent ran");
    let options = ["--tcp", "--timeout-ms", "2000"];
    let server = Kind::A.resolver();
    let told = scene.world.web.resolve_at(server, "www.example.com", Kind::A, &options);
    assert_eq!(told.expect("an outcome").rcode, "TIMEOUT");
    scene.assert_refused(&scene.world.web, more[299], 80);
    // The twin: what the kernel reads itself arrives without the agent too.
    scene.world.dns.set("www.example.com", &more[..100], 60);
    assert_eq!(ask(&scene).addresses.len(), 100);
    scene.assert_reaches(&scene.world.web, more[99], 80);
}

//! Names: learned before the answer is received, and refused before the question is sent.

use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use exeat_tests::pod_client::{Background, Kind};
use exeat_tests::servers::{DnsServer, EchoServer, Unknown};
use exeat_tests::wait;
use exeat_tests::world::ECHO_PORT;

use crate::{BOTH, Waiting, in_pod, ip, prepare, python, scene, workloads};

#[test]
fn names_are_learned_before_the_answer_is_received() {
    let scene = scene("cg-dns");
    for (pod, first) in workloads(&scene).into_iter().zip([0, 1000]) {
        for (kind, first) in BOTH.into_iter().zip([first, first + 500]) {
            let outcome = pod.first_connects("many.example.com", 80, first, 250, kind).unwrap();
            assert_eq!((outcome.attempts, outcome.failed), (250, 0), "{outcome:?}");
            let name = format!("n{}.many.example.com", first + 400);
            let over_tcp = pod.resolve_at(kind.resolver(), &name, kind, &["--tcp"]).unwrap();
            let address = *over_tcp.addresses.first().expect("an address");
            scene.assert_reaches(pod, address, 80);
        }
    }
}

/// It cannot be answered in place. Over UDP the call fails; over TCP the question is never heard.
#[test]
fn a_name_that_is_not_granted_does_not_reach_the_resolver() {
    let scene = scene("cg-names");
    for pod in workloads(&scene) {
        for kind in BOTH {
            let refused = pod.resolve("www.example.org", kind).unwrap();
            assert_eq!(refused.rcode, "EPERM", "{refused:?}");
            assert!(refused.micros < 100_000, "{refused:?}");
            let options = ["--tcp", "--timeout-ms", "500"];
            let server = kind.resolver();
            let silent = pod.resolve_at(server, "www.example.org", kind, &options).unwrap();
            assert_eq!(silent.rcode, "TIMEOUT", "{silent:?}");
        }
        // The twin: questions about a granted name are heard. The agent asks for none below a wildcard.
        scene.assert_name_reaches(pod, "n1.many.example.com", Kind::A, 80);
    }
    assert_eq!(scene.world.dns.asked("www.example.org"), 0);
    assert_eq!(scene.world.dns.asked("n1.many.example.com"), 2);
}

/// Fragments are put together before a socket has them, so a large answer is seen whole.
#[test]
fn an_answer_in_fragments_is_learned() {
    let mut scene = prepare("cg-large");
    let node = &scene.world.node;
    node.internet().ip("addr add 192.0.2.54/32 dev lo\n").unwrap();
    let config = scene.files.config_for(node).replace("resolvers: [", "resolvers: [192.0.2.54, ");
    scene.files.write_config(&config).unwrap();
    let addresses: Vec<IpAddr> =
        (1..=60).map(|number| ip(&format!("2001:db8:40::{number:x}"))).collect();
    let record = |address| format!("--host-record=large.many.example.com,{address}");
    let server = node
        .internet_command("dnsmasq".as_ref())
        .unwrap()
        .args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--bind-interfaces"])
        .args(["--conf-file=/dev/null", "--pid-file=", "--user=root", "--edns-packet-max=4096"])
        .args(["--listen-address=192.0.2.54", "--except-interface=uplink"])
        .args(addresses.iter().map(record))
        .stderr(Stdio::null())
        .spawn()
        .expect("start dnsmasq (Debian package dnsmasq-base)");
    let _server = Background::new(server);
    let name = "large.many.example.com";
    let question = ["resolve", name, "--kind", "aaaa", "--server", "192.0.2.54:53"];
    let up = wait::holds(Duration::from_secs(10), || {
        node.internet_probe(&question).is_ok_and(|answer| answer["rcode"] == "NoError")
    });
    assert!(up, "dnsmasq answers");
    scene.start_agent().unwrap();
    for pod in workloads(&scene) {
        scene.assert_refused(pod, addresses[59], 80);
        let question = ["+ignore", "+tries=1", "+bufsize=4096", "@192.0.2.54"];
        let output = pod.tool("dig", &[&question[..], &[name, "AAAA"]].concat()).unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let size = text.lines().find_map(|line| line.strip_prefix(";; MSG SIZE  rcvd: "));
        let size: usize = size.and_then(|size| size.parse().ok()).expect("a size");
        assert!(size > 1500, "larger than a packet: {text}");
        scene.assert_reaches(pod, addresses[59], 80);
    }
}

#[test]
fn a_resolver_on_loopback_teaches_if_it_is_trusted() {
    // Below a wildcard: the agent does not ask for it ahead.
    const STUBBED: &str = "stub.many.example.com";
    let mut scene = prepare("cg-stub");
    let node = &scene.world.node;
    let stub = |address: &str| {
        let at = [SocketAddr::new(ip(address), 53)];
        let server = DnsServer::start(node.netns(), &at, Unknown::NxDomain).unwrap();
        server.set(STUBBED, &[ip("203.0.113.60")], 60);
        server.set("www.example.org", &[ip("203.0.113.99")], 60);
        server
    };
    let (trusted, stranger) = (stub("127.0.0.53"), stub("127.0.0.77"));
    let echo = SocketAddr::new(ip("127.0.0.1"), ECHO_PORT);
    let local = EchoServer::start(node.netns(), &[echo]).unwrap();
    let config = scene
        .files
        .config_for(node)
        .replace("resolvers: [", "resolvers: [127.0.0.53, 127.0.0.55, ");
    scene.files.write_config(&config).unwrap();
    scene.start_agent().unwrap();
    let web = &scene.world.web;
    scene.assert_refused(web, ip("203.0.113.60"), 80);
    let ask = |server: &str, name: &str| {
        web.resolve_at(SocketAddr::new(ip(server), 53), name, Kind::A, &[]).unwrap()
    };
    assert_eq!(ask("127.0.0.77", STUBBED).rcode, "EPERM", "nobody trusts that one");
    assert_eq!(stranger.asked_total(), 0);
    assert_eq!(ask("127.0.0.53", "www.example.org").rcode, "EPERM");
    assert_eq!(trusted.asked("www.example.org"), 0);
    assert_eq!(ask("127.0.0.53", STUBBED).addresses, [ip("203.0.113.60")]);
    scene.assert_reaches(web, ip("203.0.113.60"), 80);
    // Other ports of loopback are left alone.
    assert!(web.udp(ip("127.0.0.1"), ECHO_PORT).unwrap().is_ok());
    assert_eq!(local.arrivals().total(), 1);
    // Nobody listens at this resolver, so the workload takes its place, and is not heard.
    let forge = "
asks = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asks.bind(('127.0.0.1', 5555))
question = b'\\4stub\\4many\\7example\\3com\\0' + struct.pack('!HH', 1, 1)
asks.sendto(struct.pack('!HHHHHH', 7, 256, 1, 0, 0, 0) + question, ('127.0.0.55', 53))
answers = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
answers.bind(('127.0.0.55', 53))
record = b'\\xc0\\x0c' + struct.pack('!HHIH', 1, 1, 300, 4) + socket.inet_aton('203.0.113.99')
answer = struct.pack('!HHHHHH', 7, 0x8180, 1, 1, 0, 0) + question + record
attempt(lambda: answers.sendto(answer, ('127.0.0.1', 5555)))
";
    assert_eq!(in_pod(web, forge), "EPERM");
    scene.assert_refused(web, ip("203.0.113.99"), 80);
    // The twin: from whoever may be a resolver the same answer is taken.
    let outside = scene.world.node.command("python3".as_ref()).unwrap();
    let (ask_only, answer_only) = forge.split_once("answers = ").unwrap();
    let mut asker = Waiting::start(web, &format!("{ask_only}print('asked', flush=True)\ninput()"));
    assert_eq!(asker.word(), "asked");
    let question = "question = b'\\4stub\\4many\\7example\\3com\\0' + struct.pack('!HH', 1, 1)\n";
    assert_eq!(python(outside, &format!("{question}answers = {answer_only}")), "OK");
    scene.assert_reaches(web, ip("203.0.113.99"), 80);
}

/// A question is seen after the host has translated it, and its answer after it was translated back.
#[test]
fn a_resolver_behind_a_service_address_teaches() {
    const SERVICE: &str = "10.96.0.10";
    let mut scene = prepare("cg-service");
    let node = &scene.world.node;
    let rules = format!(
        "table ip exeat {{\nchain out {{\ntype nat hook output priority -100\n\
         ip daddr {SERVICE} meta l4proto {{ tcp, udp }} th dport 53 dnat to {}\n}}\n}}",
        Kind::A.resolver().ip()
    );
    let output = node.command("nft".as_ref()).unwrap().arg(rules).output().unwrap();
    assert!(output.status.success(), "nft (Debian package nftables): {output:?}");
    let resolvers = format!("resolvers: [{SERVICE}, ");
    let config = scene.files.config_for(node).replace("resolvers: [", &resolvers);
    scene.files.write_config(&config).unwrap();
    scene.start_agent().unwrap();
    let web = &scene.world.web;
    let service = SocketAddr::new(ip(SERVICE), 53);
    for (name, options) in [("n7.many.example.com", &[][..]), ("n8.many.example.com", &["--tcp"])] {
        let resolved = web.resolve_at(service, name, Kind::A, options).unwrap();
        let address = *resolved.addresses.first().unwrap_or_else(|| panic!("{resolved:?}"));
        scene.assert_reaches(web, address, 80);
    }
    let refused = web.resolve_at(service, "www.example.org", Kind::A, &[]).unwrap();
    assert_eq!(refused.rcode, "EPERM", "{refused:?}");
    assert_eq!(scene.world.dns.asked("www.example.org"), 0);
}

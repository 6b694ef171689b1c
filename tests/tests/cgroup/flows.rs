//! What they may reach, who may reach them, and what ends a flow.

use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use exeat_tests::pod_client::{Background, Kind};
use exeat_tests::scene::IN_FORCE_WITHIN;
use exeat_tests::wait;
use exeat_tests::world::ECHO_PORT;

use crate::{BOTH, DENIED, Waiting, entries, ip, scene, workloads};

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

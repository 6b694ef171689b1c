//! Nothing breaks: a server in a pod answers whoever asks it, over UDP and TCP, and that opens
//! nothing in the other direction.

#![cfg(test)]

use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use exeat_tests::node::Pod;
use exeat_tests::pod_client::Background;
use exeat_tests::registry::Entry;
use exeat_tests::scene::Scene;
use exeat_tests::wait;
use exeat_tests::world::ECHO_PORT;

const PORT: u16 = 5300;

/// A real dnsmasq, which answers from a socket that is not connected.
fn serve(pod: &Pod) -> Background {
    let child = pod
        .command("dnsmasq")
        .expect("the pod runs programs")
        .args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null"])
        .args(["--pid-file=", "--user=root", "--port=5300"])
        .arg("--host-record=served.example,198.51.100.77")
        .stderr(Stdio::null())
        .spawn()
        .expect("start dnsmasq (Debian package dnsmasq-base)");
    Background::new(child)
}

#[test]
fn a_server_in_a_pod_answers_whoever_asks() {
    let www = Entry::new("shop", "www", "www.example.com").port(80, "HTTP");
    let scene = Scene::start("inbound", &[www]).expect("a scene");
    let web = &scene.world.web;
    let _server = serve(web);
    for address in [IpAddr::from(web.v4), IpAddr::from(web.v6)] {
        let server = SocketAddr::new(address, PORT).to_string();
        for transport in [&[][..], &["--tcp"][..]] {
            let question =
                [&["resolve", "served.example", "--server", &server], transport].concat();
            let answered = wait::holds(Duration::from_secs(10), || {
                let answer = scene.world.node.internet_probe(&question);
                answer.is_ok_and(|answer| answer["rcode"] == "NoError")
            });
            assert!(answered, "{server} {transport:?}");
        }
    }
    // The twin: where nobody asked from, the same pod sends nothing.
    let echo: IpAddr = "203.0.113.30".parse().expect("an address");
    let before = scene.world.tap.packets_to(SocketAddr::new(echo, ECHO_PORT)).expect("a count");
    let reached = web.udp(echo, ECHO_PORT).expect("a probe");
    assert_eq!(reached.result, "EPERM");
    let after = scene.world.tap.packets_to(SocketAddr::new(echo, ECHO_PORT)).expect("a count");
    assert_eq!(after, before);
}

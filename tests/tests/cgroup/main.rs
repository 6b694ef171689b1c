//! Workloads without a veth of their own: on the node's network, and in a namespace where the agent
//! is told of no interface. They are held at their sockets, and it is shown at the receiver.

#![cfg(test)]

mod dns;
mod flows;
mod life;
mod sockets;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};

use exeat_tests::node::Pod;
use exeat_tests::pod_client::Kind;
use exeat_tests::registry::Entry;
use exeat_tests::scene::Scene;
use exeat_tests::world::{ECHO_PORT, World};

pub(crate) const BOTH: [Kind; 2] = [Kind::A, Kind::Aaaa];
/// Denied everywhere.
pub(crate) const DENIED: [&str; 2] = ["203.0.113.99", "2001:db8::99"];
/// What every script begins with: it says how an attempt ended, in one word.
pub(crate) const PRELUDE: &str = r"
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

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn entries() -> [Entry; 4] {
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

pub(crate) fn prepare(test: &str) -> Scene {
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

pub(crate) fn scene(test: &str) -> Scene {
    let mut scene = prepare(test);
    scene.start_agent().unwrap();
    scene
}

pub(crate) fn workloads(scene: &Scene) -> [&Pod; 2] {
    [&scene.world.web, &scene.world.ledger]
}

pub(crate) fn python(mut command: Command, script: &str) -> String {
    let output = command.args(["-c", &format!("{PRELUDE}{script}")]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(crate) fn in_pod(pod: &Pod, script: &str) -> String {
    python(pod.command("python3").unwrap(), script)
}

/// A script that says a word, and goes on when it is told to.
pub(crate) struct Waiting(Child, BufReader<std::process::ChildStdout>);

impl Waiting {
    pub(crate) fn start(pod: &Pod, script: &str) -> Self {
        let mut command = pod.command("python3").unwrap();
        command.args(["-c", &format!("{PRELUDE}{script}")]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self(child, output)
    }

    pub(crate) fn word(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    pub(crate) fn go_on(&mut self) -> String {
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

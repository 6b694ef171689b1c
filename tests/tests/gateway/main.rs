//! `exeat gateway` between a pod and the internet: what is declared is carried, what is not is told
//! so, and both are shown at the server.

#![cfg(test)]

mod bounds;
mod ends;
mod requests;
mod routes;
mod told;

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use exeat_tests::gateway::{GatewayScene, NAMESPACE, TLS_TO_7443, client_hello};
use exeat_tests::node::Family;
use exeat_tests::registry::Entry;
use exeat_tests::servers::RawServer;
use exeat_tests::wait;

pub(crate) const WITHIN: Duration = Duration::from_secs(20);
pub(crate) const WWW: [&str; 2] = ["203.0.113.10", "2001:db8::10"];
pub(crate) const ORG: &str = "203.0.113.20";

/// `www.example.com` on 80 and 443, for the gateway's namespace alone.
pub(crate) fn www() -> Entry {
    Entry::new(NAMESPACE, "www", "www.example.com").port(80, "HTTP").port(443, "TLS").private()
}

/// Everything below `wild.example.com` on the ports of the raw server.
pub(crate) fn wild() -> Entry {
    let entry = Entry::new(NAMESPACE, "wild", "*.wild.example.com");
    entry.port(8443, "TLS").port(7443, "TLS").port(7000, "HTTP")
}

pub(crate) fn scene(test: &str, section: &str) -> GatewayScene {
    with_names(GatewayScene::start(test, &[www(), wild()], section).unwrap())
}

pub(crate) fn with_names(scene: GatewayScene) -> GatewayScene {
    let dns = &scene.world.dns;
    dns.set("www.example.com", &WWW.map(|it| it.parse().unwrap()), 60);
    dns.set("www.example.org", &[ORG.parse().unwrap()], 60);
    dns.set("a.wild.example.com", &["203.0.113.30".parse().unwrap()], 60);
    dns.set("one.example.com", &["203.0.113.31".parse().unwrap()], 60);
    dns.set("inner.wild.example.com", &["10.96.0.7".parse().unwrap()], 60);
    scene
}

/// Connections at every HTTP and HTTPS server of the internet.
pub(crate) fn arrived(scene: &GatewayScene) -> u64 {
    scene.world.http.arrivals().total()
}

pub(crate) fn arrived_at_www(scene: &GatewayScene, port: u16) -> u64 {
    WWW.iter().map(|it| scene.arrived(it, port).unwrap()).sum()
}
/// A connection of `web` through the gateway to port 7443 of a name, whose `ClientHello` has arrived.
pub(crate) fn open_tls(scene: &GatewayScene, server: &RawServer, name: &str) -> TcpStream {
    let before = server.heard().len();
    let gateway = scene.address(Family::V4, TLS_TO_7443);
    let mut stream = scene.connect(&scene.world.web, gateway).unwrap();
    let hello = client_hello(name).unwrap();
    stream.write_all(&hello).unwrap();
    let arrived = || server.heard().get(before).is_some_and(|it| it.ends_with(&hello));
    assert!(wait::holds(WITHIN, arrived), "the ClientHello for {name}: {:?}", server.heard());
    stream
}

/// The gateway closes or resets the connection, and nothing has come before that.
#[track_caller]
pub(crate) fn assert_cut(stream: TcpStream) {
    match GatewayScene::rest(stream) {
        Ok(rest) => assert_eq!(rest, b""),
        Err(error) => assert!(format!("{error:#}").contains("reset"), "{error:#}"),
    }
}
pub(crate) fn raw(scene: &GatewayScene) -> RawServer {
    RawServer::start(scene.world.node.internet(), 7443, "").unwrap()
}

//! What one client may take, and what stands still.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use exeat_tests::gateway::{GatewayScene, HTTP, TLS_TO_7443, client_hello};
use exeat_tests::node::Family;
use exeat_tests::servers::{FAREWELL, RawServer};
use exeat_tests::wait;

use crate::{WITHIN, arrived, arrived_at_www, assert_cut, open_tls, raw, scene};

#[test]
fn one_client_cannot_take_all_connections() {
    let scene = scene("gw-limit", "  limits: {connectionsPerClient: 2}\n");
    let server = raw(&scene);
    let held = [0, 1].map(|_| open_tls(&scene, &server, "a.wild.example.com"));
    let gateway = scene.address(Family::V4, TLS_TO_7443);
    let third = scene.connect(&scene.world.web, gateway).unwrap();
    assert_eq!(GatewayScene::rest(third).unwrap(), b"", "closed at once");
    let mut other = scene.connect(&scene.world.ledger, gateway).unwrap();
    other.write_all(&client_hello("a.wild.example.com").unwrap()).unwrap();
    other.shutdown(Shutdown::Write).unwrap();
    assert_eq!(GatewayScene::rest(other).unwrap(), FAREWELL.as_bytes(), "another client");
    let metrics = scene.metrics().unwrap();
    let refused = metrics.sum("exeat_gateway_refused_connections_total", &[("limit", "client")]);
    assert!((refused - 1.0).abs() < 0.1, "{refused}");
    drop(held);
    let freed =
        || scene.metrics().is_ok_and(|it| it.sum("exeat_gateway_open_connections", &[]) < 0.5);
    assert!(wait::holds(WITHIN, freed), "connections that are gone are not counted");
    let again = open_tls(&scene, &server, "a.wild.example.com");
    again.shutdown(Shutdown::Write).unwrap();
    assert_eq!(GatewayScene::rest(again).unwrap(), FAREWELL.as_bytes());
}

#[test]
fn who_stands_still_is_let_go() {
    let scene = scene("gw-idle", "  timeouts: {idle: 1s}\n");
    let server = raw(&scene);
    let stream = open_tls(&scene, &server, "a.wild.example.com");
    assert_cut(stream);
    scene.logged(&[("/end", "idle"), ("/protocol", "tls")]).unwrap();
    // It never answers.
    let _server = RawServer::start(scene.world.node.internet(), 7000, "").unwrap();
    let mut stream = scene.connect(&scene.world.web, scene.address(Family::V4, HTTP)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.wild.example.com:7000\r\n\r\n").unwrap();
    assert_cut(stream);
    scene.logged(&[("/end", "idle"), ("/protocol", "http")]).unwrap();
}

#[test]
fn many_at_once_are_all_answered_and_nothing_is_left_of_them() {
    const CLIENTS: usize = 12;
    const ROUNDS: usize = 20;
    let scene = scene("gw-many", "");
    let gateway = scene.address(Family::V4, HTTP);
    let files = || scene.open_files().unwrap();
    let before = files();
    let request = |host: &str| {
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").into_bytes()
    };
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (scene, request) = (&scene, &request);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let reset = scene.connect(&scene.world.web, gateway).unwrap();
                    socket2::SockRef::from(&reset).set_linger(Some(Duration::ZERO)).unwrap();
                    (&reset).write_all(&request("www.example.com")[..round]).unwrap();
                    drop(reset);
                    let host = ["www.example.com", "www.example.org"][(client + round) % 2];
                    let status = ["200", "502"][(client + round) % 2];
                    let reply = scene.exchange(gateway, &request(host)).unwrap();
                    assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {reply}");
                }
            });
        }
    });
    let allowed = u64::try_from(CLIENTS * ROUNDS / 2).unwrap();
    assert_eq!(arrived_at_www(&scene, 80), allowed, "connections at the server");
    assert_eq!(arrived(&scene), allowed, "connections at any server");
    let mut counts = (0.0, 0);
    let is_over = wait::holds(WITHIN, || {
        let open = scene.metrics().unwrap().sum("exeat_gateway_open_connections", &[]);
        counts = (open, files());
        // The page of metrics is itself a connection, and those to resolvers are kept for a while: a
        // few of the 480 there were, not one for each of any kind.
        open < 0.5 && counts.1 <= before + CLIENTS
    });
    assert!(is_over, "open connections and files: {counts:?}, {before} before");
}

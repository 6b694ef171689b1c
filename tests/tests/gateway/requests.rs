//! What a client says in HTTP, request by request.

use std::io::{Read, Write};
use std::net::Shutdown;

use exeat_tests::gateway::{AUTO, GatewayScene, HTTP, TLS, client_hello};
use exeat_tests::node::Family;
use exeat_tests::servers::{FAREWELL, PAGE, RawServer};

use crate::{ORG, arrived, arrived_at_www, scene};

#[test]
fn every_request_of_a_connection_is_judged() {
    let scene = scene("gw-keep", "");
    let gateway = scene.address(Family::V4, HTTP);
    let proxy = format!("http://{gateway}");
    let urls = ["http://www.example.com/", "http://www.example.org/", "http://www.example.com/"];
    let options = ["--proxy", &proxy, "--write-out", "%{http_code} %{num_connects}\n"];
    let page = scene.curl(&[&options[..], &urls].concat()).unwrap();
    let told: Vec<&str> = page.text.lines().filter(|it| it.len() == 5).collect();
    // One connection to the gateway carries all three.
    assert_eq!(told, ["200 1", "502 0", "200 0"], "{page:?}");
    assert_eq!((arrived_at_www(&scene, 80), scene.arrived(ORG, 80).unwrap()), (2, 0));

    // The same in one segment, where a proxy that splices would pass the second request on.
    let request = |host: &str, rest: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n{rest}\r\n");
    let both =
        request("www.example.com", "") + &request("www.example.org", "Connection: close\r\n");
    let reply = scene.exchange(gateway, both.as_bytes()).unwrap();
    let count = |status: &str| reply.matches(status).count();
    assert_eq!((count("HTTP/1.1 200 "), count("HTTP/1.1 502 ")), (1, 1), "{reply}");
    // A body that looks like a request is a body.
    let inner = request("www.example.org", "");
    let post = format!(
        "POST / HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{inner}",
        inner.len()
    );
    let reply = scene.exchange(gateway, post.as_bytes()).unwrap();
    assert_eq!(reply.matches("HTTP/1.1 ").count(), 1, "{reply}");
    assert_eq!((arrived_at_www(&scene, 80), scene.arrived(ORG, 80).unwrap()), (4, 0));
    assert_eq!(scene.logged(&[("/destination/name", "www.example.org")]).unwrap().len(), 2);
}

#[test]
fn what_reaches_a_server_names_what_was_judged() {
    let scene = scene("gw-raw", "");
    let reply = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
    let server = RawServer::start(scene.world.node.internet(), 7000, reply).unwrap();
    let gateway = scene.address(Family::V4, HTTP);
    let request = "GET http://a.wild.example.com:7000/x HTTP/1.1\r\nHost: www.example.com\r\n\
        Proxy-Authorization: Basic eA==\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nX-End: 2\r\n\r\n";
    let reply = scene.exchange(gateway, request.as_bytes()).unwrap();
    assert!(reply.ends_with("\r\n\r\nok\n"), "{reply}");
    let heard = String::from_utf8(server.heard().swap_remove(0)).unwrap().to_ascii_lowercase();
    assert!(heard.starts_with("get /x http/1.1\r\n"), "{heard}");
    assert!(heard.contains("\r\nhost: a.wild.example.com:7000\r\n"), "{heard}");
    assert!(
        heard.contains("\r\nx-end: 2\r\n") && heard.contains("\r\nvia: 1.1 exeat\r\n"),
        "{heard}"
    );
    for gone in ["www.example.com", "proxy-authorization", "x-hop"] {
        assert!(!heard.contains(gone), "{gone} in {heard}");
    }
    for twice in [
        "GET / HTTP/1.1\r\nHost: a.wild.example.com:7000\r\nHost: www.example.org\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
    ] {
        let reply = scene.exchange(gateway, twice.as_bytes()).unwrap();
        assert!(reply.starts_with("HTTP/1.1 502 "), "{reply}");
    }
    assert_eq!(server.heard().len(), 1, "connections at the server");
}

#[test]
fn a_websocket_is_carried_after_both_sides_agreed() {
    let scene = scene("gw-ws", "");
    let reply =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let server = RawServer::start(scene.world.node.internet(), 7000, reply).unwrap();
    let gateway = scene.address(Family::V4, HTTP);
    let mut stream = scene.connect(&scene.world.web, gateway).unwrap();
    let request = "GET / HTTP/1.1\r\nHost: a.wild.example.com:7000\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    stream.write_all(b"frames").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(GatewayScene::rest(stream).unwrap(), FAREWELL.as_bytes());
    assert!(server.heard()[0].ends_with(b"frames"));
    // Another protocol is not agreed on: what follows would be requests that nobody judges.
    let h2c = request
        .replace("websocket", "h2c")
        .replace("Upgrade\r\nUpgrade", "Upgrade, close\r\nUpgrade");
    let reply = scene.exchange(gateway, h2c.as_bytes()).unwrap();
    assert!(reply.starts_with("HTTP/1.1 502 "), "{reply}");
    assert!(!String::from_utf8_lossy(&server.heard()[1]).contains("h2c"));
}

#[test]
fn who_does_not_say_where_to_is_let_go() {
    let scene = scene("gw-slow", "  timeouts: {handshake: 1s}\n");
    let hello = client_hello("www.example.com").unwrap();
    let beginnings: [(u16, &[u8]); 6] = [
        (HTTP, b"GET / HTTP/1.1\r\nHost: www.exam"),
        (HTTP, b""),
        (TLS, &hello[..60]),
        (TLS, b""),
        (AUTO, b""),
        (AUTO, b"GET / HTTP/1.1\r\n"),
    ];
    for (port, beginning) in beginnings {
        let mut stream = scene.connect(&scene.world.web, scene.address(Family::V4, port)).unwrap();
        stream.write_all(beginning).unwrap();
        let rest = GatewayScene::rest(stream).unwrap();
        if port == TLS {
            assert_eq!(rest, [21, 3, 3, 0, 2, 2, 40], "handshake_failure");
        }
    }
    let lines = scene.logged(&[("/reason", "silent"), ("/protocol", "tls")]).unwrap();
    assert_eq!(lines.len(), 2);
    let page =
        scene.curl_at(scene.address(Family::V4, HTTP), &["http://www.example.com/"]).unwrap();
    assert_eq!(page.text, PAGE, "the twin: {page:?}");
    assert_eq!(arrived(&scene), 1, "connections at any server");
}

#[test]
fn a_head_without_end_is_refused() {
    let scene = scene("gw-head", "  limits: {headerBytes: 8192}\n");
    let gateway = scene.address(Family::V4, HTTP);
    let request = |bytes: usize| {
        let filler = "a".repeat(bytes);
        format!(
            "GET / HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\nX: {filler}\r\n\r\n"
        )
    };
    let reply = scene.exchange(gateway, request(6_000).as_bytes()).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    let reply = scene.exchange(gateway, request(9_000).as_bytes()).unwrap();
    assert!(reply.starts_with("HTTP/1.1 431 "), "{reply}");
    assert_eq!(arrived(&scene), 1, "connections at any server");
}

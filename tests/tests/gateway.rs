//! `exeat gateway` between a pod and the internet: what is declared is carried, what is not is told
//! so, and both are shown at the server.

#![cfg(test)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use exeat_tests::gateway::{
    AUTO, GatewayScene, HTTP, NAMESPACE, TLS, TLS_TO_7443, TLS_TO_8443, client_hello,
};
use exeat_tests::node::Family;
use exeat_tests::registry::Entry;
use exeat_tests::servers::{FAREWELL, PAGE, RawServer};
use exeat_tests::wait;
use nix::sys::signal::Signal;

const WITHIN: Duration = Duration::from_secs(20);
const WWW: [&str; 2] = ["203.0.113.10", "2001:db8::10"];
const ORG: &str = "203.0.113.20";

/// `www.example.com` on 80 and 443, for the gateway's namespace alone.
fn www() -> Entry {
    Entry::new(NAMESPACE, "www", "www.example.com").port(80, "HTTP").port(443, "TLS").private()
}

/// Everything below `wild.example.com` on the ports of the raw server.
fn wild() -> Entry {
    let entry = Entry::new(NAMESPACE, "wild", "*.wild.example.com");
    entry.port(8443, "TLS").port(7443, "TLS").port(7000, "HTTP")
}

fn scene(test: &str, section: &str) -> GatewayScene {
    with_names(GatewayScene::start(test, &[www(), wild()], section).unwrap())
}

fn with_names(scene: GatewayScene) -> GatewayScene {
    let dns = &scene.world.dns;
    dns.set("www.example.com", &WWW.map(|it| it.parse().unwrap()), 60);
    dns.set("www.example.org", &[ORG.parse().unwrap()], 60);
    dns.set("a.wild.example.com", &["203.0.113.30".parse().unwrap()], 60);
    dns.set("one.example.com", &["203.0.113.31".parse().unwrap()], 60);
    dns.set("inner.wild.example.com", &["10.96.0.7".parse().unwrap()], 60);
    scene
}

/// Connections at every HTTP and HTTPS server of the internet.
fn arrived(scene: &GatewayScene) -> u64 {
    scene.world.http.arrivals().total()
}

fn arrived_at_www(scene: &GatewayScene, port: u16) -> u64 {
    WWW.iter().map(|it| scene.arrived(it, port).unwrap()).sum()
}

#[test]
fn http_goes_by_its_host_and_what_is_not_declared_gets_502() {
    let scene = scene("gw-http", "");
    for (count, family) in (1..).zip([Family::V4, Family::V6]) {
        let gateway = scene.address(family, HTTP);
        let page = scene.curl_at(gateway, &["http://www.example.com/"]).unwrap();
        assert_eq!((page.exit, page.text.as_str()), (Some(0), PAGE), "{page:?}");
        assert_eq!(arrived_at_www(&scene, 80), count, "connections at the server");
    }
    let gateway = scene.address(Family::V4, HTTP);
    // As an explicit proxy, in absolute form.
    let proxy = format!("http://{gateway}");
    let page = scene.curl(&["--proxy", &proxy, "http://www.example.com/"]).unwrap();
    assert_eq!(page.text, PAGE, "{page:?}");

    let before = arrived(&scene);
    for (url, host, reason) in [
        ("http://www.example.org/", "www.example.org:80", "name-not-granted"),
        ("http://www.example.com:8080/", "www.example.com:8080", "port-not-declared"),
        ("http://203.0.113.10/", "203.0.113.10:80", "not-registered"),
        ("http://127.0.0.1:9469/metrics", "127.0.0.1:9469", "address-guarded"),
        ("http://inner.wild.example.com:7000/", "inner.wild.example.com:7000", "address-guarded"),
    ] {
        let page = scene.curl_at(gateway, &["--write-out", "%{http_code}", url]).unwrap();
        assert!(page.text.starts_with(&format!("exeat: {host}: ")), "{url}: {page:?}");
        assert!(page.text.ends_with(&format!("({reason})\n502")), "{url}: {page:?}");
    }
    // The target counts, whatever the header says.
    let request = "GET http://www.example.org/ HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\n\r\n";
    let reply = scene.exchange(gateway, request.as_bytes()).unwrap();
    assert!(reply.starts_with("HTTP/1.1 502 "), "{reply}");
    assert_eq!(arrived(&scene), before, "connections at any server");
    assert_eq!(scene.world.dns.asked("www.example.org"), 0, "questions that left");
}

#[test]
fn tls_goes_by_its_server_name_and_what_is_not_declared_gets_an_alert() {
    let scene = scene("gw-tls", "");
    for (count, family) in (1..).zip([Family::V4, Family::V6]) {
        let gateway = scene.address(family, TLS);
        let page = scene.curl_at(gateway, &["https://www.example.com/"]).unwrap();
        assert_eq!((page.exit, page.text.as_str()), (Some(0), PAGE), "{page:?}");
        assert_eq!(arrived_at_www(&scene, 443), count, "connections at the server");
    }
    let gateway = scene.address(Family::V4, TLS);
    let other_port = scene.address(Family::V4, TLS_TO_8443);
    let page = scene.curl_at(other_port, &["https://a.wild.example.com:8443/"]).unwrap();
    assert_eq!(page.text, PAGE, "the twin of the port: {page:?}");

    let before = arrived(&scene);
    for (at, url, alert) in [
        (gateway, "https://www.example.org/", "unrecognized name"),
        // Declared, and not on that port.
        (other_port, "https://www.example.com:8443/", "access denied"),
        // curl names no server where the URL has an address. The library knows no word for it.
        (gateway, "https://203.0.113.10/", "alert"),
    ] {
        let page = scene.curl_at(at, &[url]).unwrap();
        assert_eq!(page.exit, Some(35), "{url}: {page:?}");
        assert!(page.stderr.contains(alert), "{url}: {page:?}");
    }
    let reply =
        scene.exchange(gateway, b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n").unwrap();
    assert_eq!(reply.as_bytes().first(), Some(&21), "an alert, and no HTTP: {reply:?}");
    assert_eq!(arrived(&scene), before, "connections at any server");
    assert_eq!(scene.world.dns.asked("www.example.org"), 0, "questions that left");
    let lines = scene.logged(&[("/reason", "no-name"), ("/protocol", "tls")]).unwrap();
    assert_eq!(lines[0]["verdict"], "deny");
}

#[test]
fn a_listener_can_take_both() {
    let scene = scene("gw-auto", "");
    let gateway = scene.address(Family::V4, AUTO);
    for (url, port) in [("http://www.example.com/", 80), ("https://www.example.com/", 443)] {
        let page = scene.curl_at(gateway, &[url]).unwrap();
        assert_eq!(page.text, PAGE, "{page:?}");
        assert_eq!(arrived_at_www(&scene, port), 1, "{url}");
    }
    let before = arrived(&scene);
    let page = scene.curl_at(gateway, &["--write-out", "%{http_code}", "http://www.example.org/"]);
    assert!(page.unwrap().text.ends_with("502"));
    let page = scene.curl_at(gateway, &["https://www.example.org/"]).unwrap();
    assert_eq!(page.exit, Some(35), "{page:?}");
    assert_eq!(arrived(&scene), before, "connections at any server");
}

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

/// A connection of `web` through the gateway to port 7443 of a name, whose `ClientHello` has arrived.
fn open_tls(scene: &GatewayScene, server: &RawServer, name: &str) -> TcpStream {
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
fn assert_cut(stream: TcpStream) {
    match GatewayScene::rest(stream) {
        Ok(rest) => assert_eq!(rest, b""),
        Err(error) => assert!(format!("{error:#}").contains("reset"), "{error:#}"),
    }
}

/// `one.example.com` on port 7443.
fn one() -> Entry {
    Entry::new(NAMESPACE, "one", "one.example.com").port(7443, "TLS")
}

fn raw(scene: &GatewayScene) -> RawServer {
    RawServer::start(scene.world.node.internet(), 7443, "").unwrap()
}

#[test]
fn a_side_that_ended_still_hears_the_other() {
    let scene = scene("gw-half", "");
    let server = raw(&scene);
    let mut stream = open_tls(&scene, &server, "a.wild.example.com");
    stream.write_all(b"the rest").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(GatewayScene::rest(stream).unwrap(), FAREWELL.as_bytes());
    assert!(server.heard()[0].ends_with(b"the rest"));
    let line = scene.logged(&[("/end", "closed")]).unwrap().swap_remove(0);
    let sent = client_hello("a.wild.example.com").unwrap().len() + "the rest".len();
    assert_eq!(line["sentBytes"], sent);
    assert_eq!(line["receivedBytes"], FAREWELL.len());
}

#[test]
fn a_connection_ends_with_the_entry_that_allowed_it() {
    let scene = scene("gw-gone", "");
    scene.put(&one()).unwrap();
    let server = raw(&scene);
    let gateway = scene.address(Family::V4, TLS_TO_7443);
    let opened = wait::until(WITHIN, || {
        let mut stream = scene.connect(&scene.world.web, gateway).ok()?;
        stream.write_all(&client_hello("one.example.com").ok()?).ok()?;
        let mut alert = [0; 7];
        stream.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
        // An alert comes at once while the entry is not in force yet; else nothing comes.
        stream.read(&mut alert).is_err().then_some(stream)
    });
    let doomed = opened.expect("the entry comes into force");
    doomed.set_read_timeout(Some(WITHIN)).unwrap();
    let mut stays = open_tls(&scene, &server, "a.wild.example.com");

    // What cannot be read changes nothing.
    scene.put_text("broken.yaml", "\"unclosed: [\n").unwrap();
    let told =
        || scene.metrics().is_ok_and(|it| it.sum("exeat_registry_files_unreadable", &[]) > 0.5);
    assert!(wait::holds(WITHIN, told), "the broken file is told of");
    let kept = open_tls(&scene, &server, "one.example.com");
    scene.put_text("broken.yaml", "{}\n").unwrap();

    scene.remove(&one()).unwrap();
    for stream in [doomed, kept] {
        assert_cut(stream);
    }
    scene.logged(&[("/end", "revoked"), ("/destination/name", "one.example.com")]).unwrap();
    stays.write_all(b"still here").unwrap();
    stays.shutdown(Shutdown::Write).unwrap();
    assert_eq!(GatewayScene::rest(stays).unwrap(), FAREWELL.as_bytes(), "the twin");
}

#[test]
fn a_request_that_waits_for_its_answer_ends_with_its_entry() {
    let scene = scene("gw-wait", "");
    // It never answers.
    let server = RawServer::start(scene.world.node.internet(), 7000, "").unwrap();
    let mut stream = scene.connect(&scene.world.web, scene.address(Family::V4, HTTP)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.wild.example.com:7000\r\n\r\n").unwrap();
    let arrived = || server.heard().first().is_some_and(|it| it.ends_with(b"\r\n\r\n"));
    assert!(wait::holds(WITHIN, arrived), "{:?}", server.heard());
    scene.remove(&wild()).unwrap();
    assert_cut(stream);
    scene.logged(&[("/end", "revoked"), ("/destination/port", "7000")]).unwrap();
    let page = scene.curl_at(scene.address(Family::V4, HTTP), &["http://www.example.com/"]);
    assert_eq!(page.unwrap().text, PAGE, "the twin");
}

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
fn what_is_open_may_end_after_sigterm() {
    let mut scene = scene("gw-drain", "");
    let server = raw(&scene);
    let mut stream = open_tls(&scene, &server, "a.wild.example.com");
    scene.signal(Signal::SIGTERM).unwrap();
    let gateway = scene.address(Family::V4, TLS_TO_7443);
    let closed = || scene.connect(&scene.world.web, gateway).is_err();
    assert!(wait::holds(WITHIN, closed), "no new connections");
    stream.write_all(b"last words").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(GatewayScene::rest(stream).unwrap(), FAREWELL.as_bytes());
    assert!(server.heard()[0].ends_with(b"last words"));
    assert!(scene.wait_for_end().unwrap(), "{}", scene.words());
    // Written before the end, although nobody asked for it.
    assert_eq!(scene.logged(&[("/end", "closed")]).unwrap().len(), 1);
}

#[test]
fn sighup_reads_the_registry_that_is_not_watched() {
    let registry = "registry: {files: [REGISTRY], watch: false}";
    let scene = GatewayScene::start_with("gw-hup", &[www()], "", registry).unwrap();
    let scene = with_names(scene);
    let gateway = scene.address(Family::V4, HTTP);
    let org = Entry::new(NAMESPACE, "org", "www.example.org").port(80, "HTTP");
    scene.put(&org).unwrap();
    let fetch = || scene.curl_at(gateway, &["http://www.example.org/"]).unwrap().text;
    assert!(fetch().contains("(name-not-granted)"));
    scene.signal(Signal::SIGHUP).unwrap();
    assert!(wait::holds(WITHIN, || fetch() == PAGE), "{}", scene.words());
    assert!(scene.arrived(ORG, 80).unwrap() > 0);
}

#[test]
fn a_further_gateway_is_told_who_the_client_is() {
    let section = "  upstreams: [{hosts: [\"*.wild.example.com\"], addresses: [\"198.51.100.9:7443\"], proxyProtocol: v2}]\n";
    let scene = scene("gw-up", section);
    let server = raw(&scene);
    let gateway = scene.address(Family::V4, TLS_TO_7443);
    let mut stream = scene.connect(&scene.world.web, gateway).unwrap();
    let client = stream.local_addr().unwrap();
    let hello = client_hello("a.wild.example.com").unwrap();
    stream.write_all(&hello).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(GatewayScene::rest(stream).unwrap(), FAREWELL.as_bytes());
    let heard = server.heard().swap_remove(0);
    // The header of version 2: signature, PROXY over TCP and IPv4, both ends, and the name.
    assert!(heard.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x21\x11"), "{heard:?}");
    let SocketAddr::V4(client) = client else { panic!("{client}") };
    let SocketAddr::V4(dialled) = gateway else { panic!("{gateway}") };
    let ends = [
        &client.ip().octets()[..],
        &dialled.ip().octets(),
        &client.port().to_be_bytes(),
        &dialled.port().to_be_bytes(),
    ];
    assert_eq!(heard[16..28], ends.concat());
    let name = b"a.wild.example.com";
    assert!(heard.windows(name.len()).any(|it| it == name));
    assert!(heard.ends_with(&hello), "and then what the client said");
    assert_eq!(scene.world.dns.asked("a.wild.example.com"), 0, "the further gateway resolves it");
    // What is not declared does not go there either.
    let refused = scene.curl_at(scene.address(Family::V4, TLS), &["https://b.wild.example.com/"]);
    assert_eq!(refused.unwrap().exit, Some(35));
    assert_eq!(server.heard().len(), 1);
}

#[test]
fn every_flow_is_logged_and_counted() {
    let scene = scene("gw-log", "");
    let gateway = scene.address(Family::V4, HTTP);
    scene.curl_at(gateway, &["http://www.example.com/x?secret=1"]).unwrap();
    scene.curl_at(gateway, &["http://api.example.com/"]).unwrap();
    let line = scene.logged(&[("/destination/name", "www.example.com")]).unwrap().swap_remove(0);
    for (pointer, expected) in [
        ("/verdict", "allow"),
        ("/reason", "registered"),
        ("/entry", "ServiceEntry/istio-egress/www"),
        ("/gateway", "istio-egress/gateway"),
        ("/protocol", "http"),
        ("/method", "GET"),
        ("/end", "closed"),
    ] {
        assert_eq!(line.pointer(pointer).and_then(|it| it.as_str()), Some(expected), "{line:#}");
    }
    assert_eq!((&line["status"], &line["receivedBytes"]), (&200.into(), &PAGE.len().into()));
    assert!(line["client"].as_str().unwrap().starts_with(&scene.world.web.v4.to_string()));
    assert!(!line.to_string().contains("secret"), "paths are the client's own: {line}");
    let line = scene.logged(&[("/destination/name", "api.example.com")]).unwrap().swap_remove(0);
    assert_eq!((&line["verdict"], &line["status"]), (&"deny".into(), &502.into()));
    assert_eq!(line["nearest"], "www.example.com (ServiceEntry/istio-egress/www)");
    let metrics = scene.metrics().unwrap();
    for (labels, expected) in [
        ([("protocol", "http"), ("verdict", "allow"), ("reason", "registered")], 1.0),
        ([("protocol", "http"), ("verdict", "deny"), ("reason", "name-not-granted")], 1.0),
    ] {
        let counted = metrics.sum("exeat_gateway_requests_total", &labels);
        assert!((counted - expected).abs() < 0.1, "{labels:?}: {counted}");
    }
    let bytes = metrics.sum("exeat_gateway_bytes_total", &[("direction", "received")]);
    assert!(bytes > 100.0, "{bytes}");
    assert!(metrics.has("exeat_build_info") && metrics.has("exeat_registry_age_seconds"));
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
        // The page of metrics is itself a connection, and so is a resolver's socket for a moment.
        open < 0.5 && counts.1 <= before + 2
    });
    assert!(is_over, "open connections and files: {counts:?}, {before} before");
}

//! When a connection ends: with a side, with the entry that allowed it, with the gateway.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use exeat_tests::gateway::{GatewayScene, HTTP, NAMESPACE, TLS_TO_7443, client_hello};
use exeat_tests::node::Family;
use exeat_tests::registry::Entry;
use exeat_tests::servers::{FAREWELL, PAGE, RawServer};
use exeat_tests::wait;
use nix::sys::signal::Signal;

use crate::{ORG, WITHIN, assert_cut, open_tls, raw, scene, wild, with_names, www};

/// `one.example.com` on port 7443.
fn one() -> Entry {
    Entry::new(NAMESPACE, "one", "one.example.com").port(7443, "TLS")
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

//! Where a connection goes: HTTP by its host, TLS by its server name.

use exeat_tests::gateway::{AUTO, HTTP, NAMESPACE, TLS, TLS_TO_8443};
use exeat_tests::node::Family;
use exeat_tests::servers::PAGE;
use exeat_tests::wait;

use crate::{WITHIN, arrived, arrived_at_www, scene};

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
fn endpoints_that_are_names_are_resolved_and_internal_addresses_are_not_dialled() {
    let scene = scene("gw-named", "");
    let dns = &scene.world.dns;
    dns.set("us.foo.bar.com", &["10.96.0.7", "203.0.113.21"].map(|it| it.parse().unwrap()), 60);
    dns.set("uk.foo.bar.com", &["10.96.0.8".parse().unwrap()], 60);
    let entry = |name: &str, endpoint: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\n\
             spec: {{hosts: [{name}.bar.com], ports: [{{number: 80, name: http, protocol: HTTP}}], resolution: DNS, endpoints: [{{address: {endpoint}, ports: {{http: 8080}}}}]}}\n"
        )
    };
    scene.put_text("foo.yaml", &entry("foo", "us.foo.bar.com")).unwrap();
    scene.put_text("in.yaml", &entry("in", "uk.foo.bar.com")).unwrap();
    let gateway = scene.address(Family::V4, HTTP);
    let page = |url: &str| scene.curl_at(gateway, &["-w", "%{http_code}", url]).unwrap();
    let is_open = || page("http://foo.bar.com/").text.ends_with("200");
    assert!(wait::holds(WITHIN, is_open), "{:?}", page("http://foo.bar.com/"));
    for _ in 0..10 {
        let before = scene.arrived("203.0.113.21", 8080).unwrap();
        assert!(is_open());
        assert_eq!(scene.arrived("203.0.113.21", 8080).unwrap() - before, 1);
    }
    let refused = page("http://in.bar.com/");
    assert!(refused.text.ends_with("502"), "{refused:?}");
    let metrics = scene.metrics().unwrap();
    assert!((metrics.sum("exeat_endpoint_names", &[("state", "fresh")]) - 2.0).abs() < 0.1);
}

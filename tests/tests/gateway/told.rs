//! What others are told of a connection: further gateways, the log, the metrics.

use std::io::Write;
use std::net::{Shutdown, SocketAddr};

use exeat_tests::gateway::{GatewayScene, HTTP, TLS, TLS_TO_7443, client_hello};
use exeat_tests::node::Family;
use exeat_tests::servers::{FAREWELL, PAGE};

use crate::{raw, scene};

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

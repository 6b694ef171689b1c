//! Promise 5, one entry allows and routes: virtual addresses, endpoints, other ports and gateways. What
//! arrives is looked at where it arrives; the application is shown what it dialled.

#![cfg(test)]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use exeat_tests::flows::{About, FlowLog};
use exeat_tests::frame::{Ends, tcp_flag};
use exeat_tests::node::Pod;
use exeat_tests::pod_client::probe_outside_cgroup;
use exeat_tests::probe::Reached;
use exeat_tests::scene::{IN_FORCE_WITHIN, Scene};
use exeat_tests::servers::LineServer;
use exeat_tests::session::Session;
use exeat_tests::wait;
use exeat_tests::world::{ECHO_PORT, World};
use serde_json::{Value, json};

const VIP: &str = "240.240.1.1";
const VIP6: &str = "2001:2::11";
/// Where the endpoints are; the servers of the world listen on every address.
const BACKENDS: [&str; 2] = ["203.0.113.71", "203.0.113.72"];
const BACKEND6: &str = "2001:db8::71";
const DEADLINE: Duration = Duration::from_secs(5);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn at(text: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(text), port)
}

/// A `ServiceEntry` in namespace `shop`.
fn entry(name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": { "name": name, "namespace": "shop" },
        "spec": spec,
    })
    .to_string()
}

/// One host behind a virtual address of either family: port 80 is the endpoints' 8080, the UDP port is
/// the same.
fn service(endpoints: &[Value]) -> String {
    entry(
        "db",
        &json!({
            "hosts": ["db.example.com"],
            "addresses": [VIP, VIP6],
            "ports": [
                { "number": 80, "name": "tcp", "protocol": "TCP", "targetPort": 8080 },
                { "number": ECHO_PORT, "name": "udp", "protocol": "UDP" },
            ],
            "resolution": "STATIC",
            "endpoints": endpoints,
        }),
    )
}

fn endpoint(address: &str) -> Value {
    json!({ "address": address })
}

fn scene(test: &str, manifests: &[(&str, String)]) -> Scene {
    let mut scene = Scene::prepare(test, &[]).expect("a world");
    for (file, manifest) in manifests {
        scene.files.put(file, manifest).expect("a manifest");
    }
    scene.start_agent().expect("an agent");
    scene
}

/// The TCP connection to `dialled` arrives at `server` and nowhere else; the application sees `dialled`.
#[track_caller]
fn assert_redirected(scene: &Scene, pod: &Pod, dialled: SocketAddr, server: SocketAddr) {
    let before = scene.world.http.arrivals().at(server);
    let all = scene.world.http.arrivals().total();
    let reached = pod.connect(dialled.ip(), dialled.port()).expect("a probe");
    assert!(reached.is_ok(), "{dialled} should lead to {server}: {reached:?}");
    assert_eq!(reached.peer, Some(dialled), "what getpeername shows");
    assert_eq!(scene.world.http.arrivals().at(server) - before, 1, "arrivals at {server}");
    assert_eq!(scene.world.http.arrivals().total() - all, 1, "arrivals anywhere");
    let canonical = SocketAddr::new(dialled.ip().to_canonical(), dialled.port());
    assert_eq!(scene.world.tap.packets_to(canonical).expect("a count"), 0, "packets to {dialled}");
}

fn from_outside(scene: &Scene, pod: &Pod, verb: &str, to: SocketAddr) -> Reached {
    let (address, port) = (to.ip().to_string(), to.port().to_string());
    let args = [verb, &address, &port, "--timeout-ms", "1000"];
    probe_outside_cgroup(&scene.world.node, pod, &args).expect("a probe")
}

#[test]
fn a_virtual_address_leads_to_the_endpoint_and_shows_what_was_dialled() {
    let service = service(&[endpoint(BACKENDS[0]), endpoint(BACKEND6)]);
    let scene = scene("vip", &[("db.yaml", service)]);
    let web = &scene.world.web;
    assert_redirected(&scene, web, at(VIP, 80), at(BACKENDS[0], 8080));
    assert_redirected(&scene, web, at(VIP6, 80), at(BACKEND6, 8080));
    assert_redirected(&scene, web, at("::ffff:240.240.1.1", 80), at(BACKENDS[0], 8080));
    // The twins: another port, another virtual address, another pod, the endpoint itself.
    scene.assert_refused(web, ip(VIP), 8080);
    scene.assert_refused(web, ip("240.240.1.2"), 80);
    scene.assert_refused(web, ip(BACKENDS[0]), 8080);
    scene.assert_refused(web, ip(BACKEND6), 8080);
}

#[test]
fn what_is_dialled_straight_to_an_endpoint_stops_at_the_wire() {
    let scene = scene("straight", &[("db.yaml", service(&[endpoint(BACKENDS[0])]))]);
    let web = &scene.world.web;
    assert_redirected(&scene, web, at(VIP, 80), at(BACKENDS[0], 8080));
    // A socket that the socket layer does not see, and packets that no socket layer sees.
    for (verb, to) in [("connect", at(BACKENDS[0], 8080)), ("connect", at(VIP, 80))] {
        let before = scene.world.tap.packets_to(to).expect("a count");
        let reached = from_outside(&scene, web, verb, to);
        assert!(!reached.is_ok(), "{verb} {to}: {reached:?}");
        assert_eq!(scene.world.tap.packets_to(to).expect("a count"), before, "{verb} {to}");
    }
    for way in ["raw-sendto", "raw-connect"] {
        let destination = at(BACKENDS[0], 8080);
        let source = SocketAddr::new(web.v4.into(), 41_000);
        let segment = Ends { source, destination }.segment(tcp_flag::SYN, &[]);
        let bytes: Vec<String> = segment.iter().map(|byte| format!("{byte:02x}")).collect();
        let bytes = bytes.concat();
        for to in [destination, at(VIP, 80)] {
            let before = scene.world.tap.packets_to(destination).expect("a count");
            let to = to.to_string();
            let args = ["leak", way, "--to", &to, "--protocol", "6", "--bytes", &bytes];
            // What its caller is told does not matter.
            let _reached: Reached = web.probe(&args).expect("a probe");
            let after = scene.world.tap.packets_to(destination).expect("a count");
            assert_eq!(after, before, "{way} to {to}");
        }
    }
}

#[test]
fn answers_to_datagrams_come_from_where_they_were_sent() {
    let service = service(&[endpoint("203.0.113.10"), endpoint("2001:db8::10")]);
    let scene = scene("datagrams", &[("db.yaml", service)]);
    let web = &scene.world.web;
    let cases =
        [(VIP, "203.0.113.10"), (VIP6, "2001:db8::10"), ("::ffff:240.240.1.1", "203.0.113.10")];
    for (dialled, server) in cases {
        for connected in [false, true] {
            let (dialled, server) = (at(dialled, ECHO_PORT), at(server, ECHO_PORT));
            let before = scene.world.echo.arrivals().at(server);
            let reached = if connected {
                web.udp_connected(dialled.ip(), dialled.port())
            } else {
                web.udp(dialled.ip(), dialled.port())
            };
            let reached = reached.expect("a probe");
            assert!(reached.is_ok(), "{dialled} connected {connected}: {reached:?}");
            assert_eq!(reached.peer, Some(dialled), "connected {connected}");
            assert_eq!(scene.world.echo.arrivals().at(server) - before, 1, "{dialled}");
        }
    }
    // The twins: not the endpoint itself, by either layer.
    let server = at("203.0.113.10", ECHO_PORT);
    scene.assert_silent(server, "EPERM", || web.udp(server.ip(), ECHO_PORT));
    scene.assert_silent(server, "EPERM", || web.udp_connected(server.ip(), ECHO_PORT));
    let before = scene.world.tap.packets_to(server).expect("a count");
    assert!(!from_outside(&scene, web, "udp", server).is_ok());
    assert_eq!(scene.world.tap.packets_to(server).expect("a count"), before);
}

#[test]
fn endpoints_are_met_as_often_as_they_weigh() {
    const CONNECTIONS: u64 = 200;
    let weighed = |address: &str, weight: u32| json!({ "address": address, "weight": weight });
    let service = service(&[weighed(BACKENDS[0], 1), weighed(BACKENDS[1], 3)]);
    let scene = scene("weights", &[("db.yaml", service)]);
    for _ in 0..CONNECTIONS {
        let reached = scene.world.web.connect(ip(VIP), 80).expect("a probe");
        assert!(reached.is_ok(), "{reached:?}");
    }
    let [light, heavy] = BACKENDS.map(|it| scene.world.http.arrivals().at(at(it, 8080)));
    assert_eq!(light + heavy, CONNECTIONS);
    // 150 are expected; six standard deviations (6.1 each) around that.
    assert!((113..=187).contains(&heavy), "{light} and {heavy}");
}

#[test]
fn without_an_endpoint_of_a_family_the_socket_can_use_the_call_fails() {
    let scene = scene("families", &[("db.yaml", service(&[endpoint(BACKEND6)]))]);
    let web = &scene.world.web;
    let log = FlowLog::follow(&scene.files, &scene.world.node).expect("the flow log");
    let mark = log.mark();
    scene.assert_refused(web, ip(VIP), 80);
    let record = log.denial(web, About::Address(ip(VIP), 80), mark, DEADLINE).expect("a record");
    assert_eq!((record.layer.as_str(), record.reason.as_str()), ("socket", "no-upstream"));
    assert_redirected(&scene, web, at(VIP6, 80), at(BACKEND6, 8080));

    // An IPv6 socket reaches IPv4 as well.
    scene.files.put("db.yaml", &service(&[endpoint(BACKENDS[0])])).expect("a manifest");
    let opened = wait::holds(IN_FORCE_WITHIN, || {
        web.connect(ip(VIP), 80).is_ok_and(|reached| reached.is_ok())
    });
    assert!(opened, "the IPv4 endpoint");
    assert_redirected(&scene, web, at(VIP6, 80), at(BACKENDS[0], 8080));
    let reached = web.udp(ip(VIP6), ECHO_PORT).expect("a probe");
    assert_eq!(reached.result, "EPERM", "a datagram cannot change its family: {reached:?}");
}

#[test]
fn the_same_address_on_another_port() {
    let entry = entry(
        "shifted",
        &json!({
            "hosts": ["shifted.example.com"],
            "addresses": ["203.0.113.50", "2001:db8::50"],
            "ports": [{ "number": 81, "name": "tcp", "protocol": "TCP", "targetPort": 8080 }],
            "resolution": "NONE",
        }),
    );
    let scene = scene("shifted", &[("shifted.yaml", entry)]);
    let web = &scene.world.web;
    assert_redirected(&scene, web, at("203.0.113.50", 81), at("203.0.113.50", 8080));
    assert_redirected(&scene, web, at("2001:db8::50", 81), at("2001:db8::50", 8080));
    scene.assert_refused(web, ip("203.0.113.50"), 8080);
}

#[test]
fn a_change_of_endpoints_moves_new_connections_and_ends_none() {
    let mut scene = scene("changes", &[("db.yaml", service(&[endpoint(BACKENDS[0])]))]);
    let web = scene.world.web.clone();
    let lines = LineServer::start(scene.world.node.internet(), &[8081]).expect("a server");
    let ported = |address: &str| json!({ "address": address, "ports": { "tcp": 8081 } });
    let line_service = |address: &str| service(&[ported(address)]);
    scene.files.put("db.yaml", &line_service(BACKENDS[0])).expect("a manifest");
    let mut session = Session::in_pod(&web).expect("a session");
    let leads_to = |session: &mut Session, key: &str, to: SocketAddr| {
        let before = lines.arrivals().at(to);
        let opened = session.open(key, at(VIP, 80)).is_ok_and(|it| it.is_ok());
        let said = opened && session.say(key).is_ok_and(|it| it.is_ok());
        said && lines.arrivals().at(to) > before
    };
    let first = at(BACKENDS[0], 8081);
    let second = at(BACKENDS[1], 8081);
    assert!(wait::holds(IN_FORCE_WITHIN, || leads_to(&mut session, "a", first)), "the first");
    scene.files.put("db.yaml", &line_service(BACKENDS[1])).expect("a manifest");
    assert!(wait::holds(IN_FORCE_WITHIN, || leads_to(&mut session, "b", second)), "the second");
    // What goes on where nobody is sent any more, goes on; without an agent as well.
    scene.kill_agent().expect("an agent");
    for (key, server) in [("a", first), ("b", second)] {
        let before = lines.arrivals().at(server);
        assert!(session.say(key).expect("a line").is_ok(), "{key}");
        assert_eq!(lines.arrivals().at(server) - before, 1, "{key}");
    }
    assert!(leads_to(&mut session, "c", second), "new connections without an agent");
    scene.start_agent().expect("an agent");
    assert!(session.say("a").expect("a line").is_ok());
    // Without the entry all of them end.
    scene.files.remove("db.yaml").expect("removed");
    scene.wait_until_refused(&web, ip(VIP), 80);
    for (key, server) in [("a", first), ("b", second)] {
        let before = lines.arrivals().at(server);
        assert!(!session.say(key).expect("a line").is_ok(), "{key}");
        assert_eq!(lines.arrivals().at(server), before, "{key}");
    }
}

#[test]
fn two_destinations_that_lead_to_one_end_are_not_mixed_up() {
    let other = entry(
        "other",
        &json!({
            "hosts": ["other.example.com"],
            "addresses": ["240.240.1.9", "240.240.1.10"],
            "ports": [{ "number": ECHO_PORT, "name": "udp", "protocol": "UDP" }],
            "resolution": "STATIC",
            "endpoints": [endpoint("203.0.113.30")],
        }),
    );
    let db = service(&[endpoint("203.0.113.10")]);
    let scene = scene("pairs", &[("db.yaml", db), ("other.yaml", other)]);
    let web = &scene.world.web;
    let then = |first: &str, second: &str| -> Reached {
        let port = ECHO_PORT.to_string();
        web.probe(&["udp", first, &port, "--then", second]).expect("a probe")
    };
    // Two ends: each answer comes from where it was sent.
    let reached = then(VIP, "240.240.1.9");
    assert!(reached.is_ok(), "{reached:?}");
    assert_eq!(reached.peer, Some(at("240.240.1.9", ECHO_PORT)));
    let again = then(VIP, VIP);
    assert_eq!((again.result.as_str(), again.peer), ("OK", Some(at(VIP, ECHO_PORT))));
    // One end: the second would look like the first.
    let log = FlowLog::follow(&scene.files, &scene.world.node).expect("the flow log");
    let mark = log.mark();
    let reached = then("240.240.1.9", "240.240.1.10");
    assert_eq!(reached.result, "EPERM", "{reached:?}");
    let about = About::Address(ip("240.240.1.10"), ECHO_PORT);
    let record = log.denial(web, about, mark, DEADLINE).expect("a record");
    assert_eq!((record.layer.as_str(), record.reason.as_str()), ("socket", "peer-taken"));
}

#[test]
fn other_ways_to_connect_lead_there_too() {
    let scene = scene("ways", &[("db.yaml", service(&[endpoint(BACKENDS[0])]))]);
    let web = &scene.world.web;
    let server = at(BACKENDS[0], 8080);
    let ways = [
        "connect-mptcp",
        "connect-nonblocking",
        "connect-uring",
        "fastopen-send",
        "fastopen-option",
    ];
    for way in ways {
        let before = scene.world.http.arrivals().at(server);
        let args = ["leak", way, "--to", &at(VIP, 80).to_string(), "--wait-ms", "3000"];
        let reached: Reached = web.probe(&args).expect("a probe");
        assert!(reached.is_ok(), "{way}: {reached:?}");
        assert_eq!(scene.world.http.arrivals().at(server) - before, 1, "{way}");
    }
    let before = scene.world.http.arrivals().at(server);
    let reached: Reached = web.probe(&["connect", VIP, "80", "--device", "eth0"]).expect("a probe");
    assert!(reached.is_ok(), "bound to its interface: {reached:?}");
    assert_eq!(scene.world.http.arrivals().at(server) - before, 1);
}

#[test]
fn without_a_veth_the_same_holds() {
    let world = World::without_interfaces("nowire").expect("a world");
    let mut scene = Scene::in_world(world, &[]).expect("a scene");
    let service = service(&[endpoint("203.0.113.10"), endpoint("2001:db8::10")]);
    scene.files.put("db.yaml", &service).expect("a manifest");
    scene.start_agent().expect("an agent");
    for pod in [&scene.world.web, &scene.world.ledger] {
        assert_redirected(&scene, pod, at(VIP, 80), at("203.0.113.10", 8080));
        assert_redirected(&scene, pod, at(VIP6, 80), at("2001:db8::10", 8080));
        for connected in [false, true] {
            let dialled = at(VIP, ECHO_PORT);
            let reached = if connected {
                pod.udp_connected(dialled.ip(), ECHO_PORT)
            } else {
                pod.udp(dialled.ip(), ECHO_PORT)
            };
            let reached = reached.expect("a probe");
            assert_eq!((reached.result.as_str(), reached.peer), ("OK", Some(dialled)));
        }
        scene.assert_refused(pod, ip("203.0.113.10"), 8080);
        let server = at("203.0.113.10", ECHO_PORT);
        scene.assert_silent(server, "EPERM", || pod.udp(server.ip(), ECHO_PORT));
    }
}

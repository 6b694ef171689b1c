//! `foo.bar.com` over three endpoints that are names: the agent resolves them, sends flows to what
//! it finds, and follows them as they move.

use std::net::SocketAddr;
use std::time::Duration;

use exeat_tests::flows::{About, FlowLog};
use exeat_tests::pod_client::Kind;
use exeat_tests::scene::Scene;
use exeat_tests::servers::{HttpServer, LineServer};
use exeat_tests::session::Session;
use exeat_tests::wait;

use super::stage::{NO_SUCH_HOST, apply, at, configure, curl, ip, prepare};

/// Of a name that is asked about every second.
const MOVED_WITHIN: Duration = Duration::from_secs(15);
const DEADLINE: Duration = Duration::from_secs(5);
const NAME: &str = "line.example.net";

/// The agent asks as often as the TTL says.
fn ask_often(scene: &Scene) {
    configure(scene, |config| config.replace("dns: {", "dns: {minimumTtl: 1s, "));
}

#[test]
fn each_endpoint_takes_its_share_on_its_own_port() {
    let mut scene = prepare("foo", [("default", "sleep"), ("default", "other")]);
    apply(&scene, "foo-over-three-endpoints.yaml");
    let dns = &scene.world.dns;
    dns.set("us.foo.bar.com", &[ip("203.0.113.21"), ip("2001:db8::21")], 60);
    dns.set("uk.foo.bar.com", &[ip("203.0.113.22")], 60);
    dns.set("in.foo.bar.com", &[ip("203.0.113.23")], 60);
    let others =
        HttpServer::start(scene.world.node.internet(), &[9080, 7080], &[]).expect("a server");
    scene.start_agent().expect("an agent");
    let sleep = &scene.world.web;
    let asked_ahead = scene.world.dns.asked("foo.bar.com");
    for _ in 0..60 {
        let curled = curl(sleep, &["-4", "http://foo.bar.com/"]);
        assert_eq!(curled.status, "200", "{curled:?}");
    }
    let met = [
        scene.world.http.arrivals().at(at("203.0.113.21", 8080)),
        others.arrivals().at(at("203.0.113.22", 9080)),
        others.arrivals().at(at("203.0.113.23", 7080)),
    ];
    assert_eq!(met.iter().sum::<u64>(), 60, "{met:?}");
    // 20 are expected of each; five standard deviations (3.7 each) around that.
    assert!(met.iter().all(|it| (2..=38).contains(it)), "{met:?}");
    let curled = curl(sleep, &["-6", "http://foo.bar.com/"]);
    assert_eq!(curled.status, "200", "{curled:?}");
    assert_eq!(scene.world.http.arrivals().at(at("2001:db8::21", 8080)), 1);
    assert_eq!(scene.world.dns.asked("foo.bar.com"), asked_ahead, "the node answers for it");
    // The endpoints are no destinations of their own, by name or by address, and port 443 is closed.
    assert_eq!(curl(sleep, &["http://us.foo.bar.com:8080/"]).exit, Some(NO_SUCH_HOST));
    scene.assert_refused(sleep, ip("203.0.113.21"), 8080);
    scene.assert_refused(sleep, ip("203.0.113.22"), 9080);
    let virtual_address = sleep.address_of("foo.bar.com", Kind::A).expect("an address");
    scene.assert_refused(sleep, virtual_address, 443);
    let status = scene.agent().status(&scene.world.node).expect("a status");
    assert_eq!(status["endpointNames"]["fresh"], 3, "{}", status["endpointNames"]);
}

/// One endpoint, so that it is known where a connection must go.
fn line_scene(test: &str) -> (Scene, LineServer) {
    let mut scene = prepare(test, [("default", "sleep"), ("default", "other")]);
    let entry = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: line, namespace: default}}\n\
         spec: {{hosts: [line.internal], addresses: [240.240.1.1], ports: [{{number: 7, name: tcp, protocol: TCP}}], resolution: DNS, endpoints: [{{address: {NAME}, ports: {{tcp: 8081}}}}]}}\n"
    );
    scene.files.put("line.yaml", &entry).expect("an entry");
    ask_often(&scene);
    scene.world.dns.set(NAME, &[ip("203.0.113.31")], 1);
    let lines = LineServer::start(scene.world.node.internet(), &[8081]).expect("a server");
    scene.start_agent().expect("an agent");
    (scene, lines)
}

/// Whether a new connection goes to `server`.
fn leads_to(lines: &LineServer, session: &mut Session, key: &str, server: SocketAddr) -> bool {
    let before = lines.arrivals().at(server);
    let opened = session.open(key, at("240.240.1.1", 7)).is_ok_and(|it| it.is_ok());
    let said = opened && session.say(key).is_ok_and(|it| it.is_ok());
    said && lines.arrivals().at(server) > before
}

/// Whether a line over an open connection comes back from `server`.
fn speaks(lines: &LineServer, session: &mut Session, key: &str, server: SocketAddr) -> bool {
    let before = lines.arrivals().at(server);
    session.say(key).is_ok_and(|it| it.is_ok()) && lines.arrivals().at(server) == before + 1
}

fn names(scene: &Scene, state: &str) -> serde_json::Value {
    scene.agent().status(&scene.world.node).expect("a status")["endpointNames"][state].clone()
}

#[test]
fn a_name_that_moves_takes_new_connections_along_and_leaves_the_others() {
    let (mut scene, lines) = line_scene("foo-moves");
    let (old, new) = (at("203.0.113.31", 8081), at("203.0.113.32", 8081));
    let mut session = Session::in_pod(&scene.world.web).expect("a session");
    assert!(leads_to(&lines, &mut session, "first", old));
    scene.world.dns.set(NAME, &[ip("203.0.113.32")], 1);
    let is_moved = |session: &mut Session| leads_to(&lines, session, "second", new);
    assert!(wait::holds(MOVED_WITHIN, || is_moved(&mut session)), "new connections");
    assert!(speaks(&lines, &mut session, "first", old), "the one that was open");

    // Silent resolvers take nothing away, from the next agent neither.
    scene.world.dns.set_silent(true);
    let is_kept = || names(&scene, "kept") == serde_json::json!([NAME]);
    assert!(wait::holds(MOVED_WITHIN, is_kept), "{}", names(&scene, "kept"));
    assert!(leads_to(&lines, &mut session, "third", new));
    scene.kill_agent().expect("a kill");
    scene.start_agent().expect("an agent");
    assert!(leads_to(&lines, &mut session, "fourth", new), "after a restart");
    for (key, server) in [("first", old), ("second", new), ("third", new), ("fourth", new)] {
        assert!(speaks(&lines, &mut session, key, server), "{key}");
    }

    // An answer does: there is no such name any more.
    scene.world.dns.forget(NAME);
    scene.world.dns.set_silent(false);
    let log = FlowLog::follow(&scene.files, &scene.world.node).expect("the flow log");
    scene.wait_until_refused(&scene.world.web, ip("240.240.1.1"), 7);
    let mark = log.mark();
    scene.assert_refused(&scene.world.web, ip("240.240.1.1"), 7);
    let about = About::Address(ip("240.240.1.1"), 7);
    let record = log.denial(&scene.world.web, about, mark, DEADLINE).expect("a record");
    assert_eq!(record.reason, "no-upstream");
    assert_eq!(names(&scene, "absent"), serde_json::json!([NAME]));
    let metrics = scene.agent().metrics().expect("metrics");
    assert!((metrics.sum("exeat_endpoint_names", &[("state", "absent")]) - 1.0).abs() < 0.1);
    scene.world.dns.set(NAME, &[ip("203.0.113.33")], 1);
    let back = at("203.0.113.33", 8081);
    let is_back = || leads_to(&lines, &mut session, "fifth", back);
    assert!(wait::holds(MOVED_WITHIN, is_back), "it has an address again");
}

/// Whoever runs the zone cannot lead flows into the node or the cluster.
#[test]
fn internal_addresses_of_a_name_are_left_out() {
    let (scene, lines) = line_scene("foo-guard");
    let mut session = Session::in_pod(&scene.world.web).expect("a session");
    assert!(leads_to(&lines, &mut session, "first", at("203.0.113.31", 8081)));
    let internal = ["127.0.0.1", "169.254.169.254", "0.0.0.0", "203.0.113.34"];
    scene.world.dns.set(NAME, &internal.map(ip), 1);
    let good = at("203.0.113.34", 8081);
    let is_moved = || leads_to(&lines, &mut session, "second", good);
    assert!(wait::holds(MOVED_WITHIN, is_moved), "to the one that is not internal");
    for turn in 0..20 {
        assert!(leads_to(&lines, &mut session, &format!("turn{turn}"), good), "turn {turn}");
    }
    let status = scene.agent().status(&scene.world.node).expect("a status");
    let reports = status["registry"]["reports"].as_array().expect("reports");
    let guarded = reports.iter().find(|it| it["code"] == "W-ENDPOINT-GUARDED");
    let message = guarded.expect("a report")["message"].as_str().unwrap_or_default();
    assert!(message.contains("169.254.169.254") && message.contains("127.0.0.1"), "{message}");
    // With nothing else there is no endpoint.
    scene.world.dns.set(NAME, &[ip("127.0.0.1")], 1);
    scene.wait_until_refused(&scene.world.web, ip("240.240.1.1"), 7);
}

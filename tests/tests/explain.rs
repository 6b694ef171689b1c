//! Promise 6, every denial explains itself: at once, with the reason, the pod, the process and the
//! name, in the flow log and in the counters.

#![cfg(test)]

use std::net::IpAddr;
use std::time::Duration;

use exeat_tests::flows::{About, FlowLog};
use exeat_tests::pod_client::Kind;
use exeat_tests::registry::Entry;
use exeat_tests::scene::Scene;
use exeat_tests::wait;

const DEADLINE: Duration = Duration::from_secs(5);

fn scene(test: &str) -> Scene {
    let www = Entry::new("shop", "www", "www.example.com").port(80, "HTTP");
    let scene = Scene::start(test, &[www]).expect("a scene");
    scene.world.dns.set("www.example.com", &["203.0.113.10".parse().expect("an address")], 60);
    scene
}

#[test]
fn a_refused_call_names_reason_pod_process_and_name() {
    let scene = scene("explained");
    let web = &scene.world.web;
    let log = FlowLog::follow(&scene.files, &scene.world.node).expect("the flow log");
    let address = scene.assert_name_reaches(web, "www.example.com", Kind::A, 80);

    let mark = log.mark();
    scene.assert_refused(web, address, 8080);
    let record = log.denial(web, About::Address(address, 8080), mark, DEADLINE).expect("a record");
    assert_eq!((record.layer.as_str(), record.reason.as_str()), ("socket", "port-not-declared"));
    let process = record.process.expect("the process");
    assert!(process.pid != 0 && process.comm == "exeat-probe", "{process:?}");
    let name = record.destination.and_then(|destination| destination.name);
    assert_eq!(name.as_deref(), Some("www.example.com"), "the name the pod asked for");

    let bare: IpAddr = "203.0.113.99".parse().expect("an address");
    let mark = log.mark();
    scene.assert_refused(web, bare, 443);
    let record = log.denial(web, About::Address(bare, 443), mark, DEADLINE).expect("a record");
    assert_eq!(record.reason, "not-registered");

    let mark = log.mark();
    scene.assert_no_such_name(web, "www.example.org");
    let record = log.denial(web, About::Name("www.example.org"), mark, DEADLINE).expect("a record");
    assert_eq!((record.layer.as_str(), record.reason.as_str()), ("dns", "name-not-granted"));
}

#[test]
fn denials_are_counted_by_layer_and_reason() {
    let scene = scene("counted");
    let web = &scene.world.web;
    let labels = [("layer", "socket"), ("verdict", "deny"), ("reason", "not-registered")];
    let count = || scene.agent().metrics().expect("metrics").sum("exeat_flows_total", &labels);
    let before = count();
    scene.assert_refused(web, "203.0.113.99".parse().expect("an address"), 443);
    wait::until(DEADLINE, || (count() > before).then_some(())).expect("the counter rises");
    let allowed = [("verdict", "allow"), ("reason", "registered")];
    scene.assert_name_reaches(web, "www.example.com", Kind::A, 80);
    let metrics = scene.agent().metrics().expect("metrics");
    assert!(metrics.sum("exeat_flows_total", &allowed) > 0.0, "allowed flows are counted too");
}

//! A prefix of virtual addresses with two machines behind it; and what a rule that takes a proxy
//! does to a pod without one.

use std::time::Duration;

use exeat_tests::flows::{About, FlowLog};
use exeat_tests::servers::HttpServer;

use super::stage::{add_to_internet, apply, at, ip, prepare};

const DEADLINE: Duration = Duration::from_secs(5);
const PORT: u16 = 27018;

#[test]
fn every_address_of_the_prefix_leads_to_one_of_the_machines() {
    let mut scene = prepare("mongo", [("data", "api"), ("shop", "web")]);
    // They are there, and only by their entry.
    add_to_internet(&scene, &["2.2.2.2", "3.3.3.3", "192.192.193.1"]);
    apply(&scene, "mongo.yaml");
    let mongo = HttpServer::start(scene.world.node.internet(), &[PORT], &[]).expect("a server");
    scene.start_agent().expect("an agent");
    for pod in [&scene.world.web, &scene.world.ledger] {
        for turn in 1..=30 {
            let dialled = at(&format!("192.192.192.{turn}"), PORT);
            let reached = pod.connect(dialled.ip(), PORT).expect("a probe");
            assert!(reached.is_ok(), "{dialled}: {reached:?}");
            assert_eq!(reached.peer, Some(dialled), "what getpeername shows");
        }
    }
    let met = ["2.2.2.2", "3.3.3.3"].map(|it| mongo.arrivals().at(at(it, PORT)));
    assert_eq!((met[0] + met[1], mongo.arrivals().total()), (60, 60), "{met:?}");
    // 30 are expected of each; six standard deviations (3.9 each) around that.
    assert!(met.iter().all(|it| (7..=53).contains(it)), "{met:?}");
    let api = &scene.world.web;
    // Beside the prefix, another port, and the machines themselves.
    scene.assert_refused(api, ip("192.192.193.1"), PORT);
    scene.assert_refused(api, ip("192.192.192.7"), 443);
    scene.assert_refused(api, ip("2.2.2.2"), PORT);
    scene.assert_refused(api, ip("3.3.3.3"), PORT);
    assert_eq!(mongo.arrivals().total(), 60);

    // Mutual TLS is a proxy's business.
    let log = FlowLog::follow(&scene.files, &scene.world.node).expect("the flow log");
    apply(&scene, "mongo-mutual-tls.yaml");
    scene.wait_until_refused(api, ip("192.192.192.7"), PORT);
    let mark = log.mark();
    let before = mongo.arrivals().total();
    scene.assert_refused(api, ip("192.192.192.7"), PORT);
    let about = About::Address(ip("192.192.192.7"), PORT);
    let record = log.denial(api, about, mark, DEADLINE).expect("a record");
    assert_eq!(record.reason, "unsupported");
    assert_eq!(mongo.arrivals().total(), before);
    let status = scene.agent().status(&scene.world.node).expect("a status");
    let reports = status["registry"]["reports"].as_array().expect("reports");
    assert!(reports.iter().any(|it| it["code"] == "U-TLS-ORIGINATION"), "{reports:?}");
}

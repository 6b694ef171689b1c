//! Gloo's guide on internal DNS entries: a host that no resolver knows works with plain curl, and
//! leads to external endpoints, of which one is a name.

use exeat_tests::pod_client::Kind;

use super::stage::{NO_SUCH_HOST, apply, assert_no_page, at, curl, ip, prepare};

#[test]
fn a_host_that_is_nowhere_but_in_the_registry() {
    let mut scene = prepare("gloo-internal", [("bookinfo", "ratings"), ("other", "shell")]);
    apply(&scene, "gloo-internal.yaml");
    scene.world.dns.set("vm-2.example.net", &[ip("203.0.113.42"), ip("2001:db8::42")], 60);
    scene.start_agent().expect("an agent");
    let ratings = &scene.world.web;
    let asked_ahead = scene.world.dns.asked("inventory.internal");
    let machines = [at("203.0.113.41", 8080), at("203.0.113.42", 5432)];
    for _ in 0..40 {
        let curled = curl(ratings, &["-4", "http://inventory.internal/"]);
        assert_eq!(curled.status, "200", "{curled:?}");
    }
    let arrivals = scene.world.http.arrivals();
    let met = machines.map(|it| arrivals.at(it));
    assert_eq!((met[0] + met[1], arrivals.total()), (40, 40), "{met:?}");
    // 20 are expected of each; five standard deviations (3.2 each) around that.
    assert!(met.iter().all(|it| (4..=36).contains(it)), "{met:?}");
    let curled = curl(ratings, &["-6", "http://inventory.internal/"]);
    assert_eq!((curled.status.as_str(), arrivals.at(at("2001:db8::42", 5432))), ("200", 1));
    assert_eq!(scene.world.dns.asked("inventory.internal"), asked_ahead, "questions that left");
    // Its machines are no destinations of their own, and it has one port.
    assert_no_page(&scene, ratings, &["http://vm-2.example.net:5432/"], NO_SUCH_HOST);
    scene.assert_refused(ratings, ip("203.0.113.41"), 8080);
    scene.assert_refused(ratings, ip("203.0.113.42"), 5432);
    let virtual_address = ratings.address_of("inventory.internal", Kind::A).expect("an address");
    scene.assert_refused(ratings, virtual_address, 8080);
}

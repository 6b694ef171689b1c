//! Three HTTPS hosts by name, and nothing else: no sibling name, no other port, no QUIC.

use exeat_tests::pod_client::Kind;

use super::stage::{
    NO_SUCH_HOST, NOT_CONNECTED, apply, assert_no_page, assert_page, at, ip, prepare,
};

#[test]
fn each_is_reached_over_both_families_and_nothing_beside_it() {
    let mut scene = prepare("https-hosts", [("default", "sleep"), ("shop", "cart")]);
    apply(&scene, "https-hosts.yaml");
    let hosts = [("api.dropboxapi.com", 10), ("www.googleapis.com", 20), ("api.facebook.com", 30)];
    for (host, last) in hosts {
        let addresses = [ip(&format!("203.0.113.{last}")), ip(&format!("2001:db8::{last}"))];
        scene.world.dns.set(host, &addresses, 60);
    }
    scene.world.dns.set("www.facebook.com", &[ip("203.0.113.30")], 60);
    scene.start_agent().expect("an agent");
    for pod in [&scene.world.web, &scene.world.ledger] {
        for (host, last) in hosts {
            let url = format!("https://{host}/");
            assert_page(&scene, pod, &["-4", &url], at(&format!("203.0.113.{last}"), 443));
            assert_page(&scene, pod, &["-6", &url], at(&format!("2001:db8::{last}"), 443));
        }
    }
    let sleep = &scene.world.web;
    // A sibling has the same address, and is not declared.
    assert_no_page(&scene, sleep, &["https://www.facebook.com/"], NO_SUCH_HOST);
    scene.assert_no_such_name(sleep, "www.facebook.com");
    assert_no_page(&scene, sleep, &["http://api.facebook.com/"], NOT_CONNECTED);
    let address = sleep.address_of("api.facebook.com", Kind::A).expect("an address");
    scene.assert_refused(sleep, address, 80);
    scene.assert_silent(at("203.0.113.30", 443), "EPERM", || sleep.udp(address, 443));
}

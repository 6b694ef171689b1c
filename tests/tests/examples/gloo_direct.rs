//! Gloo's guide on direct egress: nothing is declared, then one host is, then a wildcard beside it.

use exeat_tests::pod_client::Kind;

use super::stage::{
    NO_SUCH_HOST, NOT_CONNECTED, apply, assert_no_page, assert_page, at, ip, prepare,
};

#[test]
fn a_host_then_a_wildcard_beside_it() {
    let mut scene = prepare("gloo-direct", [("bookinfo", "ratings"), ("other", "shell")]);
    for (name, last) in [
        ("www.google.com", 100),
        ("images.google.com", 101),
        ("a.b.google.com", 102),
        ("google.com", 103),
        ("notgoogle.com", 104),
    ] {
        let addresses = [ip(&format!("203.0.113.{last}")), ip(&format!("2001:db8::{last}"))];
        scene.world.dns.set(name, &addresses, 60);
    }
    scene.start_agent().expect("an agent");
    let ratings = scene.world.web.clone();
    assert_no_page(&scene, &ratings, &["http://www.google.com/"], NO_SUCH_HOST);
    scene.assert_refused(&ratings, ip("203.0.113.100"), 80);

    apply(&scene, "gloo-direct.yaml");
    scene.wait_until_resolves(&ratings, "www.google.com");
    assert_page(&scene, &ratings, &["-4", "http://www.google.com/"], at("203.0.113.100", 80));
    assert_page(&scene, &ratings, &["-6", "http://www.google.com/"], at("2001:db8::100", 80));
    // Without workspaces every namespace sees it.
    let shell = scene.world.ledger.clone();
    assert_page(&scene, &shell, &["-4", "http://www.google.com/"], at("203.0.113.100", 80));
    assert_no_page(&scene, &ratings, &["https://www.google.com/"], NOT_CONNECTED);
    assert_no_page(&scene, &ratings, &["https://images.google.com/"], NO_SUCH_HOST);

    apply(&scene, "gloo-wildcard.yaml");
    scene.wait_until_resolves(&ratings, "images.google.com");
    assert_page(&scene, &ratings, &["-4", "https://images.google.com/"], at("203.0.113.101", 443));
    assert_page(&scene, &ratings, &["-6", "https://a.b.google.com/"], at("2001:db8::102", 443));
    // The exact host keeps its port, and neither opens that of the other.
    assert_page(&scene, &ratings, &["-4", "http://www.google.com/"], at("203.0.113.100", 80));
    assert_no_page(&scene, &ratings, &["http://images.google.com/"], NOT_CONNECTED);
    for name in ["google.com", "notgoogle.com"] {
        scene.assert_no_such_name(&ratings, name);
    }
    let address = ratings.address_of("images.google.com", Kind::A).expect("an address");
    scene.assert_refused(&ratings, address, 8443);
}

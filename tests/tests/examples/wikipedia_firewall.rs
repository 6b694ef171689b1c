//! `wikipedia.org` and all below it through a firewall that looks at the server name: a real Envoy,
//! to which the registry leads every flow whatever its client says.

use exeat_tests::pod_client::Kind;

use super::envoy::Envoy;
use super::stage::{
    NO_SUCH_HOST, NOT_CONNECTED, TLS_REFUSED, apply, assert_no_page, assert_page, at, ip,
    kube_proxy, prepare,
};

#[test]
fn every_flow_is_seen_by_the_firewall_and_goes_by_its_server_name() {
    let mut scene = prepare("wikipedia", [("default", "sleep"), ("ns1", "firewall")]);
    apply(&scene, "wikipedia.yaml");
    let (sleep, firewall) = (scene.world.web.clone(), scene.world.ledger.clone());
    let own = sleep.v4.to_string();
    kube_proxy(&scene, &[(at("10.96.50.2", 443), at(&firewall.v4.to_string(), 443))]);
    for (name, last) in [
        ("wikipedia.org", 90),
        ("en.wikipedia.org", 91),
        ("a.b.wikipedia.org", 92),
        ("notwikipedia.org", 93),
        ("evil.example.org", 94),
    ] {
        scene.world.dns.set(name, &[ip(&format!("203.0.113.{last}"))], 3600);
    }
    scene.start_agent().expect("an agent");
    let envoy = Envoy::start(&scene, &firewall, &["wikipedia.org", "*.wikipedia.org"]);
    for (name, last) in [("wikipedia.org", 90), ("en.wikipedia.org", 91), ("a.b.wikipedia.org", 92)]
    {
        let skip = envoy.lines().len();
        let server = format!("203.0.113.{last}");
        assert_page(&scene, &sleep, &[&format!("https://{name}/")], at(&server, 443));
        envoy.assert_line(skip, &[name, &own, &format!("{server}:443")]);
    }
    // A client that says another name goes to the firewall as well, which knows it not.
    let forged = ["--connect-to", "evil.example.org:443:en.wikipedia.org:443"];
    let url = "https://evil.example.org/";
    assert_no_page(&scene, &sleep, &[&forged[..], &[url]].concat(), TLS_REFUSED);
    // One that says a good name goes where that name leads, whatever address it dialled.
    let swapped = ["--connect-to", "en.wikipedia.org:443:wikipedia.org:443"];
    let url = "https://en.wikipedia.org/";
    assert_page(&scene, &sleep, &[&swapped[..], &[url]].concat(), at("203.0.113.91", 443));
    // What is not declared, and what is on another port.
    for name in ["notwikipedia.org", "evil.example.org"] {
        assert_no_page(&scene, &sleep, &[&format!("https://{name}/")], NO_SUCH_HOST);
    }
    assert_no_page(&scene, &sleep, &["http://en.wikipedia.org/"], NOT_CONNECTED);
    let address = sleep.address_of("en.wikipedia.org", Kind::A).expect("an address");
    scene.assert_refused(&sleep, address, 8443);
    // The firewall itself goes out, and the registry holds for it too.
    assert_page(&scene, &firewall, &["https://en.wikipedia.org/"], at("203.0.113.91", 443));
    assert_no_page(&scene, &firewall, &["https://evil.example.org/"], NO_SUCH_HOST);
}

//! The egress gateway of Istio's `ServiceEntry` page, with a real Envoy as the gateway: flows of pods
//! go to it and nowhere else, it goes on by host and by server name, and the registry holds for it too.

use exeat_tests::pod_client::{Kind, probe_outside_cgroup};
use exeat_tests::probe::Reached;

use super::envoy::Envoy;
use super::stage::{
    NO_SUCH_HOST, NOT_CONNECTED, TLS_REFUSED, apply, as_gateway, assert_no_page, assert_page, at,
    configure, curl, ip, kube_proxy, prepare,
};

const SITE: [&str; 2] = ["203.0.113.80", "2001:db8::80"];

#[test]
fn flows_go_through_envoy_by_host_and_by_server_name() {
    let pods = [("egress", "sleep"), ("istio-system", "gateway")];
    let mut scene = prepare("istio-gateway", pods);
    configure(&scene, |config| as_gateway(&config));
    apply(&scene, "istio-egress-gateway.yaml");
    let (sleep, gateway) = (scene.world.web.clone(), scene.world.ledger.clone());
    let (v4, v6) = (gateway.v4.to_string(), gateway.v6.to_string());
    kube_proxy(
        &scene,
        &[
            (at("10.96.50.1", 80), at(&v4, 80)),
            (at("10.96.50.1", 443), at(&v4, 443)),
            (at("fd00:96::1", 80), at(&v6, 80)),
            (at("fd00:96::1", 443), at(&v6, 443)),
        ],
    );
    scene.world.dns.set("example.com", &SITE.map(ip), 3600);
    scene.world.dns.set("other.com", &[ip(SITE[0])], 3600);
    scene.start_agent().expect("an agent");
    // It resolves both, and knows them all; the registry does not let it go to the second.
    let envoy = Envoy::start(&scene, &gateway, &["example.com", "other.com"]);
    let own = [sleep.v4.to_string(), sleep.v6.to_string()];

    for (version, family) in [("-4", 0), ("-6", 1)] {
        let arrivals = scene.world.http.arrivals();
        for (scheme, port) in [("http", 80), ("https", 443)] {
            let sites = SITE.map(|it| at(it, port));
            let before = (sites.map(|it| arrivals.at(it)).iter().sum::<u64>(), arrivals.total());
            let skip = envoy.lines().len();
            let curled = curl(&sleep, &[version, &format!("{scheme}://example.com/")]);
            assert_eq!(curled.status, "200", "{version} {scheme}: {curled:?}");
            let after = (sites.map(|it| arrivals.at(it)).iter().sum::<u64>(), arrivals.total());
            assert_eq!(after, (before.0 + 1, before.1 + 1), "{version} {scheme}: at the site");
            // The gateway had it from this pod.
            envoy.assert_line(skip, &["example.com", &own[family]]);
            // And nothing goes past it.
            let args = ["connect", SITE[family], &port.to_string(), "--timeout-ms", "1000"];
            let reached: Reached =
                probe_outside_cgroup(&scene.world.node, &sleep, &args).expect("a probe");
            assert!(!reached.is_ok(), "{version} {scheme}: {reached:?}");
        }
        // Another host through the same gateway: it is Envoy's to refuse, and the registry's.
        let total = arrivals.total();
        let skip = envoy.lines().len();
        let args = [version, "-H", "Host: unknown.com", "http://example.com/"];
        assert_eq!(curl(&sleep, &args).status, "502");
        envoy.assert_line(skip, &["unknown.com", &own[family], "502"]);
        assert_eq!(
            curl(&sleep, &[version, "-H", "Host: other.com", "http://example.com/"]).status,
            "503"
        );
        let forged = ["--connect-to", "unknown.com:443:example.com:443", "https://unknown.com/"];
        assert_no_page(&scene, &sleep, &[&[version][..], &forged].concat(), TLS_REFUSED);
        assert_eq!(arrivals.total(), total, "connections at servers");
    }
    assert_no_page(&scene, &sleep, &["http://other.com/"], NO_SUCH_HOST);
    let address = sleep.address_of("example.com", Kind::A).expect("an address");
    scene.assert_refused(&sleep, address, 8080);
    // The gateway's own pod goes straight out, as far as the entry goes.
    assert_page(&scene, &gateway, &["-4", "http://example.com/"], at(SITE[0], 80));
    assert_no_page(&scene, &gateway, &["-4", "http://example.com:8080/"], NOT_CONNECTED);
    assert_no_page(&scene, &gateway, &["http://other.com/"], NO_SUCH_HOST);
}

//! Istio's guide on Kubernetes Services for egress: an alias of a public name, and a Service without
//! a selector, whose address the node translates.

use super::stage::{
    NO_SUCH_HOST, NOT_CONNECTED, add_to_internet, apply, assert_no_page, assert_page, at, ip,
    kube_proxy, prepare,
};

#[test]
fn an_alias_is_opened_and_what_it_stands_for_is_not() {
    let mut scene = prepare("externalname", [("default", "sleep"), ("other", "shell")]);
    apply(&scene, "kubernetes-externalname.yaml");
    let alias = "my-httpbin.default.svc.cluster.local";
    scene.world.dns.alias(alias, "httpbin.org", 30);
    scene.world.dns.set("httpbin.org", &[ip("203.0.113.110"), ip("2001:db8::110")], 60);
    scene.start_agent().expect("an agent");
    for pod in [&scene.world.web, &scene.world.ledger] {
        let url = format!("http://{alias}/");
        assert_page(&scene, pod, &["-4", &url], at("203.0.113.110", 80));
        assert_page(&scene, pod, &["-6", &url], at("2001:db8::110", 80));
        // The twins: the name behind it, and a port that the Service has not.
        assert_no_page(&scene, pod, &["http://httpbin.org/"], NO_SUCH_HOST);
        assert_no_page(&scene, pod, &[&format!("https://{alias}/")], NOT_CONNECTED);
    }
}

#[test]
fn a_service_without_a_selector_is_opened_and_its_endpoints_are_not() {
    let mut scene = prepare("selectorless", [("default", "sleep"), ("other", "shell")]);
    add_to_internet(&scene, &["198.35.26.96", "208.80.153.224"]);
    apply(&scene, "kubernetes-selectorless.yaml");
    kube_proxy(&scene, &[(at("172.21.156.230", 443), at("198.35.26.96", 443))]);
    scene.world.dns.set("en.wikipedia.org", &[ip("198.35.26.96")], 60);
    scene.start_agent().expect("an agent");
    let sleep = &scene.world.web;
    // As in the guide: the name is the site's, the address the Service's.
    let to_service = ["--connect-to", "en.wikipedia.org:443:172.21.156.230:443"];
    let url = "https://en.wikipedia.org/wiki/Main_Page";
    assert_page(&scene, sleep, &[&to_service[..], &[url]].concat(), at("198.35.26.96", 443));
    // The twins: the endpoint itself, the public name, another port.
    scene.assert_refused(sleep, ip("198.35.26.96"), 443);
    scene.assert_refused(sleep, ip("208.80.153.224"), 443);
    assert_no_page(&scene, sleep, &[url], NO_SUCH_HOST);
    scene.assert_refused(sleep, ip("172.21.156.230"), 80);
}

//! Which questions reach a resolver, and where its answers lead.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use exeat_common::reason::Reason;
use tokio::sync::watch;

use super::{Passage, Route, Router, Wanted};
use crate::{
    config::gateway::{Hosts, ProxyProtocol, Upstream},
    gateway::{
        host::Host,
        policy::{Policy, Way, tests::policy},
        refusal::Cause,
    },
    policy::image::WireName,
    preseed::{
        Found,
        desk::{Resolve, Resolved},
    },
    registry::host::HostPattern,
};

/// Answers from a list, and remembers what it was asked.
#[derive(Debug, Default)]
struct Book {
    addresses: BTreeMap<WireName, Vec<&'static str>>,
    asked: Mutex<Vec<WireName>>,
}

impl Resolve for Book {
    fn resolve(&self, name: &WireName) -> impl Future<Output = Resolved> + Send {
        self.asked.lock().expect("not poisoned").push(name.clone());
        let found = self.addresses.get(name).into_iter().flatten();
        let addresses =
            found.map(|it| Found { address: it.parse().expect("an address"), ttl: 1 }).collect();
        std::future::ready(Resolved { addresses, is_whole: true })
    }
}

const WWW: &str = "{hosts: [www.example.com, two.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}";
const FIXED: &str = "{hosts: [fixed.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: 198.51.100.1}, {address: 198.51.100.2}]}";

fn wanted(host: &str, port: u16) -> Wanted {
    Wanted { host: Host::parse(host).expect("a host"), port }
}

fn router(policy: Policy, upstreams: Vec<Upstream>) -> (Router<Book>, watch::Sender<Arc<Policy>>) {
    let (sender, receiver) = watch::channel(Arc::new(policy));
    let mut book = Book::default();
    for (name, addresses) in [
        ("www.example.com", vec!["203.0.113.1", "2001:db8::1"]),
        ("two.example.com", vec!["10.96.0.1", "203.0.113.2"]),
    ] {
        let Host::Name(name) = wanted(name, 80).host else { panic!("a name") };
        book.addresses.insert(name.wire(), addresses);
    }
    (Router::new(receiver, upstreams, book), sender)
}

async fn go(router: &Router<Book>, host: &str, port: u16) -> Result<Route, Cause> {
    router.route(&wanted(host, port)).await.map_err(|it| it.cause)
}

fn ends(route: &Route) -> Vec<String> {
    route.ways.iter().map(|way| way.to.to_string()).collect()
}

#[tokio::test]
async fn a_name_leads_to_those_of_its_addresses_that_may_be_dialled() {
    let (router, _sender) = router(policy("REGISTRY_ONLY", &[WWW]), Vec::new());
    let route = go(&router, "www.example.com", 80).await.expect("a route");
    assert_eq!(ends(&route), ["203.0.113.1:80", "[2001:db8::1]:80"]);
    let route = go(&router, "two.example.com", 80).await.expect("a route");
    assert_eq!(ends(&route), ["203.0.113.2:80"], "the internal one is left out");
    assert_eq!(go(&router, "www.example.com", 81).await, Err(Cause::Rule(Reason::PortNotDeclared)));
}

#[tokio::test]
async fn a_name_that_is_not_declared_is_not_asked_for() {
    let (router, _sender) = router(policy("REGISTRY_ONLY", &[WWW]), Vec::new());
    let refused = go(&router, "secret.data.example.org", 80).await;
    assert_eq!(refused, Err(Cause::Rule(Reason::NameNotGranted)));
    assert!(router.resolver.asked.lock().expect("not poisoned").is_empty());
    go(&router, "www.example.com", 80).await.expect("a route");
    assert_eq!(router.resolver.asked.lock().expect("not poisoned").len(), 1);
}

#[tokio::test]
async fn endpoints_take_turns_and_need_no_resolver() {
    let (router, _sender) = router(policy("REGISTRY_ONLY", &[FIXED]), Vec::new());
    let mut firsts = Vec::new();
    for _ in 0..4 {
        let route = go(&router, "fixed.example.com", 80).await.expect("a route");
        assert_eq!(route.ways.len(), 2, "the other stands behind it");
        firsts.push(ends(&route).swap_remove(0));
    }
    assert_eq!(firsts[0], firsts[2]);
    assert_ne!(firsts[0], firsts[1]);
    assert!(router.resolver.asked.lock().expect("not poisoned").is_empty());
}

#[tokio::test]
async fn an_upstream_gateway_takes_what_is_declared_and_nothing_else() {
    let upstream = Upstream {
        hosts: vec![Hosts::Pattern(HostPattern::parse("*.example.com").expect("a pattern"))],
        addresses: vec!["10.0.0.9:8443".parse().expect("an address")],
        proxy_protocol: ProxyProtocol::V2,
    };
    let (router, _sender) = router(policy("REGISTRY_ONLY", &[WWW]), vec![upstream]);
    let route = go(&router, "www.example.com", 80).await.expect("a route");
    assert_eq!(
        (ends(&route), route.through),
        (vec!["10.0.0.9:8443".to_owned()], Some(ProxyProtocol::V2))
    );
    assert_eq!(go(&router, "www.example.com", 81).await, Err(Cause::Rule(Reason::PortNotDeclared)));
    assert_eq!(go(&router, "x.example.com", 80).await, Err(Cause::Rule(Reason::NameNotGranted)));
    assert!(router.resolver.asked.lock().expect("not poisoned").is_empty());
}

#[tokio::test]
async fn a_passage_outlives_its_endpoint() {
    let (router, _sender) = router(policy("REGISTRY_ONLY", &[FIXED]), Vec::new());
    let route = go(&router, "fixed.example.com", 80).await.expect("a route");
    let passage = Passage { wanted: route.wanted, way: route.ways[0], through: None };
    let moved = FIXED.replace("198.51.100.", "203.0.113.");
    assert!(passage.is_permitted(&policy("REGISTRY_ONLY", &[&moved])));
    let direct = FIXED
        .replace("STATIC", "DNS")
        .replace("{address: 198.51.100.1}, {address: 198.51.100.2}", "");
    assert!(!passage.is_permitted(&policy("REGISTRY_ONLY", &[&direct])), "it has none any more");
}

#[tokio::test]
async fn a_passage_ends_with_its_entry() {
    let (router, _sender) = router(policy("REGISTRY_ONLY", &[WWW, FIXED]), Vec::new());
    let without = policy("REGISTRY_ONLY", &[]);
    for host in ["www.example.com", "fixed.example.com"] {
        let route = go(&router, host, 80).await.expect("a route");
        let passage = |way: Way| Passage { wanted: route.wanted.clone(), way, through: None };
        assert!(passage(route.ways[0]).is_permitted(&router.policy.borrow()), "{host}");
        assert!(!passage(route.ways[0]).is_permitted(&without), "{host}");
    }
    let to: SocketAddr = "203.0.113.1:80".parse().expect("an address");
    let elsewhere = Way { dialled: Some("203.0.113.9".parse().expect("an address")), to };
    let passage = Passage { wanted: wanted("www.example.com", 80), way: elsewhere, through: None };
    assert!(!passage.is_permitted(&router.policy.borrow()), "dialled one and reached another");
}

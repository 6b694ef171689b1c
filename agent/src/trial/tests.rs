//! Flows through a compiled registry: learning by the kernel's parser, outcome, path.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::rr::Name;

use super::{Attempt, Lookup, Protocol, Trial, TrialClient, Verdict, path::path};
use crate::{
    config::Config,
    policy::answers::Answers,
    registry::{document, load::Loaded, object},
};

const REGISTRY: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: shop}
spec:
  hosts: [www.example.com, '*.cdn.example']
  ports: [{number: 443, name: tls, protocol: TLS}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: range, namespace: shop}
spec:
  hosts: [range.example]
  addresses: [198.51.100.0/24, '2001:db8::/64']
  ports: [{number: 5432, name: db, protocol: TCP}]
";

fn trial(client: &TrialClient) -> Trial {
    let objects = document::parse(REGISTRY, document::Format::Yaml).expect("valid YAML");
    let loaded = Loaded::of(objects.iter().map(object::read).collect());
    assert_eq!(loaded.reports.iter().filter(|it| it.code.as_str().starts_with("E-")).count(), 0);
    let mut config = Config::offline();
    config.cluster_cidrs = vec!["10.0.0.0/8".parse().expect("a net")];
    config.dns.resolvers = vec![resolver()];
    Trial::new(&loaded.registry, &config, &Answers::default(), client)
}

fn resolver() -> SocketAddr {
    "10.96.0.10:53".parse().expect("an address")
}

fn client() -> TrialClient {
    TrialClient { namespace: "shop".to_owned(), ..TrialClient::default() }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn lookup(name: &str, answers: &[&str]) -> Lookup {
    Lookup {
        name: Name::from_ascii(name).expect("a name"),
        answers: answers.iter().map(|it| ip(it)).collect(),
        cname: Vec::new(),
        resolver: resolver(),
        ttl: 60,
        age: 0,
    }
}

fn attempt(to: &str, port: u16, lookups: Vec<Lookup>) -> Attempt {
    Attempt { lookups, ip: ip(to), port, protocol: Protocol::Tcp }
}

#[track_caller]
fn check(attempt: &Attempt, verdict: Verdict, reason: &str, step: u8) {
    let outcome = trial(&client()).judge(attempt);
    let got = (outcome.verdict, outcome.reason.as_str(), outcome.step);
    assert_eq!(got, (verdict, reason, step), "{attempt:?}: {outcome:?}");
    let path = path(attempt, &outcome);
    let numbers: Vec<u8> = path.iter().map(|step| step.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    assert!(path.iter().all(|step| !step.sentence.is_empty()));
}

#[test]
fn what_an_answer_teaches() {
    let name = "WWW.Example.com.";
    let to = |lookup| attempt("192.0.2.1", 443, vec![lookup]);
    check(&to(lookup(name, &["192.0.2.1"])), Verdict::Allow, "registered", 4);
    check(&to(lookup(name, &["192.0.2.9", "192.0.2.1"])), Verdict::Allow, "registered", 4);
    check(&to(lookup(name, &["192.0.2.9"])), Verdict::Deny, "not-registered", 5);
    check(&to(lookup(name, &[])), Verdict::Deny, "not-registered", 5);
    check(&to(lookup("other.example.com", &["192.0.2.1"])), Verdict::Deny, "not-registered", 5);
    let v6 = attempt("2001:db8:1::1", 443, vec![lookup(name, &["2001:db8:1::1", "192.0.2.1"])]);
    check(&v6, Verdict::Allow, "registered", 4);
    let alias = |name, alias: &str| Lookup {
        cname: vec![Name::from_ascii(alias).expect("a name")],
        ..lookup(name, &["192.0.2.1"])
    };
    check(&to(alias(name, "edge.example.net")), Verdict::Allow, "registered", 4);
    check(&to(alias("other.example", "x.cdn.example")), Verdict::Deny, "not-registered", 5);
}

#[test]
fn who_answered_and_when() {
    let name = "www.example.com";
    let to = |lookup| attempt("192.0.2.1", 443, vec![lookup]);
    let by = |text: &str| Lookup {
        resolver: text.parse().expect("an address"),
        ..lookup(name, &["192.0.2.1"])
    };
    check(&to(by("203.0.113.53:53")), Verdict::Deny, "not-registered", 5);
    check(&to(by("10.96.0.10:5353")), Verdict::Deny, "not-registered", 5);
    // Held for the longer of TTL and 30 s, and 30 s more.
    let aged = |ttl, age| Lookup { ttl, age, ..lookup(name, &["192.0.2.1"]) };
    check(&to(aged(60, 90)), Verdict::Allow, "registered", 4);
    check(&to(aged(60, 91)), Verdict::Deny, "name-expired", 5);
    check(&to(aged(0, 60)), Verdict::Allow, "registered", 4);
    check(&to(aged(0, 61)), Verdict::Deny, "name-expired", 5);
    // A later answer counts, in whatever order they are listed.
    let both = attempt("192.0.2.1", 443, vec![aged(60, 10), aged(60, 500)]);
    check(&both, Verdict::Allow, "registered", 4);
}

#[test]
fn no_answer_opens_an_internal_address() {
    for internal in ["10.1.2.3", "169.254.169.254", "::ffff:10.1.2.3", "fe80::1"] {
        let mut config_free = attempt(internal, 443, vec![lookup("www.example.com", &[internal])]);
        let outcome = trial(&client()).judge(&config_free);
        // Inside clusterCidrs the scope allows it, but nothing was learned.
        assert_ne!(outcome.reason, "registered", "{internal}");
        config_free.lookups.clear();
        let without = trial(&client()).judge(&config_free);
        assert_eq!((outcome.verdict, outcome.step), (without.verdict, without.step), "{internal}");
    }
}

#[test]
fn addresses_and_exemptions() {
    check(&attempt("198.51.100.7", 5432, vec![]), Verdict::Allow, "registered", 4);
    check(&attempt("::ffff:198.51.100.7", 5432, vec![]), Verdict::Allow, "registered", 4);
    check(&attempt("2001:db8::7", 5432, vec![]), Verdict::Allow, "registered", 4);
    check(&attempt("198.51.100.7", 5433, vec![]), Verdict::Deny, "port-not-declared", 5);
    check(&attempt("::1", 1, vec![]), Verdict::Allow, "loopback", 1);
    check(&attempt("10.96.0.10", 53, vec![]), Verdict::Allow, "trusted-resolver", 2);
    check(&attempt("10.2.3.4", 80, vec![]), Verdict::Allow, "cluster-internal", 2);
    let udp = Attempt { protocol: Protocol::Udp, ..attempt("198.51.100.7", 5432, vec![]) };
    check(&udp, Verdict::Deny, "port-not-declared", 5);
    let host = TrialClient { is_host_network: true, ..client() };
    let outcome = trial(&host).judge(&attempt("192.0.2.1", 1, vec![]));
    assert_eq!((outcome.verdict, outcome.reason.as_str()), (Verdict::Allow, "exempt"));
}

#[test]
fn the_entry_that_decided() {
    let outcome = trial(&client()).judge(&attempt("198.51.100.7", 5432, vec![]));
    let entry = outcome.entry.map(|entry| entry.to_string());
    assert_eq!(entry.as_deref(), Some("ServiceEntry/shop/range"));
    assert_eq!(outcome.subject.as_deref(), Some("198.51.100.0/24"));
    assert_eq!((outcome.rewrite, outcome.via), (None, None));
}

mod targets {
    //! Redirects, over tables as the compiler makes them.

    use std::collections::BTreeSet;

    use exeat_common::abi::{RuleValue, action};

    use super::{Trial, Verdict, attempt, client, ip, trial};
    use crate::policy::target::{Backend, Target, TargetKind};

    /// Every rule leads to `target`.
    fn redirected(kind: TargetKind, backends: &[(Option<&str>, u16)]) -> Trial {
        let mut trial = trial(&client());
        for rule in trial.image.rules.values_mut() {
            *rule = RuleValue { action: action::REDIRECT, target: 7, ..RuleValue::ALLOW };
        }
        let backend = |(address, port): &(Option<&str>, u16)| Backend {
            address: address.map(ip),
            port: *port,
            weight: 1,
        };
        let backends = backends.iter().map(backend).collect();
        trial.image.targets.insert(7, Target { kind, backends });
        trial
    }

    #[track_caller]
    fn check(trial: &Trial, verdict: Verdict, rewrite: Option<&[&str]>, via: Option<&str>) {
        let outcome = trial.judge(&attempt("198.51.100.7", 5432, vec![]));
        let rewrite: Option<BTreeSet<_>> =
            rewrite.map(|list| list.iter().map(|it| it.parse().expect("an address")).collect());
        assert_eq!(outcome.verdict, verdict);
        assert_eq!(outcome.rewrite, rewrite);
        assert_eq!(outcome.via.as_deref(), via);
        assert_eq!(outcome.step, 4);
    }

    #[test]
    fn where_flows_go() {
        check(&redirected(TargetKind::Sidecar, &[]), Verdict::RedirectSidecar, None, None);
        let host = "gw.istio-system.svc.cluster.local".to_owned();
        check(
            &redirected(TargetKind::Gateway { host, port: 80 }, &[(Some("10.96.0.5"), 80)]),
            Verdict::RedirectGateway,
            Some(&["10.96.0.5:80"]),
            Some("gw.istio-system.svc.cluster.local:80"),
        );
        check(
            &redirected(TargetKind::Endpoints, &[(None, 15432), (Some("192.0.2.1"), 5432)]),
            Verdict::Allow,
            Some(&["198.51.100.7:15432", "192.0.2.1:5432"]),
            None,
        );
        // The dialled address is no other one.
        check(&redirected(TargetKind::Endpoints, &[(None, 5432)]), Verdict::Allow, None, None);
    }

    #[test]
    fn a_redirect_to_nowhere_is_a_denial() {
        let mut trial = redirected(TargetKind::Sidecar, &[]);
        trial.image.targets.clear();
        let outcome = trial.judge(&attempt("198.51.100.7", 5432, vec![]));
        assert_eq!((outcome.verdict, outcome.reason.as_str()), (Verdict::Deny, "no-redirect"));
    }
}

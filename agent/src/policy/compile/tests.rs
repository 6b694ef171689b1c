//! What compiled tables say, case by case, and against a model that knows no tables.

use std::{collections::BTreeSet, net::IpAddr};

use exeat_common::{
    abi::name_flag,
    id::{PolicyId, SubjectId},
    reason::{Reason, Verdict},
};
use proptest::prelude::*;

use super::{Compiled, Input, compile};
use crate::{
    config::{Config, Scope},
    policy::{
        ids::Ids,
        image::WireName,
        testing::{
            Attempt, NAMES, NAMESPACES, PORTS, World, attempt, entries, host, judge, match_name,
            placed, registry, world,
        },
        view::Sources,
    },
    registry::{
        Registry,
        document::{self, Format},
        object::{self, Read},
    },
    workloads::PlacedWorkload,
};

fn read(text: &str) -> Registry {
    let documents = document::parse(text, Format::Yaml).expect("YAML");
    Registry::new(
        documents
            .iter()
            .map(object::read)
            .filter_map(|read: Read| read.content),
    )
}

/// One workload in each namespace; the cgroup is its place in the list, from 1 on.
fn one_each(namespaces: &[&str]) -> Vec<PlacedWorkload> {
    (1_u64..)
        .zip(namespaces)
        .map(|(number, namespace)| placed(number, namespace, false))
        .collect()
}

fn compiled(registry: &Registry, workloads: &[PlacedWorkload], ids: &mut Ids) -> Compiled {
    let config = Config::offline();
    let input = Input {
        registry,
        config: &config,
        workloads,
    };
    compile(&input, ids)
}

/// A registry, workloads of namespaces `default`, `team-a` and `team-b`, and the tables.
struct Case(Compiled, [&'static str; 3]);

impl Case {
    fn new(text: &str) -> Self {
        let namespaces = ["default", "team-a", "team-b"];
        let workloads = one_each(&namespaces);
        Self(
            compiled(&read(text), &workloads, &mut Ids::default()),
            namespaces,
        )
    }

    /// A flow as `namespace name address port/protocol`, and the reason for its verdict or `allow`.
    /// The pod asked for the name just before; `-` is none.
    #[track_caller]
    fn check(&self, flow: &str, expected: &str) {
        let words: Vec<&str> = flow.split(' ').collect();
        let [namespace, name, address, port] = words[..] else {
            panic!("four words: {flow}");
        };
        let (port, protocol) = port.split_once('/').expect("port/protocol");
        let protocol = match protocol {
            "tcp" => 6,
            "udp" => 17,
            "icmp" => 1,
            other => panic!("{other}"),
        };
        let place = self.1.iter().position(|it| *it == namespace);
        let attempt = Attempt {
            cgroup: place.map_or(0, |place| place as u64 + 1),
            address: address.parse::<IpAddr>().expect("an address"),
            port: (port.parse().expect("a port"), protocol),
            names: Vec::new(),
        };
        let asked = (name != "-").then(|| match_name(&self.0.image, name));
        let got = judge(&self.0.image, &attempt, asked.as_slice());
        let got = match got.verdict {
            Verdict::Allow => "allow",
            Verdict::Deny => got.reason.as_str(),
            Verdict::Redirect => "redirect",
        };
        assert_eq!(got, expected, "{flow}");
    }

    #[track_caller]
    fn check_codes(&self, expected: &[&str]) {
        let reports = self.0.reports.iter();
        let got: Vec<String> = reports
            .map(|it| format!("{} {}", it.code, it.object.name))
            .collect();
        assert_eq!(got, expected, "{:#?}", self.0.reports);
    }
}

fn entry(name: &str, more: &str, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: {name}{more}}}, spec: {spec}}}\n"
    )
}

#[test]
fn names_ports_and_protocols() {
    let case = Case::new(
        &(entry(
            "a",
            "",
            "{hosts: [api.example.com], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS}",
        ) + &entry(
            "b",
            "",
            "{hosts: ['*.bar.com'], ports: [{number: 80, name: http, protocol: HTTP}]}",
        ) + &entry(
            "c",
            "",
            "{hosts: [time.example.com], ports: [{number: 123, name: ntp, protocol: UDP}], resolution: DNS}",
        ) + &entry(
            "d",
            "",
            "{hosts: [mail.example.com], ports: [{number: 2525, name: tcp, protocol: TCP}]}",
        )),
    );
    case.check("default api.example.com 192.0.2.1 443/tcp", "allow");
    case.check("default api.example.com 2001:db8::1 443/tcp", "allow");
    case.check("default api.example.com 192.0.2.1 0/icmp", "allow");
    case.check(
        "default api.example.com 192.0.2.1 80/tcp",
        "port-not-declared",
    );
    case.check(
        "default api.example.com 192.0.2.1 443/udp",
        "port-not-declared",
    );
    case.check("default - 192.0.2.1 443/tcp", "not-registered");
    case.check(
        "default www.example.com 192.0.2.1 443/tcp",
        "not-registered",
    );
    case.check("default shop.bar.com 192.0.2.40 80/tcp", "allow");
    case.check("default a.shop.bar.com 192.0.2.40 80/tcp", "allow");
    case.check("default bar.com 192.0.2.41 80/tcp", "not-registered");
    case.check("default badbar.com 192.0.2.41 80/tcp", "not-registered");
    case.check("default time.example.com 192.0.2.170 123/udp", "allow");
    case.check(
        "default time.example.com 192.0.2.170 123/tcp",
        "port-not-declared",
    );
    case.check("default mail.example.com 192.0.2.160 2525/tcp", "allow");
    case.check("default - 203.0.113.200 2525/tcp", "not-registered");
    case.check_codes(&[]);
}

#[test]
fn hosts_with_addresses() {
    let case = Case::new(&entry(
        "both",
        "",
        "{hosts: [both.example.com], addresses: [192.0.2.70], ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: https, protocol: HTTPS}, {number: 5432, name: tcp, protocol: TCP}, {number: 9000, name: auto}, {number: 514, name: log, protocol: UDP}], resolution: NONE}",
    ));
    case.check("default - 192.0.2.70 80/tcp", "allow");
    case.check("default both.example.com 192.0.2.71 80/tcp", "allow");
    case.check("default - 192.0.2.70 443/tcp", "allow");
    case.check(
        "default both.example.com 192.0.2.71 443/tcp",
        "port-not-declared",
    );
    case.check(
        "default both.example.com 192.0.2.71 5432/tcp",
        "port-not-declared",
    );
    case.check("default - 192.0.2.70 9000/tcp", "allow");
    case.check("default - 192.0.2.70 514/udp", "allow");
    case.check("default - 192.0.2.70 514/tcp", "port-not-declared");
    case.check("default - 192.0.2.70 0/icmp", "allow");
}

#[test]
fn the_longest_prefix_decides_per_port() {
    let case = Case::new(
        &(entry(
            "wide",
            "",
            "{hosts: [wide.internal], addresses: [198.51.0.0/16], ports: [{number: 9999, name: tcp, protocol: TCP}, {number: 22, name: ssh, protocol: TCP}]}",
        ) + &entry(
            "narrow",
            "",
            "{hosts: [narrow.internal], addresses: [198.51.100.0/24], ports: [{number: 9999, name: tcp, protocol: TCP}], resolution: STATIC, endpoints: [{address: 203.0.113.72}]}",
        ) + &entry(
            "point",
            "",
            "{hosts: [point.internal], addresses: [198.51.100.5], ports: [{number: 9999, name: tcp, protocol: TCP}]}",
        )),
    );
    case.check("default - 198.51.7.1 9999/tcp", "allow");
    case.check("default - 198.51.100.9 9999/tcp", "unsupported");
    case.check("default - 198.51.100.9 22/tcp", "allow");
    case.check("default - 198.51.100.5 9999/tcp", "allow");
    case.check("default - 198.51.100.5 22/tcp", "allow");
    case.check("default - 198.52.0.1 9999/tcp", "not-registered");
}

#[test]
fn an_ipv6_prefix_never_holds_ipv4() {
    let case = Case::new(&entry(
        "six",
        "",
        "{hosts: [six.internal], addresses: ['::/0'], ports: [{number: 80, name: tcp, protocol: TCP}]}",
    ));
    case.check("default - 2001:db8::1 80/tcp", "allow");
    case.check("default - 192.0.2.1 80/tcp", "port-not-declared");
    let case = Case::new(&entry(
        "both",
        "",
        "{hosts: [both.internal], addresses: ['::/0', 0.0.0.0/0], ports: [{number: 80, name: tcp, protocol: TCP}]}",
    ));
    case.check("default - 192.0.2.1 80/tcp", "allow");
}

#[test]
fn between_hosts_the_more_specific_decides_per_port() {
    let case = Case::new(
        &(entry(
            "wild",
            "",
            "{hosts: ['*.example.com'], ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: TLS}]}",
        ) + &entry(
            "exact",
            "",
            "{hosts: [api.example.com], ports: [{number: 443, name: tls, protocol: TLS}], resolution: STATIC}",
        ) + &entry(
            "hidden",
            ", namespace: team-a",
            "{hosts: ['*.deep.example.com'], exportTo: [.], ports: [{number: 22, name: ssh, protocol: TCP}]}",
        )),
    );
    case.check("default api.example.com 192.0.2.1 80/tcp", "allow");
    case.check("default api.example.com 192.0.2.1 443/tcp", "no-upstream");
    case.check("default api.example.com 192.0.2.1 0/icmp", "allow");
    case.check("default other.example.com 192.0.2.1 443/tcp", "allow");
    // A longer pattern that only team-a sees hides nothing from the others.
    case.check("default x.deep.example.com 192.0.2.1 80/tcp", "allow");
    case.check(
        "default x.deep.example.com 192.0.2.1 22/tcp",
        "port-not-declared",
    );
    case.check("team-a x.deep.example.com 192.0.2.1 22/tcp", "allow");
    case.check("team-a x.deep.example.com 192.0.2.1 80/tcp", "allow");
}

#[test]
fn who_sees_what() {
    let port = "ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS";
    let case = Case::new(
        &(entry(
            "private",
            ", namespace: team-a",
            &format!("{{hosts: [private.example.com], exportTo: [.], {port}}}"),
        ) + &entry(
            "given",
            ", namespace: team-a",
            &format!("{{hosts: [given.example.com], exportTo: [team-b], {port}}}"),
        ) + &entry(
            "nobody",
            ", namespace: team-a",
            &format!("{{hosts: [nobody.example.com], exportTo: ['~'], {port}}}"),
        )),
    );
    case.check("team-a private.example.com 192.0.2.1 443/tcp", "allow");
    case.check(
        "team-b private.example.com 192.0.2.1 443/tcp",
        "port-not-declared",
    );
    case.check(
        "team-a given.example.com 192.0.2.1 443/tcp",
        "port-not-declared",
    );
    case.check("team-b given.example.com 192.0.2.1 443/tcp", "allow");
    case.check(
        "team-a nobody.example.com 192.0.2.1 443/tcp",
        "not-registered",
    );
    case.check(
        "nobody private.example.com 192.0.2.1 443/tcp",
        "unknown-workload",
    );
}

#[test]
fn an_own_entry_shadows_the_host_with_all_its_ports() {
    let case = Case::new(
        &(entry(
            "mine",
            ", namespace: team-a, creationTimestamp: '2026-02-02T00:00:00Z'",
            "{hosts: [google.com], exportTo: [.], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}",
        ) + &entry(
            "theirs",
            ", namespace: other, creationTimestamp: '2026-01-01T00:00:00Z'",
            "{hosts: [google.com], ports: [{number: 443, name: https, protocol: HTTPS}], resolution: DNS}",
        )),
    );
    case.check("team-a google.com 192.0.2.143 80/tcp", "allow");
    case.check("team-a google.com 192.0.2.143 443/tcp", "port-not-declared");
    case.check("team-b google.com 192.0.2.143 443/tcp", "allow");
    case.check("team-b google.com 192.0.2.143 80/tcp", "port-not-declared");
    case.check_codes(&["I-SHADOWED theirs"]);
}

#[test]
fn entries_of_one_host_unite() {
    let first = ", creationTimestamp: '2026-01-01T00:00:00Z'";
    let second = ", creationTimestamp: '2026-01-02T00:00:00Z'";
    let http =
        "{hosts: [istio.io], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}";
    let https = "{hosts: [istio.io], ports: [{number: 443, name: https, protocol: HTTPS}], resolution: DNS}";
    let case = Case::new(&(entry("b-first", first, http) + &entry("a-second", second, https)));
    case.check("team-b istio.io 192.0.2.1 80/tcp", "allow");
    case.check("team-b istio.io 192.0.2.1 443/tcp", "allow");
    case.check_codes(&[]);

    let labelled = format!("{second}, labels: {{a: b}}");
    let case = Case::new(&(entry("b-first", first, http) + &entry("a-second", &labelled, https)));
    case.check("team-b istio.io 192.0.2.1 80/tcp", "allow");
    case.check("team-b istio.io 192.0.2.1 443/tcp", "port-not-declared");
    case.check_codes(&["W-NOT-MERGED a-second"]);

    let udp = "{hosts: [istio.io], ports: [{number: 80, name: udp, protocol: UDP}, {number: 81, name: http, protocol: HTTP}], resolution: DNS}";
    let case = Case::new(&(entry("b-first", first, http) + &entry("a-second", second, udp)));
    case.check("team-b istio.io 192.0.2.1 80/udp", "port-not-declared");
    case.check("team-b istio.io 192.0.2.1 81/tcp", "allow");
    case.check_codes(&["W-PROTOCOL-CONFLICT a-second"]);
}

#[test]
fn one_address_belongs_to_the_older_entry() {
    let case = Case::new(
        &(entry(
            "old",
            ", creationTimestamp: '2026-01-01T00:00:00Z'",
            "{hosts: [z.internal], addresses: [192.0.2.1], ports: [{number: 80, name: tcp, protocol: TCP}], resolution: STATIC}",
        ) + &entry(
            "young",
            ", creationTimestamp: '2026-01-02T00:00:00Z'",
            "{hosts: [a.internal], addresses: [192.0.2.1, 192.0.2.2], ports: [{number: 80, name: tcp, protocol: TCP}]}",
        )),
    );
    case.check("default - 192.0.2.1 80/tcp", "no-upstream");
    case.check("default - 192.0.2.2 80/tcp", "allow");
    case.check_codes(&["W-VIP-CONFLICT young"]);
}

#[test]
fn what_needs_a_redirect_is_denied() {
    let case = Case::new(
        &(entry(
            "static",
            "",
            "{hosts: [s.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: 203.0.113.1}]}",
        ) + &entry(
            "target",
            "",
            "{hosts: [t.example.com], ports: [{number: 80, name: http, protocol: HTTP, targetPort: 443}, {number: 81, name: plain, protocol: HTTP, targetPort: 81}], resolution: DNS}",
        ) + &entry(
            "vip",
            "",
            "{hosts: [v.example.com], addresses: [192.0.2.9], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}",
        ) + &entry(
            "bound",
            ", labels: {istio.io/use-waypoint: w}",
            "{hosts: [w.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}",
        ) + &entry(
            "rr",
            "",
            "{hosts: [r.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS_ROUND_ROBIN}",
        )),
    );
    case.check("default s.example.com 192.0.2.1 80/tcp", "unsupported");
    case.check("default s.example.com 192.0.2.1 0/icmp", "unsupported");
    case.check("default - 203.0.113.1 80/tcp", "not-registered");
    case.check("default t.example.com 192.0.2.1 80/tcp", "unsupported");
    case.check("default t.example.com 192.0.2.1 81/tcp", "allow");
    case.check("default - 192.0.2.9 80/tcp", "unsupported");
    case.check("default v.example.com 192.0.2.1 80/tcp", "allow");
    case.check("default w.example.com 192.0.2.1 80/tcp", "unsupported");
    case.check("default r.example.com 192.0.2.1 80/tcp", "allow");
}

#[test]
fn what_unread_objects_would_change_is_denied() {
    let istio = |kind: &str, namespace: &str, spec: &str| {
        format!(
            "---\n{{apiVersion: networking.istio.io/v1, kind: {kind}, metadata: {{name: x, namespace: {namespace}}}, spec: {spec}}}\n"
        )
    };
    let case = Case::new(
        &(entry(
            "a",
            "",
            "{hosts: [a.example.com, b.example.com], ports: [{number: 80, name: http, protocol: HTTP}]}",
        ) + &istio(
            "DestinationRule",
            "default",
            "{host: a.example.com, trafficPolicy: {tls: {mode: SIMPLE}}}",
        ) + &istio("Sidecar", "team-a", "{egress: [{hosts: [./*]}]}")),
    );
    case.check("default a.example.com 192.0.2.1 80/tcp", "unsupported");
    case.check("default b.example.com 192.0.2.1 80/tcp", "allow");
    case.check("team-a b.example.com 192.0.2.1 80/tcp", "unsupported");
    case.check_codes(&["U-GOVERNED a", "U-GOVERNED a", "U-GOVERNED a"]);
}

#[test]
fn internal_names_keep_what_is_declared_above_them() {
    let case = Case::new(
        &(entry(
            "exact",
            "",
            "{hosts: [a.ns.cluster.local], ports: [{number: 80, name: http, protocol: HTTP}]}",
        ) + &entry(
            "wild",
            "",
            "{hosts: ['*.local'], ports: [{number: 443, name: tls, protocol: TLS}]}",
        )),
    );
    let image = &case.0.image;
    let value = |name: &str| image.names[&WireName(host(name).wire())];
    let both = name_flag::INTERNAL | name_flag::INTERNAL_BELOW;
    let wild = value("local").wildcard;
    assert_eq!(value("local").flags, 0);
    assert_eq!(
        (
            value("cluster.local").flags,
            value("cluster.local").wildcard
        ),
        (both, wild)
    );
    assert_eq!(value("cluster.local").exact, wild);
    assert_eq!(
        (
            value("a.ns.cluster.local").flags,
            value("a.ns.cluster.local").wildcard
        ),
        (both, wild)
    );
    assert_eq!(match_name(image, "x.y.cluster.local"), wild);
    case.check("default x.y.cluster.local 192.0.2.1 443/tcp", "allow");
    case.check("default a.ns.cluster.local 192.0.2.1 443/tcp", "allow");
    case.check("default a.ns.cluster.local 192.0.2.1 80/tcp", "allow");
}

#[test]
fn the_directory_explains() {
    let case = Case::new(
        &(entry(
            "wild",
            "",
            "{hosts: ['*.example.com'], ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: TLS}]}",
        ) + &entry(
            "exact",
            "",
            "{hosts: [api.example.com], addresses: [192.0.2.0/24], ports: [{number: 80, name: http, protocol: HTTP, targetPort: 81}]}",
        )),
    );
    let Compiled {
        image, directory, ..
    } = &case.0;
    let subject = match_name(image, "api.example.com");
    assert_eq!(directory.subject(subject), Some("api.example.com"));
    let workload = image.by_cgroup[&1];
    let known = directory.workload(workload.id).expect("known");
    assert_eq!(
        (known.key.to_string().as_str(), known.policy),
        ("default/w1", workload.policy)
    );
    let grants: Vec<String> = directory
        .grants(workload.policy, subject)
        .iter()
        .map(|it| {
            format!(
                "{} {} {:?}",
                it.port,
                it.entry,
                it.denied.map(crate::registry::report::Code::as_str)
            )
        })
        .collect();
    assert_eq!(
        grants,
        [
            "80 ServiceEntry/default/exact Some(\"U-REDIRECT\")",
            "443 ServiceEntry/default/wild None"
        ]
    );
    let prefix = image.prefixes.values().next().expect("a prefix");
    assert_eq!(directory.subject(*prefix), Some("192.0.2.0/24"));
    for (name, expected) in [
        (
            "example.com",
            Some("*.example.com (ServiceEntry/default/wild)"),
        ),
        (
            "www.example.com",
            Some("*.example.com (ServiceEntry/default/wild)"),
        ),
        (
            "x.api.example.com",
            Some("api.example.com (ServiceEntry/default/exact)"),
        ),
        (
            "api.example.com",
            Some("api.example.com (ServiceEntry/default/exact)"),
        ),
        ("example.org", None),
        ("other.com", None),
        ("not a name", None),
    ] {
        let nearest = directory.nearest(name).map(|it| it.to_string());
        assert_eq!(nearest.as_deref(), expected, "{name}");
    }
}

#[test]
fn equal_views_share_a_policy_and_keep_it() {
    let public = entry(
        "a",
        "",
        "{hosts: [a.example.com], ports: [{number: 80, name: http, protocol: HTTP}]}",
    );
    let private = entry(
        "b",
        ", namespace: c",
        "{hosts: [b.example.com], exportTo: [.], ports: [{number: 80, name: http, protocol: HTTP}]}",
    );
    let workloads = one_each(&["a", "b", "c"]);
    let mut ids = Ids::default();
    let mut policies = |text: &str| {
        let image = compiled(&read(text), &workloads, &mut ids).image;
        [1, 2, 3].map(|cgroup| image.by_cgroup[&cgroup].policy.raw())
    };
    assert_eq!(policies(&public), [1, 1, 1]);
    assert_eq!(policies(&(public.clone() + &private)), [1, 1, 2]);
    assert_eq!(policies(&public), [1, 1, 1]);
    assert_eq!(policies(&private), [1, 1, 3]);
    // All change at once: each group keeps its own.
    let other = entry(
        "a",
        "",
        "{hosts: [other.example.com], ports: [{number: 80, name: http, protocol: HTTP}]}",
    );
    assert_eq!(policies(&(other + &private)), [1, 1, 3]);
}

#[test]
fn a_workload_at_another_place_was_told_nothing() {
    let registry = Registry::default();
    let mut ids = Ids::default();
    let mut id = |cgroup: Option<u64>, ifindex: Option<u32>| {
        let workload = PlacedWorkload {
            cgroup_id: cgroup,
            ifindex,
            ..placed(1, "a", false)
        };
        let compiled = compiled(&registry, &[workload], &mut ids);
        compiled.directory.workloads().next().expect("one").0.raw()
    };
    assert_eq!(id(Some(7), None), 1);
    assert_eq!(id(Some(7), Some(3)), 1);
    assert_eq!(id(Some(7), Some(4)), 1);
    assert_eq!(id(Some(8), Some(4)), 2);
    assert_eq!(id(None, Some(4)), 2);
    assert_eq!(id(None, Some(5)), 3);
}

#[test]
fn a_new_agent_takes_numbers_over() {
    let text = entry(
        "a",
        "",
        "{hosts: ['*.example.com', a.example.com], addresses: [192.0.2.0/24], ports: [{number: 80, name: http, protocol: HTTP}]}",
    );
    let mut workloads = one_each(&["a", "b"]);
    workloads[1].ifindex = Some(9);
    let before = compiled(&read(&text), &workloads, &mut Ids::default()).image;
    let more = text
        + &entry(
            "0",
            ", namespace: a",
            "{hosts: [0.example.com], addresses: [10.0.0.0/8], exportTo: [.], ports: [{number: 80, name: http, protocol: HTTP}]}",
        );
    let mut ids = Ids::seeded(&before);
    workloads.push(placed(0, "a", false));
    let after = compiled(&read(&more), &workloads, &mut ids).image;
    for (name, value) in &before.names {
        assert_eq!(after.names[name], *value);
    }
    for (cgroup, workload) in &before.by_cgroup {
        assert_eq!(after.by_cgroup[cgroup].id, workload.id);
    }
    let subjects = |image: &crate::policy::image::Image| -> BTreeSet<SubjectId> {
        image.prefixes.values().copied().collect()
    };
    assert!(subjects(&before).is_subset(&subjects(&after)));
    assert!(after.by_cgroup[&0].id.raw() > 2);
    // The same interface, another cgroup: another workload.
    workloads[1].cgroup_id = Some(99);
    let moved = compiled(&read(&more), &workloads, &mut Ids::seeded(&before)).image;
    assert!(moved.by_cgroup[&99].id.raw() > 2);
}

#[test]
fn a_name_that_left_keeps_what_a_wildcard_grants() {
    let wild = entry(
        "wild",
        "",
        "{hosts: ['*.example.com'], ports: [{number: 80, name: http, protocol: HTTP}]}",
    );
    let exact = entry(
        "exact",
        "",
        "{hosts: [api.example.com], ports: [{number: 443, name: tls, protocol: TLS}]}",
    );
    let workloads = one_each(&["a"]);
    let mut ids = Ids::default();
    let before = compiled(&read(&(wild.clone() + &exact)), &workloads, &mut ids).image;
    let told = match_name(&before, "api.example.com");
    let after = compiled(&read(&wild), &workloads, &mut ids).image;
    assert_ne!(match_name(&after, "api.example.com"), told);
    let attempt = |port| Attempt {
        cgroup: 1,
        address: [192, 0, 2, 1].into(),
        port: (port, 6),
        names: Vec::new(),
    };
    assert_eq!(judge(&after, &attempt(80), &[told]).verdict, Verdict::Allow);
    assert_eq!(judge(&after, &attempt(443), &[told]).verdict, Verdict::Deny);
    // Still, while a fact names it; no longer, when none does.
    ids.forget_retired(&after, |subject| subject == told);
    assert_eq!(compiled(&read(&wild), &workloads, &mut ids).image, after);
    ids.forget_retired(&after, |_| false);
    let forgotten = compiled(&read(&wild), &workloads, &mut ids).image;
    assert_eq!(
        judge(&forgotten, &attempt(80), &[told]).verdict,
        Verdict::Deny
    );
}

#[test]
fn settings_follow_the_configuration() {
    let mut config = Config::offline();
    config.scope = Scope::All;
    config.cluster_cidrs = vec!["10.0.0.0/8".parse().expect("a prefix")];
    let mut workloads = one_each(&["a", "b", "c"]);
    workloads[1].cgroup_depth = Some(5);
    workloads[2].cgroup_depth = None;
    let input = Input {
        registry: &Registry::default(),
        config: &config,
        workloads: &workloads,
    };
    let compiled = compile(&input, &mut Ids::default());
    let settings = compiled.image.settings.expect("settings");
    assert_eq!(
        (
            settings.flags,
            settings.grace_seconds,
            settings.minimum_ttl_seconds
        ),
        (0, 30, 30)
    );
    assert_eq!(settings.cgroup_depths, [5, 3, 0, 0]);
    // The labels of cluster.local, which is internal by default.
    assert_eq!(settings.deepest_wildcard_labels, 2);
    let prefix = compiled.image.prefixes.keys().next().expect("the prefix");
    assert_eq!((prefix.policy, prefix.bits), (PolicyId::INTERNAL, 104));
}

#[test]
fn too_many_depths_are_reported() {
    let mut workloads = one_each(&["a", "a", "a", "a", "a"]);
    for (depth, workload) in (1..).zip(&mut workloads) {
        workload.cgroup_depth = Some(depth);
    }
    let compiled = compiled(&Registry::default(), &workloads, &mut Ids::default());
    let settings = compiled.image.settings.expect("settings");
    assert_eq!(settings.cgroup_depths, [5, 4, 3, 2]);
    assert_eq!(compiled.reports.len(), 1);
    assert_eq!(compiled.reports[0].object.name, "w1");
}

/// Hosts of one entry, each of `count` in all.
fn many(count: usize) -> Registry {
    let mut text = String::new();
    for chunk in 0..count.div_ceil(250) {
        let hosts: Vec<String> = (0..250)
            .map(|it| format!("h{it}.c{chunk}.example.com"))
            .collect();
        text += &entry(
            &format!("e{chunk}"),
            "",
            &format!(
                "{{hosts: [{}], ports: [{{number: 80, name: http, protocol: HTTP}}]}}",
                hosts.join(",")
            ),
        );
    }
    read(
        &(text
            + &entry(
                "wild",
                "",
                "{hosts: ['*.example.com'], ports: [{number: 443, name: tls, protocol: TLS}]}",
            )),
    )
}

#[test]
fn ten_thousand_hosts_fit() {
    let registry = many(10_000);
    let compiled = compiled(&registry, &one_each(&["a", "b"]), &mut Ids::default());
    // Each host with both ports and the mark; the wildcard with one port and the mark.
    assert_eq!(compiled.image.rules.len(), 10_000 * 3 + 2);
    assert_eq!(compiled.reports, []);
}

#[test]
fn what_does_not_fit_is_denied_and_reported() {
    let registry = many(70_000);
    let compiled = compiled(&registry, &one_each(&["a"]), &mut Ids::default());
    assert!(compiled.image.rules.is_empty());
    let codes: Vec<&str> = compiled.reports.iter().map(|it| it.code.as_str()).collect();
    assert_eq!(codes, ["U-TABLE-FULL"]);
    let attempt = Attempt {
        cgroup: 1,
        address: [192, 0, 2, 1].into(),
        port: (443, 6),
        names: Vec::new(),
    };
    let told = match_name(&compiled.image, "x.example.com");
    assert_eq!(
        judge(&compiled.image, &attempt, &[told]).verdict,
        Verdict::Deny
    );
}

/// The verdict by the words of the registry: no numbers, no tables, no closing.
fn model(world: &World, attempt: &Attempt) -> Option<bool> {
    let placed = world
        .workloads
        .iter()
        .find(|it| it.cgroup_id == Some(attempt.cgroup))?;
    let namespace = &placed.workload.key.namespace;
    let view = Sources::new(&world.registry).view(namespace, &mut BTreeSet::new());
    let mut nets: Vec<_> = view
        .prefixes
        .iter()
        .filter(|(net, _)| net.contains(&attempt.address))
        .collect();
    nets.sort_by_key(|(net, _)| std::cmp::Reverse(net.prefix_len()));
    let by_address = nets.iter().find_map(|(_, ports)| ports.get(&attempt.port));
    if let Some(granted) = by_address {
        return Some(granted.denied.is_none());
    }
    let names: Vec<_> = attempt.names.iter().map(|name| host(name)).collect();
    let mut patterns: Vec<_> = view
        .names
        .iter()
        .filter(|(pattern, _)| names.iter().any(|name| pattern.covers(name)))
        .collect();
    patterns
        .sort_by_key(|(pattern, _)| std::cmp::Reverse((!pattern.is_wildcard(), pattern.labels())));
    let by_name = patterns
        .iter()
        .find_map(|(_, ports)| ports.get(&attempt.port));
    Some(by_name.is_some_and(|granted| granted.denied.is_none()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tables_say_what_the_registry_says(mut world in world(), attempts in proptest::collection::vec(attempt(), 40)) {
        world.config = Config::offline();
        for workload in &mut world.workloads {
            workload.workload.is_exempt = false;
        }
        let image = compiled(&world.registry, &world.workloads, &mut Ids::default()).image;
        for mut attempt in attempts {
            // Echo has no port of its own, and of several names the tables know one pattern each.
            attempt.names.truncate(1);
            if attempt.port.0 == 0 {
                continue;
            }
            let told: Vec<SubjectId> = attempt.names.iter().map(|name| match_name(&image, name)).collect();
            let got = judge(&image, &attempt, &told).verdict == Verdict::Allow;
            prop_assert_eq!(got, model(&world, &attempt).unwrap_or(false), "{:?}", attempt);
        }
    }

    #[test]
    fn the_order_of_objects_plays_no_part(entries in entries().prop_flat_map(|it| (Just(it.clone()), Just(it).prop_shuffle()))) {
        let workloads = one_each(&NAMESPACES);
        let [a, b] = [entries.0, entries.1].map(|entries| {
            let compiled = compiled(&registry(entries), &workloads, &mut Ids::default());
            (compiled.image, compiled.reports)
        });
        prop_assert_eq!(a, b);
    }
}

#[test]
fn the_small_world_is_not_all_denied() {
    // The property tests prove little if nothing is ever allowed in them.
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut allowed = 0;
    for _ in 0..200 {
        let world = world().new_tree(&mut runner).expect("a world").current();
        let image = compiled(&world.registry, &world.workloads, &mut Ids::default()).image;
        for (name, port) in NAMES.iter().flat_map(|name| PORTS.map(|port| (name, port))) {
            let attempt = Attempt {
                cgroup: 1,
                address: [192, 0, 2, 1].into(),
                port,
                names: Vec::new(),
            };
            let decision = judge(&image, &attempt, &[match_name(&image, name)]);
            allowed += usize::from(
                decision.verdict == Verdict::Allow && decision.reason == Reason::Registered,
            );
        }
    }
    assert!(allowed > 500, "{allowed} of 6400");
}

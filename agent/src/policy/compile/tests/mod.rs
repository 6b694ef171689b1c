//! What compiled tables say, case by case.

mod model;
mod moves;
mod numbers;
mod steps;

use std::net::IpAddr;

use exeat_common::{abi::name_flag, reason::Verdict};

use super::{Compiled, Input, compile};
use crate::{
    config::Config,
    policy::{
        answers::Answers,
        ids::Ids,
        image::WireName,
        testing::{Attempt, host, judge, match_name, placed},
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
    Registry::new(documents.iter().map(object::read).filter_map(|read: Read| read.content))
}

/// One workload in each namespace; the cgroup is its place in the list, from 1 on.
fn one_each(namespaces: &[&str]) -> Vec<PlacedWorkload> {
    (1_u64..).zip(namespaces).map(|(number, namespace)| placed(number, namespace, false)).collect()
}

fn compiled(registry: &Registry, workloads: &[PlacedWorkload], ids: &mut Ids) -> Compiled {
    let config = Config::offline();
    let input = Input { registry, config: &config, workloads, answers: &Answers::default() };
    compile(&input, ids)
}

/// A registry, workloads of namespaces `default`, `team-a` and `team-b`, and the tables.
struct Case(Compiled, [&'static str; 3]);

impl Case {
    fn new(text: &str) -> Self {
        let namespaces = ["default", "team-a", "team-b"];
        let workloads = one_each(&namespaces);
        Self(compiled(&read(text), &workloads, &mut Ids::default()), namespaces)
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
        let got: Vec<String> =
            reports.map(|it| format!("{} {}", it.code, it.object.name)).collect();
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
    case.check("default api.example.com 192.0.2.1 80/tcp", "port-not-declared");
    case.check("default api.example.com 192.0.2.1 443/udp", "port-not-declared");
    case.check("default - 192.0.2.1 443/tcp", "not-registered");
    case.check("default www.example.com 192.0.2.1 443/tcp", "not-registered");
    case.check("default shop.bar.com 192.0.2.40 80/tcp", "allow");
    case.check("default a.shop.bar.com 192.0.2.40 80/tcp", "allow");
    case.check("default bar.com 192.0.2.41 80/tcp", "not-registered");
    case.check("default badbar.com 192.0.2.41 80/tcp", "not-registered");
    case.check("default time.example.com 192.0.2.170 123/udp", "allow");
    case.check("default time.example.com 192.0.2.170 123/tcp", "port-not-declared");
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
    case.check("default both.example.com 192.0.2.71 443/tcp", "port-not-declared");
    case.check("default both.example.com 192.0.2.71 5432/tcp", "port-not-declared");
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
    case.check("default - 198.51.100.9 9999/tcp", "redirect");
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
    case.check("default x.deep.example.com 192.0.2.1 22/tcp", "port-not-declared");
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
    case.check("team-b private.example.com 192.0.2.1 443/tcp", "port-not-declared");
    case.check("team-a given.example.com 192.0.2.1 443/tcp", "port-not-declared");
    case.check("team-b given.example.com 192.0.2.1 443/tcp", "allow");
    case.check("team-a nobody.example.com 192.0.2.1 443/tcp", "not-registered");
    case.check("nobody private.example.com 192.0.2.1 443/tcp", "unknown-workload");
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
    case.check_codes(&["W-NO-UPSTREAM old", "W-VIP-CONFLICT young"]);
}

#[test]
fn what_goes_elsewhere_is_redirected_or_denied() {
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
    case.check("default s.example.com 192.0.2.1 80/tcp", "redirect");
    case.check("default s.example.com 192.0.2.1 0/icmp", "redirect");
    case.check("default - 203.0.113.1 80/tcp", "not-registered");
    case.check("default t.example.com 192.0.2.1 80/tcp", "redirect");
    case.check("default t.example.com 192.0.2.1 81/tcp", "allow");
    case.check("default - 192.0.2.9 80/tcp", "no-upstream");
    case.check("default v.example.com 192.0.2.1 80/tcp", "allow");
    case.check("default w.example.com 192.0.2.1 80/tcp", "unsupported");
    case.check("default r.example.com 192.0.2.1 80/tcp", "allow");
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
    assert_eq!((value("cluster.local").flags, value("cluster.local").wildcard), (both, wild));
    assert_eq!(value("cluster.local").exact, wild);
    assert_eq!(
        (value("a.ns.cluster.local").flags, value("a.ns.cluster.local").wildcard),
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
    let Compiled { image, directory, .. } = &case.0;
    let subject = match_name(image, "api.example.com");
    assert_eq!(directory.subject(subject).as_deref(), Some("api.example.com"));
    let workload = image.by_cgroup[&1];
    let known = directory.workload(workload.id).expect("known");
    assert_eq!((known.key.to_string().as_str(), known.policy), ("default/w1", workload.policy));
    let grants: Vec<String> = directory
        .grants(workload.policy, subject)
        .iter()
        .map(|it| {
            format!(
                "{} {} {:?}",
                it.port,
                it.entry,
                it.denied().map(crate::registry::report::Code::as_str)
            )
        })
        .collect();
    assert_eq!(
        grants,
        ["80 ServiceEntry/default/exact None", "443 ServiceEntry/default/wild None"]
    );
    let prefix = image.prefixes.values().next().expect("a prefix");
    assert_eq!(directory.subject(*prefix).as_deref(), Some("192.0.2.0/24"));
    for (name, expected) in [
        ("example.com", Some("*.example.com (ServiceEntry/default/wild)")),
        ("www.example.com", Some("*.example.com (ServiceEntry/default/wild)")),
        ("x.api.example.com", Some("api.example.com (ServiceEntry/default/exact)")),
        ("api.example.com", Some("api.example.com (ServiceEntry/default/exact)")),
        ("example.org", None),
        ("other.com", None),
        ("not a name", None),
    ] {
        let nearest = directory.nearest(name).map(|it| it.to_string());
        assert_eq!(nearest.as_deref(), expected, "{name}");
    }
}

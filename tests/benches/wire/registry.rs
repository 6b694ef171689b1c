//! The registry that the tables are filled from, and the one workload in it that sends.

use std::{fmt::Write as _, net::IpAddr};

use exeat_agent::{
    config::Config,
    policy::{
        answers::Answers,
        compile::{Input, compile},
        ids::Ids,
        image::Image,
    },
    registry::{
        Registry,
        document::{self, Format},
        object,
    },
    trial::IFINDEX,
    workloads::{PlacedWorkload, Workload, WorkloadKey},
};

pub(crate) const POD: &str = "10.244.7.7";
pub(crate) const RESOLVER: &str = "10.96.0.10";
/// A declared name, one below a declared wildcard, and one that nobody declared.
pub(crate) const NAME: &str = "api.payments.example.com.";
pub(crate) const BELOW: &str = "eu.cdn.assets.example.net.";
pub(crate) const UNKNOWN: &str = "www.elsewhere.example.org.";
/// In a declared prefix.
pub(crate) const DECLARED: &str = "198.51.100.7";

/// Entries beside those above: names, and one in ten a prefix.
fn entries(count: usize) -> String {
    let mut text = String::new();
    let mut declare = |name: &str, host: &str, rest: &str| {
        let _infallible = write!(
            text,
            "---\n{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: \
             {name}, namespace: default}}, spec: {{hosts: ['{host}'], ports: [{{number: 443, \
             name: tls, protocol: TLS}}, {{number: 8443, name: quic, protocol: UDP}}], {rest}}}}}\n"
        );
    };
    declare("name", NAME.trim_end_matches('.'), "resolution: DNS");
    declare("below", "*.assets.example.net", "resolution: NONE");
    declare("declared", "declared.example.com", "addresses: [198.51.100.0/24]");
    for number in 0..count {
        let (high, low) = (number / 256, number % 256);
        if number % 10 == 0 {
            let rest = format!("addresses: [172.{}.{low}.0/24]", 32 + high % 200);
            declare(&format!("e{number}"), &format!("db{number}.example.org"), &rest);
        } else {
            let host = format!("api.s{number}.example.com");
            declare(&format!("e{number}"), &host, "resolution: DNS");
        }
    }
    text
}

fn config() -> Config {
    let mut config = Config::offline();
    config.cluster_cidrs =
        ["10.244.0.0/16", "10.96.0.0/12"].map(|it| it.parse().expect("a prefix")).to_vec();
    config.dns.resolvers = vec![format!("{RESOLVER}:53").parse().expect("a resolver")];
    config
}

/// The tables of a registry with about `count` entries. The workload is at the interface that test
/// runs of a program come from, and in the cgroup with this id and depth.
pub(crate) fn image(count: usize, cgroup: u64, depth: u8) -> Image {
    let documents = document::parse(&entries(count), Format::Yaml).expect("YAML");
    let contents =
        documents.iter().map(|document| object::read(document).content.expect("an entry"));
    let registry = Registry::new(contents);
    let workload = Workload {
        key: WorkloadKey { namespace: "default".to_owned(), name: "pod".to_owned() },
        labels: [].into(),
        cgroup: Some("/pod".into()),
        interface: Some("lo".to_owned()),
        arrives_past_interface: false,
        netns: None,
        addresses: vec![POD.parse::<IpAddr>().expect("an address")],
        sidecar_cgroup: None,
        is_ambient: false,
        is_exempt: false,
    };
    let placed = PlacedWorkload {
        workload,
        cgroup_id: Some(cgroup),
        cgroup_depth: Some(depth),
        ifindex: Some(IFINDEX),
        netns_cookie: None,
        sidecar_cgroup_id: None,
    };
    let input = Input {
        registry: &registry,
        config: &config(),
        workloads: &[placed],
        answers: &Answers::default(),
    };
    compile(&input, &mut Ids::default()).image
}

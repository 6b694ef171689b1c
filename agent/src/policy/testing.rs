//! A small world for property tests: registries, workloads and flows that meet each other often.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use exeat_common::{
    abi::{Fact, FactKey, FactValue, RuleKey, Workload, mode, name_flag, workload_flag},
    decide::{Decision, decide},
    flow::{Flow, protocol},
    id::SubjectId,
    limits::FACT_SLOTS,
    reason::Reason,
};
use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    answers::Answers,
    compile::{self, Compiled, Hosts, Input},
    ids::Ids,
    image::{Image, WireName},
    image_tables::{Facts, ImageTables},
    services::Services,
    target::{Backend, Target, TargetKind},
    view::{Action, Denial, Granted, Ports, Unmatched, View},
};
use crate::{
    config::{Config, Mode, Scope},
    registry::{
        Registry, cidr,
        endpoint::{Endpoint, EndpointAddress},
        export_to::ExportTo,
        header::Header,
        host::HostPattern,
        istio::service_entry::{Resolution, ServiceEntry},
        object::Content,
        port::{Protocol, ServicePort},
        report::{Code, ObjectRef},
    },
    workloads::{PlacedWorkload, Workload as Named, WorkloadKey},
};

pub(crate) const NAMESPACES: [&str; 3] = ["a", "b", "c"];
const HOSTS: [&str; 8] = [
    "example.com",
    "*.example.com",
    "x.example.com",
    "*.x.example.com",
    "y.x.example.com",
    "z.cluster.local",
    "*.cluster.local",
    "*.com",
];
/// Names that pods ask for.
pub(crate) const NAMES: [&str; 8] = [
    "example.com",
    "x.example.com",
    "y.x.example.com",
    "w.x.example.com",
    "other.example.com",
    "z.cluster.local",
    "v.z.cluster.local",
    "example.org",
];
const NETS: [&str; 8] = [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.1.2.3",
    "0.0.0.0/0",
    "::/0",
    "2001:db8::/32",
    "2001:db8::1",
];
const ADDRESSES: [&str; 7] =
    ["10.1.2.3", "10.1.2.9", "10.1.9.9", "10.9.9.9", "192.0.2.1", "2001:db8::1", "2001:db8::2"];
pub(crate) const PORTS: [(u16, u8); 4] =
    [(80, protocol::TCP), (443, protocol::TCP), (443, protocol::UDP), (0, protocol::ICMP)];
const NOW: u32 = 1000;

/// What a compilation looks at.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) registry: Registry,
    pub(crate) config: Config,
    pub(crate) workloads: Vec<PlacedWorkload>,
}

/// What a view may say that the registry of a small world does not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Twist {
    /// Entries, by number, that redirect what they allow by name.
    redirected: u16,
    /// What is open anywhere in namespaces `a` and `b`.
    anywhere: Vec<((u16, u8), Action)>,
    /// What becomes of the rest in namespaces `b` and `c`.
    unmatched: Option<Unmatched>,
}

impl Twist {
    pub(crate) fn apply(&self, namespace: &str, view: &mut View) {
        for (host, ports) in view.names.clone().iter() {
            let mut ports = Ports::clone(ports);
            for granted in ports.values_mut() {
                let number: u8 = granted.entry.name[1..].parse().expect("a number");
                if granted.action == Action::Allow && self.redirected >> number & 1 == 1 {
                    granted.action = Action::To(target(number));
                }
            }
            view.names.insert(host.clone(), Arc::new(ports));
        }
        if namespace != "c" {
            let entry = Arc::new(ObjectRef {
                kind: "ServiceEntry".to_owned(),
                namespace: "a".to_owned(),
                name: "e0".to_owned(),
            });
            for (port, action) in &self.anywhere {
                let granted =
                    Granted { entry: Arc::clone(&entry), rank: 0, action: action.clone() };
                view.anywhere.insert(*port, granted);
            }
        }
        if namespace != "a"
            && let Some(unmatched) = &self.unmatched
        {
            view.unmatched = unmatched.clone();
        }
    }
}

fn target(number: u8) -> Arc<Target> {
    let address = Some(IpAddr::from([203, 0, 113, number]));
    let backends = vec![Backend { address, port: 8080, weight: 1 }];
    Arc::new(Target { kind: TargetKind::Endpoints, backends })
}

pub(crate) fn twist() -> impl Strategy<Value = Twist> {
    let denial = Denial { reason: Reason::NoRoute, code: Code::Redirect };
    let actions = vec![Action::Allow, Action::Deny(denial), Action::To(target(20))];
    let anywhere = vec((select(PORTS.as_slice()), select(actions)), 0..3);
    let unmatched = select(vec![
        None,
        Some(Unmatched::Deny),
        Some(Unmatched::Allow),
        Some(Unmatched::To(target(21))),
        Some(Unmatched::To(target(22))),
    ]);
    let some = (any::<u16>(), anywhere, unmatched)
        .prop_map(|(redirected, anywhere, unmatched)| Twist { redirected, anywhere, unmatched });
    prop_oneof![Just(Twist::default()), some]
}

/// What a pod tries: which workload, where to, and what it was told about the address.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) cgroup: u64,
    pub(crate) address: IpAddr,
    pub(crate) port: (u16, u8),
    pub(crate) names: Vec<&'static str>,
}

pub(crate) fn host(text: &str) -> HostPattern {
    HostPattern::parse(text).expect("a valid pattern")
}

fn export_to() -> impl Strategy<Value = ExportTo> {
    let some = vec(select(NAMESPACES.as_slice()), 1..3)
        .prop_map(|names| ExportTo::Namespaces(names.into_iter().map(str::to_owned).collect()));
    prop_oneof![4 => Just(ExportTo::All), 1 => Just(ExportTo::Nobody), 3 => some]
}

fn ports() -> impl Strategy<Value = Vec<ServicePort>> {
    let port = |number, protocol, target| ServicePort {
        number,
        name: format!("p{number}"),
        protocol,
        target,
    };
    let one = select(vec![
        port(80, Protocol::Http, None),
        port(80, Protocol::Tcp, None),
        port(80, Protocol::Http, Some(8080)),
        port(443, Protocol::Tls, None),
        port(443, Protocol::Udp, None),
    ]);
    vec(one, 1..4).prop_map(|mut ports| {
        let mut seen = BTreeSet::new();
        ports.retain(|port| seen.insert(port.number));
        ports
    })
}

pub(crate) fn entry() -> impl Strategy<Value = ServiceEntry> {
    let resolution = prop_oneof![
        5 => Just((Resolution::None, false)),
        1 => Just((Resolution::Static, false)),
        1 => Just((Resolution::Static, true)),
        2 => Just((Resolution::Dns, false)),
    ];
    let hosts = vec(select(HOSTS.as_slice()), 1..3);
    let nets = prop_oneof![3 => Just(Vec::new()), 2 => vec(select(NETS.as_slice()), 1..3)];
    let who = (select(NAMESPACES.as_slice()), 0..9_u8, 0..3_u64, any::<bool>());
    (who, hosts, nets, ports(), resolution, export_to()).prop_map(
        |(
            (namespace, name, created, label),
            hosts,
            nets,
            ports,
            (resolution, has_endpoint),
            export_to,
        )| {
            let endpoint = Endpoint {
                address: EndpointAddress::Ip(IpAddr::from([203, 0, 113, 1])),
                ports: BTreeMap::new(),
                weight: 1,
            };
            let label = label.then(|| ("team".to_owned(), "x".to_owned()));
            ServiceEntry {
                header: Header {
                    object: Arc::new(ObjectRef {
                        kind: "ServiceEntry".to_owned(),
                        namespace: namespace.to_owned(),
                        name: format!("e{name}"),
                    }),
                    created: created
                        .checked_sub(1)
                        .map(|it| SystemTime::UNIX_EPOCH + Duration::from_secs(it)),
                    labels: label.into_iter().collect(),
                },
                hosts: distinct(hosts.into_iter().map(host)),
                addresses: distinct(nets.into_iter().filter_map(cidr::parse)),
                ports,
                resolution,
                endpoints: has_endpoint.then_some(endpoint).into_iter().collect(),
                selector: None,
                export_to: Some(export_to),
                waypoint: None,
                virtual_addresses: BTreeMap::new(),
            }
        },
    )
}

fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut distinct = Vec::new();
    for item in items {
        if !distinct.contains(&item) {
            distinct.push(item);
        }
    }
    distinct
}

pub(crate) fn entries() -> impl Strategy<Value = Vec<ServiceEntry>> {
    vec(entry(), 0..10).prop_map(|mut entries| {
        let mut seen = BTreeSet::new();
        entries.retain(|entry| seen.insert(Arc::clone(&entry.header.object)));
        entries
    })
}

pub(crate) fn registry(entries: Vec<ServiceEntry>) -> Registry {
    Registry::new(entries.into_iter().map(|entry| Content::ServiceEntry(Arc::new(entry))))
}

/// A workload in one of the namespaces; its number is its place.
pub(crate) fn placed(number: u64, namespace: &str, is_exempt: bool) -> PlacedWorkload {
    PlacedWorkload {
        workload: Named {
            key: WorkloadKey { namespace: namespace.to_owned(), name: format!("w{number}") },
            labels: BTreeMap::new(),
            cgroup: Some(format!("/{number}").into()),
            interface: None,
            arrives_past_interface: false,
            netns: None,
            addresses: Vec::new(),
            sidecar_cgroup: None,
            is_ambient: false,
            is_exempt,
        },
        cgroup_id: Some(number),
        cgroup_depth: Some(3),
        ifindex: None,
        netns_cookie: None,
        sidecar_cgroup_id: None,
    }
}

pub(crate) fn world() -> impl Strategy<Value = World> {
    let workloads = vec((prop::bool::weighted(0.8), prop::bool::weighted(0.1)), 5);
    let config = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (entries(), workloads, config).prop_map(|(entries, present, (any, all, inside, resolver))| {
        let mut config = Config::offline();
        config.mode = if any && all { Mode::AllowAny } else { Mode::RegistryOnly };
        config.scope = if all { Scope::All } else { Scope::External };
        config.cluster_cidrs =
            inside.then(|| cidr::parse("10.1.0.0/16")).flatten().into_iter().collect();
        if !any {
            config.dns.internal_domains.clear();
        }
        if resolver {
            config.dns.resolvers = vec![([10, 1, 2, 3], 443).into()];
        }
        let namespaces = NAMESPACES.iter().cycle();
        let workloads =
            (1_u64..).zip(namespaces).zip(present).filter(|(_, (is_there, _))| *is_there);
        World {
            registry: registry(entries),
            config,
            workloads: workloads
                .map(|((number, namespace), (_, exempt))| placed(number, namespace, exempt))
                .collect(),
        }
    })
}

/// Compiles a world with a twist.
pub(crate) fn compile_world(world: &World, twist: &Twist, ids: &mut Ids) -> Compiled {
    let answers = Answers::default();
    let input = Input {
        registry: &world.registry,
        config: &world.config,
        workloads: &world.workloads,
        answers: &answers,
    };
    let mut reports = BTreeSet::new();
    let services = Services::link(input.registry, input.config, input.answers, &mut reports);
    let mut views = compile::views(&input, &services, &mut reports);
    for (view, members) in &mut views {
        let first = members.first().and_then(|index| world.workloads.get(*index));
        twist.apply(&first.expect("a member").workload.key.namespace, view);
    }
    let tables = compile::Tables::whole(&input, &views, Hosts::default(), ids);
    let reports = reports.into_iter().chain(tables.reports).collect();
    Compiled { image: tables.image, reports, directory: tables.directory }
}

pub(crate) fn attempt() -> impl Strategy<Value = Attempt> {
    let address = select(ADDRESSES.as_slice()).prop_map(|text| text.parse().expect("an address"));
    let names = vec(select(NAMES.as_slice()), 0..3);
    (1..6_u64, address, select(PORTS.as_slice()), names)
        .prop_map(|(cgroup, address, port, names)| Attempt { cgroup, address, port, names })
}

/// The pattern the kernel finds for a name: itself, else the longest wildcard.
pub(crate) fn match_name(image: &Image, name: &str) -> SubjectId {
    find_name(image, name).0
}

/// Whether a pod may ask for a name: it is granted or internal, or the pod is held to nothing.
pub(crate) fn resolves(image: &Image, cgroup: u64, name: &str) -> bool {
    let (pattern, internal) = find_name(image, name);
    image.by_cgroup.get(&cgroup).is_some_and(|workload| {
        let mark = RuleKey::grant(workload.policy, pattern);
        let is_free = matches!(workload.mode, mode::ALLOW_ANY | mode::GATEWAY)
            || workload.flags & workload_flag::EXEMPT != 0;
        is_free || internal || pattern.is_some() && image.rules.contains_key(&mark)
    })
}

fn find_name(image: &Image, name: &str) -> (SubjectId, bool) {
    let name = host(name);
    let lookup = |pattern: &HostPattern| image.names.get(&WireName(pattern.wire())).copied();
    if let Some(value) = lookup(&name) {
        let internal = value.flags & name_flag::INTERNAL != 0;
        if value.exact.is_some() || internal {
            return (value.exact, internal);
        }
    }
    let longest = image.settings.map_or(0, |it| it.longest_wildcard_bytes as usize);
    let suffixes = name.covering().filter(|wide| wide.wire().len() <= longest);
    suffixes
        .filter_map(|wide| lookup(&wide))
        .map(|value| (value.wildcard, value.flags & name_flag::INTERNAL_BELOW != 0))
        .find(|(wildcard, internal)| wildcard.is_some() || *internal)
        .unwrap_or_default()
}

/// What `image` says to an attempt by a pod that was told these patterns.
pub(crate) fn judge(image: &Image, attempt: &Attempt, patterns: &[SubjectId]) -> Decision {
    let workload = image.by_cgroup.get(&attempt.cgroup);
    let mut facts = Facts::new();
    if let Some(Workload { id, .. }) = workload {
        let slots: [u64; FACT_SLOTS] = std::array::from_fn(|slot| {
            let fact = patterns.get(slot).filter(|pattern| pattern.is_some());
            fact.map_or(0, |pattern| Fact { pattern: *pattern, expiry: NOW + 1 }.pack())
        });
        let key = FactKey { workload: *id, address: attempt.address.into() };
        facts.insert(key, FactValue { slots });
    }
    let tables = ImageTables { image, facts: &facts, now: NOW };
    let flow = Flow {
        workload,
        destination: attempt.address.into(),
        port: attempt.port.0,
        protocol: attempt.port.1,
    };
    decide(&flow, &tables)
}

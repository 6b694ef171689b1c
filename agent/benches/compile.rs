//! How long it takes from a registry to kernel tables: 10 000 service entries, and 200 workloads in
//! 20 namespaces, all of it and one changed entry. Says how many rules that makes and what memory
//! the compiled registry takes.

#![expect(clippy::print_stdout, reason = "the numbers beside the times are for whoever runs it")]

use std::{alloc::System, collections::BTreeMap, hint::black_box};

use cap::Cap;
use criterion::{Criterion, criterion_group, criterion_main};
use exeat_agent::{
    config::Config,
    policy::{
        answers::Answers,
        compile::{Change, Compiler, Input},
        diff::diff,
        image::Image,
    },
    registry::{
        Registry,
        document::{self, Format},
        object::{self, Content},
    },
    workloads::{PlacedWorkload, Workload, WorkloadKey},
};

#[global_allocator]
static ALLOCATED: Cap<System> = Cap::new(System, usize::MAX);

const ENTRIES: usize = 10_000;
const NAMESPACES: usize = 20;
const WORKLOADS: usize = 200;

/// Who sees the entries.
#[derive(Clone, Copy)]
enum Seen {
    /// Everybody sees all of them, so all workloads share one policy.
    ByAll,
    /// One entry in ten is its namespace's own, so each namespace has its own policy.
    ByOwners,
}

/// Entries as they come: names with TLS, HTTP on two ports, wildcards, addresses, endpoints.
fn entry(number: usize, seen: Seen, port: u16) -> Content {
    let namespace = number % NAMESPACES;
    let own = matches!(seen, Seen::ByOwners) && (number / NAMESPACES).is_multiple_of(10);
    let export = if own { "exportTo: [.], " } else { "" };
    let spec = match number / NAMESPACES % 20 {
        0 => format!(
            "hosts: ['*.w{number}.example.com'], ports: [{{number: {port}, name: tls, protocol: TLS}}]"
        ),
        1 => format!(
            "hosts: [db{number}.example.org], addresses: [198.{}.{}.{}], ports: [{{number: {port}, name: tcp, protocol: TCP}}], resolution: STATIC, endpoints: [{{address: 203.0.113.{}}}]",
            18 + number / 65_536 % 2,
            number / 256 % 256,
            number % 256,
            number % 256,
        ),
        2..5 => format!(
            "hosts: [h{number}.example.net], ports: [{{number: 80, name: http, protocol: HTTP}}, {{number: {port}, name: tls, protocol: TLS}}], resolution: DNS"
        ),
        _ => format!(
            "hosts: [api.s{number}.example.com], ports: [{{number: {port}, name: tls, protocol: TLS}}], resolution: DNS"
        ),
    };
    let text = format!(
        "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: e{number}, namespace: ns{namespace}}}, spec: {{{export}{spec}}}}}"
    );
    let documents = document::parse(&text, Format::Yaml).expect("YAML");
    let mut contents = documents.iter().filter_map(|it| object::read(it).content);
    contents.next().expect("an entry")
}

fn workloads() -> Vec<PlacedWorkload> {
    let workload = |number: usize| PlacedWorkload {
        workload: Workload {
            key: WorkloadKey {
                namespace: format!("ns{}", number % NAMESPACES),
                name: format!("w{number}"),
            },
            labels: BTreeMap::from([("app".to_owned(), format!("w{number}"))]),
            cgroup: None,
            interface: None,
            arrives_past_interface: false,
            netns: None,
            addresses: Vec::new(),
            sidecar_cgroup: None,
            is_ambient: false,
            is_exempt: false,
        },
        cgroup_id: Some(1000 + number as u64),
        cgroup_depth: Some(4),
        ifindex: u32::try_from(number).ok(),
        netns_cookie: None,
        sidecar_cgroup_id: None,
    };
    (1..=WORKLOADS).map(workload).collect()
}

/// Two registries that differ in one entry.
struct Scene {
    registries: [Registry; 2],
    config: Config,
    workloads: Vec<PlacedWorkload>,
    answers: Answers,
}

impl Scene {
    fn new(seen: Seen) -> Self {
        let contents: Vec<Content> = (0..ENTRIES).map(|it| entry(it, seen, 443)).collect();
        let mut other = contents.clone();
        other[ENTRIES / 2 + 120] = entry(ENTRIES / 2 + 120, seen, 8443);
        Self {
            registries: [Registry::new(contents), Registry::new(other)],
            config: Config::offline(),
            workloads: workloads(),
            answers: Answers::default(),
        }
    }

    fn input(&self, which: usize) -> Input<'_> {
        Input {
            registry: &self.registries[which],
            config: &self.config,
            workloads: &self.workloads,
            answers: &self.answers,
        }
    }
}

fn compile(criterion: &mut Criterion) {
    for (name, seen) in
        [("seen by all", Seen::ByAll), ("one in ten seen by its owner", Seen::ByOwners)]
    {
        let scene = Scene::new(seen);
        let before = ALLOCATED.allocated();
        let mut compiler = Compiler::default();
        let _first = compiler.update(&scene.input(0));
        let megabytes = (ALLOCATED.allocated() - before) / 1_000_000;
        let image = compiler.image().expect("tables");
        println!(
            "{name}: {} names, {} prefixes, {} rules, {} targets; the compiled registry takes {megabytes} MB; {} reports",
            image.names.len(),
            image.prefixes.len(),
            image.rules.len(),
            image.targets.len(),
            compiler.reports().len(),
        );
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        group.bench_function("registry to tables", |bencher| {
            bencher.iter(|| Compiler::default().update(black_box(&scene.input(0))));
        });
        group.bench_function("empty tables to full ones", |bencher| {
            let image = compiler.image().expect("tables");
            bencher.iter(|| diff(&Image::default(), black_box(image)));
        });
        group.sample_size(100);
        let mut which = 0;
        group.bench_function("one changed entry to operations", |bencher| {
            bencher.iter(|| {
                which = 1 - which;
                match compiler.update(black_box(&scene.input(which))) {
                    Change::Steps(steps) => assert!(!steps.is_empty()),
                    Change::Whole(_) => panic!("everything was made anew"),
                }
            });
        });
        group.finish();
    }
}

criterion_group!(benches, compile);
criterion_main!(benches);

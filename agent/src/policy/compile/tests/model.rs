//! The tables against a model that knows no numbers, no tables and no closing.

use std::collections::BTreeSet;

use exeat_common::{
    id::SubjectId,
    reason::{Reason, Verdict},
};
use proptest::prelude::*;

use super::{compiled, one_each};
use crate::{
    config::Config,
    policy::{
        answers::Answers,
        ids::Ids,
        services::Services,
        testing::{
            Attempt, NAMES, NAMESPACES, PORTS, Twist, World, attempt, compile_world, entries, host,
            judge, match_name, registry, twist, world,
        },
        view::{Action, Client, Unmatched, View},
    },
    workloads::Workload,
};

/// The verdict by the words of the registry: no numbers, no tables, no closing.
fn model(world: &World, twist: &Twist, attempt: &Attempt) -> Option<Verdict> {
    let placed = world.workloads.iter().find(|it| it.cgroup_id == Some(attempt.cgroup))?;
    let view = view_of(world, twist, &placed.workload);
    let mut nets: Vec<_> =
        view.prefixes.iter().filter(|(net, _)| net.contains(&attempt.address)).collect();
    nets.sort_by_key(|(net, _)| std::cmp::Reverse(net.prefix_len()));
    let by_address = nets.iter().find_map(|(_, ports)| ports.get(&attempt.port));
    let names: Vec<_> = attempt.names.iter().map(|name| host(name)).collect();
    let mut patterns: Vec<_> = view
        .names
        .iter()
        .filter(|(pattern, _)| names.iter().any(|name| pattern.covers(name)))
        .collect();
    patterns
        .sort_by_key(|(pattern, _)| std::cmp::Reverse((!pattern.is_wildcard(), pattern.labels())));
    let by_name = patterns.iter().find_map(|(_, ports)| ports.get(&attempt.port));
    let granted = by_address.or(by_name).or(view.anywhere.get(&attempt.port));
    Some(match (granted.map(|granted| &granted.action), &view.unmatched) {
        (Some(Action::Allow), _) | (None, Unmatched::Allow) => Verdict::Allow,
        (Some(Action::Deny(_)), _) | (None, Unmatched::Deny) => Verdict::Deny,
        (Some(Action::To(_)), _) | (None, Unmatched::To(_)) => Verdict::Redirect,
    })
}

fn view_of(world: &World, twist: &Twist, workload: &Workload) -> View {
    let (namespace, answers) = (&workload.key.namespace, Answers::default());
    let reports = &mut BTreeSet::new();
    let services = Services::link(&world.registry, &world.config, &answers, reports);
    let client = Client {
        namespace,
        labels: &workload.labels,
        has_sidecar: false,
        is_ambient: false,
        has_socket_layer: true,
    };
    let mut view = services.view(&client, reports);
    twist.apply(namespace, &mut view);
    view
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tables_say_what_the_registry_says(
        mut world in world(),
        twist in twist(),
        attempts in proptest::collection::vec(attempt(), 40),
    ) {
        world.config = Config::offline();
        for workload in &mut world.workloads {
            workload.workload.is_exempt = false;
        }
        let image = compile_world(&world, &twist, &mut Ids::default()).image;
        for mut attempt in attempts {
            // Echo has no port of its own, and of several names the tables know one pattern each.
            attempt.names.truncate(1);
            if attempt.port.0 == 0 {
                continue;
            }
            let told: Vec<SubjectId> = attempt.names.iter().map(|name| match_name(&image, name)).collect();
            let got = judge(&image, &attempt, &told).verdict;
            prop_assert_eq!(got, model(&world, &twist, &attempt).unwrap_or_default(), "{:?}", attempt);
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
            let attempt =
                Attempt { cgroup: 1, address: [192, 0, 2, 1].into(), port, names: Vec::new() };
            let decision = judge(&image, &attempt, &[match_name(&image, name)]);
            allowed += usize::from(
                decision.verdict == Verdict::Allow && decision.reason == Reason::Registered,
            );
        }
    }
    assert!(allowed > 500, "{allowed} of 6400");
}

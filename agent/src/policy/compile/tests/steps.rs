//! Steps against tables that are made anew from the same numbers.

use std::{collections::BTreeSet, sync::Arc};

use proptest::{collection::vec, prelude::*};

use super::{one_each, read};
use crate::{
    config::Config,
    policy::{
        answers::Answers,
        compile::{Change, Compiler, Input, Tables, ViewOf, compile, hosts, views},
        diff::diff,
        ids::Ids,
        services::Services,
        testing::{Twist, World, entries, host, registry, twist, world},
    },
    registry::{Registry, istio::service_entry::ServiceEntry},
};

/// A world, and what its registry is one after the other.
fn history() -> impl Strategy<Value = (World, Vec<Registry>)> {
    let pools = (entries(), entries());
    (world(), pools, any::<u16>(), vec((0..10_u16, any::<bool>()), 1..6)).prop_map(
        |(world, (one, two), first, flips)| {
            let mut chosen = first;
            let mut registries = vec![pick(&one, &two, chosen)];
            for (bit, is_two) in flips {
                chosen ^= 1 << bit;
                if is_two {
                    chosen ^= 1 << ((bit + 3) % 10);
                }
                registries.push(pick(&one, &two, chosen));
            }
            (world, registries)
        },
    )
}

/// Each entry of the one where the bit of its place is set, else that of the other.
fn pick(one: &[ServiceEntry], two: &[ServiceEntry], chosen: u16) -> Registry {
    let mut seen = BTreeSet::new();
    let picked = (0..10).filter_map(|place| {
        let from = if chosen >> place & 1 == 1 { one } else { two };
        from.get(place).filter(|it| seen.insert(Arc::clone(&it.header.object))).cloned()
    });
    registry(picked.collect())
}

fn seen(input: &Input<'_>, twist: &Twist) -> (Vec<ViewOf>, Services) {
    let mut reports = BTreeSet::new();
    let services = Services::link(input.registry, input.config, input.answers, &mut reports);
    let mut views = views(input, &services, &mut reports);
    for (view, members) in &mut views {
        let first = &input.workloads[members[0]];
        twist.apply(&first.workload.key.namespace, view);
    }
    (views, services)
}

/// Goes through the history in steps, and makes everything anew beside each. Returns how many
/// changes were steps.
fn walk(
    (world, registries): &(World, Vec<Registry>),
    twists: &[Twist],
    forget: bool,
) -> Result<usize, TestCaseError> {
    let (answers, mut ids, mut steps) = (Answers::default(), Ids::default(), 0);
    let mut tables: Option<Tables> = None;
    for (registry, twist) in registries.iter().zip(twists.iter().cycle()) {
        let World { config, workloads, .. } = world;
        let input = Input { registry, config, workloads, answers: &answers };
        let (views, services) = seen(&input, twist);
        let mut ids_of_whole = ids.clone();
        let whole = Tables::whole(&input, &views, hosts(&services), &mut ids_of_whole);
        let Some(mut before) = tables.take() else {
            (tables, ids) = (Some(whole), ids_of_whole);
            continue;
        };
        let image_before = before.image.clone();
        let Some(operations) = before.step(&input, &views, hosts(&services), &mut ids) else {
            prop_assert_eq!(&before.image, &image_before);
            (tables, ids) = (Some(whole), ids_of_whole);
            continue;
        };
        steps += 1;
        prop_assert_eq!(&before.image, &whole.image);
        prop_assert_eq!(&before.directory, &whole.directory);
        prop_assert_eq!(&before.reports, &whole.reports);
        prop_assert_eq!(&ids, &ids_of_whole);
        prop_assert_eq!(operations, diff(&image_before, &whole.image));
        if forget {
            let forgotten = ids.forget_retired(&before.image, |subject| subject.serial() % 2 == 0);
            before.forget(forgotten);
        }
        tables = Some(before);
    }
    Ok(steps)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_step_leads_where_making_everything_anew_does(
        history in history(),
        twists in prop_oneof![Just(vec![Twist::default()]), vec(twist(), 1), vec(twist(), 2)],
        forget in any::<bool>(),
    ) {
        walk(&history, &twists, forget)?;
    }

    #[test]
    fn a_compiler_that_remembers_says_what_a_new_one_says((world, registries) in history()) {
        let answers = Answers::default();
        let mut compiler = Compiler::default();
        for registry in &registries {
            let World { config, workloads, .. } = &world;
            let input = Input { registry, config, workloads, answers: &answers };
            let mut ids = compiler.ids.clone();
            let before = compiler.image().cloned().unwrap_or_default();
            let change = compiler.update(&input);
            let compiled = compile(&input, &mut ids);
            prop_assert_eq!(compiler.image(), Some(&compiled.image));
            prop_assert_eq!(compiler.directory(), compiled.directory);
            prop_assert_eq!(compiler.reports(), compiled.reports);
            match change {
                Change::Whole(of_before) => prop_assert_eq!(of_before.map_or_else(|| before.clone(), |it| *it), before),
                Change::Steps(steps) => prop_assert_eq!(steps, diff(&before, &compiled.image)),
            }
        }
    }
}

const NAMED: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: foo, namespace: a}
spec: {hosts: [foo.bar.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS, endpoints: [{address: us.foo.bar.com}, {address: uk.foo.bar.com, ports: {http: 8080}}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vip, namespace: b}
spec: {hosts: [uk.foo.bar.com], addresses: [240.240.9.9], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: other, namespace: a}
spec: {hosts: [other.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
";

fn answers(resolved: &[(&str, &[&str])]) -> Answers {
    let page = |(name, addresses): &(&str, &[&str])| {
        let addresses = addresses.iter().map(|it| it.parse().expect("an address"));
        (host(name), addresses.collect())
    };
    Answers { resolved: resolved.iter().map(page).collect(), ..Answers::default() }
}

/// Compiles with one set of answers after the other, and anew beside each. Which were steps.
fn follow(registry: &Registry, all: &[Answers]) -> Vec<bool> {
    let (config, workloads) = (Config::offline(), one_each(&["a", "b"]));
    let mut compiler = Compiler::default();
    let mut steps = Vec::new();
    for answers in all {
        let input = Input { registry, config: &config, workloads: &workloads, answers };
        let mut ids = compiler.ids.clone();
        let before = compiler.image().cloned().unwrap_or_default();
        let change = compiler.update(&input);
        let anew = compile(&input, &mut ids);
        assert_eq!(compiler.image(), Some(&anew.image), "{answers:?}");
        assert_eq!(compiler.reports(), anew.reports, "{answers:?}");
        steps.push(match change {
            Change::Whole(_) => false,
            Change::Steps(steps) => {
                assert_eq!(steps, diff(&before, &anew.image), "{answers:?}");
                true
            }
        });
    }
    steps
}

#[test]
fn endpoints_that_move_are_a_step() {
    let history = [
        answers(&[]),
        answers(&[("us.foo.bar.com", &["192.0.2.1"])]),
        answers(&[
            ("us.foo.bar.com", &["192.0.2.1"]),
            ("uk.foo.bar.com", &["192.0.2.2", "2001:db8::2"]),
        ]),
        answers(&[
            ("us.foo.bar.com", &["127.0.0.1", "192.0.2.3"]),
            ("uk.foo.bar.com", &["192.0.2.2"]),
        ]),
        answers(&[("us.foo.bar.com", &[]), ("uk.foo.bar.com", &["192.0.2.9"])]),
        answers(&[("us.foo.bar.com", &[])]),
    ];
    assert_eq!(follow(&read(NAMED), &history), [false, true, true, true, true, true]);
    // A name that something else has as well, and an answer about a name that nobody has.
    let alias = "---\napiVersion: v1\nkind: Service\nmetadata: {name: gw, namespace: a}\nspec: {type: ExternalName, externalName: us.foo.bar.com, ports: [{port: 80}]}\n";
    let both = read(&format!("{NAMED}{alias}"));
    let nobodys = answers(&[("us.foo.bar.com", &["192.0.2.1"]), ("x.example.com", &["192.0.2.1"])]);
    let history = [history[0].clone(), history[1].clone(), nobodys];
    assert_eq!(follow(&both, &history), [false, false, true]);
}

#[test]
fn most_changes_are_steps() {
    // The property tests prove little if everything is made anew.
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let (mut changes, mut steps) = (0, 0);
    for _ in 0..100 {
        let history = history().new_tree(&mut runner).expect("a history").current();
        changes += history.1.len() - 1;
        steps += walk(&history, &[Twist::default()], false).expect("the same");
    }
    assert!(steps * 2 > changes, "{steps} of {changes}");
}

//! Workloads that come and go, against tables that are made anew.

use std::collections::{BTreeMap, BTreeSet};

use exeat_common::{
    abi::{NameValue, RuleValue, Settings, Workload as WorkloadValue},
    address::Address,
    id::{PolicyId, SubjectId},
};
use proptest::{collection::vec, prelude::*};

use crate::{
    policy::{
        answers::Answers,
        compile::{Change, Compiled, Compiler, Input, compile},
        diff::diff,
        image::{Image, WireName, prefixes_of, rules_of},
        target::Target,
        testing::{NAMESPACES, World, entries, placed, registry, world},
    },
    registry::Registry,
    workloads::PlacedWorkload,
};

/// Which of two registries there is, and which of six workloads.
type Moment = (bool, u8);

fn history() -> impl Strategy<Value = (World, [Registry; 2], Vec<Moment>)> {
    let second = entries().prop_map(registry);
    let moments = vec((prop::bool::weighted(0.2), 0..64_u8), 1..8);
    (world(), second, moments).prop_map(|(world, second, moments)| {
        let registries = [world.registry.clone(), second];
        (world, registries, moments)
    })
}

fn workloads(chosen: u8) -> Vec<PlacedWorkload> {
    let all = (0..6_u8).zip(NAMESPACES.iter().cycle());
    let chosen = all.filter(|(bit, _)| chosen >> bit & 1 == 1);
    chosen.map(|(bit, namespace)| placed(u64::from(bit) + 1, namespace, bit == 5)).collect()
}

/// What is enforced on whom, in words: whatever the numbers of policies, targets and subjects are.
#[derive(Debug, PartialEq)]
struct Meaning {
    enforced: BTreeMap<(bool, u64), Hold>,
    names: BTreeMap<WireName, (String, String, u32)>,
    internal: BTreeMap<(Address, u8), String>,
    settings: Option<Settings>,
}

type Rules = BTreeMap<(String, u16, u8, u8), (RuleValue, Option<Target>)>;
type Hold = (WorkloadValue, Option<Target>, Rules, BTreeMap<(Address, u8), String>);

impl Meaning {
    /// Left out are rules of subjects to which no flow leads: they stand there for subjects that are
    /// retired, which those of a policy that nobody has are not yet.
    fn of(compiled: &Compiled, led_to: &BTreeSet<String>) -> Self {
        let image = &compiled.image;
        let word = |subject: SubjectId| word(compiled, subject);
        let target = |number: u32| image.targets.get(&number).cloned();
        let prefixes = |policy| -> BTreeMap<_, _> {
            let prefixes = image.prefixes.range(prefixes_of(policy));
            prefixes.map(|(it, subject)| ((it.address, it.bits), word(*subject))).collect()
        };
        let hold = |value: &WorkloadValue| {
            let rules = image.rules.range(rules_of(value.policy)).map(|(key, rule)| {
                let key = (word(key.subject), key.port, key.protocol, key.kind);
                (key, (RuleValue { target: 0, ..*rule }, target(rule.target)))
            });
            let anonymous =
                WorkloadValue { policy: PolicyId::INTERNAL, default_target: 0, ..*value };
            let rules = rules.filter(|((subject, ..), _)| led_to.contains(subject)).collect();
            // What a prefix leads to has a name where another policy speaks of it. Without rules it
            // is nothing either way.
            let with_rules: BTreeSet<String> = image
                .rules
                .range(rules_of(value.policy))
                .map(|(key, _)| word(key.subject))
                .collect();
            let mut prefixes = prefixes(value.policy);
            for subject in prefixes.values_mut().filter(|it| !with_rules.contains(*it)) {
                "nothing".clone_into(subject);
            }
            (anonymous, target(value.default_target), rules, prefixes)
        };
        let by_cgroup = image.by_cgroup.iter().map(|(id, value)| ((true, *id), hold(value)));
        let by_ifindex = image.by_ifindex.iter();
        let by_ifindex = by_ifindex.map(|(index, value)| ((false, u64::from(*index)), hold(value)));
        let name = |value: &NameValue| (word(value.exact), word(value.wildcard), value.flags);
        Self {
            enforced: by_cgroup.chain(by_ifindex).collect(),
            names: image.names.iter().map(|(wire, value)| (wire.clone(), name(value))).collect(),
            internal: prefixes(PolicyId::INTERNAL),
            settings: image.settings,
        }
    }
}

fn word(compiled: &Compiled, subject: SubjectId) -> String {
    if !subject.is_some() || subject == SubjectId::ANYWHERE {
        return format!("{subject:?}");
    }
    format!("{:?}", compiled.directory.subjects.get(&subject))
}

/// All subjects that a flow may lead to.
fn led_to(compiled: &Compiled) -> BTreeSet<String> {
    let names = compiled.image.names.values().flat_map(|value| [value.exact, value.wildcard]);
    let prefixes = compiled.image.prefixes.values().copied();
    let all = names.chain(prefixes).chain([SubjectId::ANYWHERE]);
    all.map(|subject| word(compiled, subject)).collect()
}

fn check(compiler: &Compiler, whole: &Compiled) -> Result<(), TestCaseError> {
    let (stepped, led_to) = (compiler.compiled(), led_to(whole));
    prop_assert_eq!(Meaning::of(&stepped, &led_to), Meaning::of(whole, &led_to));
    prop_assert_eq!(compiler.reports(), whole.reports.clone());
    let known = |compiled: &Compiled| -> BTreeMap<_, _> {
        let workloads = compiled.directory.workloads();
        workloads.map(|(id, known)| (id, known.key.clone())).collect()
    };
    prop_assert_eq!(known(&stepped), known(whole));
    Ok(())
}

/// Returns how many changes there were, and how many of them took steps.
fn walk(
    (world, registries, moments): &(World, [Registry; 2], Vec<Moment>),
) -> Result<(usize, usize), TestCaseError> {
    let answers = Answers::default();
    let mut compiler = Compiler::default();
    let (mut changes, mut steps) = (0, 0);
    let mut installed = Image::default();
    for (is_second, chosen) in moments {
        let workloads = workloads(*chosen);
        let registry = &registries[usize::from(*is_second)];
        let input =
            Input { registry, config: &world.config, workloads: &workloads, answers: &answers };
        let mut ids = compiler.ids.clone();
        let change = compiler.update(&input);
        let whole = compile(&input, &mut ids);
        let desired = compiler.image().expect("tables").clone();
        changes += 1;
        match change {
            Change::Whole(before) => {
                prop_assert_eq!(before.map(|it| *it).unwrap_or_default(), installed);
            }
            Change::Steps(operations) => {
                steps += 1;
                installed.apply(&operations);
                prop_assert_eq!(&installed, &desired);
            }
        }
        let led_to = led_to(&whole);
        let meant = Meaning::of(&compiler.compiled(), &led_to).enforced;
        prop_assert_eq!(meant, Meaning::of(&whole, &led_to).enforced);
        installed = desired;
        if chosen % 3 == 0 {
            if let Some(Change::Whole(Some(before))) = compiler.settle() {
                prop_assert_eq!(&*before, &installed);
                let settled = compiler.image().expect("tables").clone();
                installed.apply(&diff(&before, &settled));
                prop_assert_eq!(&installed, &settled);
            }
            prop_assert_eq!(compiler.settle(), None);
            check(&compiler, &whole)?;
            let in_use: BTreeSet<PolicyId> =
                installed.by_cgroup.values().map(|value| value.policy).collect();
            let leftover = installed.rules.keys().find(|key| !in_use.contains(&key.policy));
            prop_assert_eq!(leftover, None);
        }
    }
    Ok((changes, steps))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn workloads_that_come_and_go_are_enforced_as_if_all_was_made_anew(history in history()) {
        walk(&history)?;
    }
}

#[test]
fn most_workloads_come_and_go_in_steps() {
    // The property tests prove little if everything is made anew.
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let (mut changes, mut steps) = (0, 0);
    for _ in 0..100 {
        let history = history().new_tree(&mut runner).expect("a history").current();
        let (of_these, in_steps) = walk(&history).expect("the same");
        (changes, steps) = (changes + of_these, steps + in_steps);
    }
    assert!(steps * 4 > changes, "{steps} of {changes}");
}

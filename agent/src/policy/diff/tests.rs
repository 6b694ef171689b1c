//! Properties of the way between two images, over a small world where things collide.

use exeat_common::{
    abi::{RuleValue, action},
    decide::Decision,
    id::SubjectId,
    reason::Verdict,
};
use proptest::{collection::vec, prelude::*};

use super::{diff, diff_within};
use crate::policy::{
    compile::{Input, compile},
    ids::Ids,
    image::{Image, MapOp},
    testing::{Attempt, World, attempt, judge, match_name, world},
};

fn image(world: &World, ids: &mut Ids) -> Image {
    let input = Input {
        registry: &world.registry,
        config: &world.config,
        workloads: &world.workloads,
    };
    compile(&input, ids).image
}

/// Images of two worlds, compiled one after the other, with a third before them so that subjects
/// have retired, and sometimes a restart between them.
fn images(before: &World, from: &World, to: &World, restart: bool) -> (Image, Image) {
    let mut ids = Ids::default();
    image(before, &mut ids);
    let from = image(from, &mut ids);
    if restart {
        ids = Ids::seeded(&from);
    }
    let to = image(to, &mut ids);
    (from, to)
}

/// Turns some rules into redirects, which the compiler does not make yet.
fn with_redirects(image: &mut Image, bits: u64) {
    for (index, (key, value)) in image.rules.iter_mut().enumerate() {
        if !key.subject.is_prefix() && bits >> (index % 61) & 1 == 1 {
            *value = RuleValue {
                action: action::REDIRECT,
                target: u32::try_from(index).expect("few rules"),
                ..RuleValue::ALLOW
            };
        }
    }
}

fn without_generation(mut image: Image) -> Image {
    if let Some(settings) = &mut image.settings {
        settings.generation = 0;
    }
    image
}

/// Walks the operations and hands every attempt at every step to `check`, with the verdicts of
/// both ends.
fn walk(
    (from, to): (&Image, &Image),
    operations: &[MapOp],
    attempts: &[Attempt],
    check: impl Fn(Decision, Decision, Decision) -> bool,
) -> Result<(), TestCaseError> {
    let mut now = from.clone();
    for step in 0..=operations.len() {
        if let Some(operation) = step.checked_sub(1).and_then(|it| operations.get(it)) {
            now.apply(std::slice::from_ref(operation));
        }
        for attempt in attempts {
            // Told before it began, or just now.
            for told_by in [from, &now] {
                let names = attempt.names.iter();
                let patterns: Vec<SubjectId> =
                    names.map(|name| match_name(told_by, name)).collect();
                let [a, b, got] = [from, to, &now].map(|it| judge(it, attempt, &patterns));
                prop_assert!(
                    check(a, b, got),
                    "after step {step} {:?}: {attempt:?} told {patterns:?}\ninstalled {a:?}\ndesired {b:?}\ngot {got:?}\n{operations:#?}",
                    step.checked_sub(1).and_then(|it| operations.get(it)),
                );
            }
        }
    }
    prop_assert_eq!(without_generation(now), without_generation(to.clone()));
    Ok(())
}

fn same(a: Decision, b: Decision) -> bool {
    a.verdict == b.verdict && a.target == b.target
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Every verdict on the way is that of the installed or of the desired tables. So nothing is
    /// allowed that neither allows, and nothing is denied that both allow.
    #[test]
    fn every_step_judges_as_one_of_the_ends(
        before in world(),
        from in world(),
        to in world(),
        restart in any::<bool>(),
        redirects in prop_oneof![Just((0, 0)), any::<(u64, u64)>()],
        attempts in vec(attempt(), 24),
    ) {
        let (mut from, mut to) = images(&before, &from, &to, restart);
        with_redirects(&mut from, redirects.0);
        with_redirects(&mut to, redirects.1);
        let operations = diff(&from, &to);
        walk((&from, &to), &operations, &attempts, |a, b, got| same(a, got) || same(b, got))?;
    }

    /// Where the table cannot hold both, at least nothing is allowed that neither allows.
    #[test]
    fn a_crowded_table_is_never_more_open(
        before in world(),
        from in world(),
        to in world(),
        attempts in vec(attempt(), 24),
    ) {
        let (from, to) = images(&before, &from, &to, false);
        let operations = diff_within(&from, &to, 0);
        walk((&from, &to), &operations, &attempts, |a, b, got| {
            got.verdict == Verdict::Deny || a.verdict != Verdict::Deny || b.verdict != Verdict::Deny
        })?;
    }

    #[test]
    fn nothing_to_do_is_nothing_done(only in world()) {
        let mut ids = Ids::default();
        let image_of = image(&only, &mut ids);
        prop_assert_eq!(diff(&image_of, &image_of), []);
        prop_assert_eq!(diff(&image_of, &image(&only, &mut ids)), []);
        // Nor after a restart.
        prop_assert_eq!(diff(&image_of, &image(&only, &mut Ids::seeded(&image_of))), []);
    }

    #[test]
    fn from_nothing_and_to_nothing(only in world()) {
        let compiled = image(&only, &mut Ids::default());
        let mut now = Image::default();
        now.apply(&diff(&Image::default(), &compiled));
        prop_assert_eq!(&now, &compiled);
        now.apply(&diff(&compiled, &Image::default()));
        now.settings = None;
        prop_assert_eq!(now, Image::default());
    }
}

//! Properties of the way between two images, over a small world where things collide.

use std::collections::BTreeMap;

use exeat_common::{
    abi::{RuleKey, RuleValue, action},
    decide::Decision,
    id::{PolicyId, SubjectId},
    reason::Verdict,
};
use proptest::{collection::vec, prelude::*};

use super::{diff, diff_within};
use crate::policy::{
    answers::Answers,
    compile::{Compiled, Input, compile},
    ids::Ids,
    image::{Image, MapOp},
    testing::{Attempt, World, attempt, judge, match_name, resolves, world},
};

/// The tables of a world. Entries whose number is in `redirected` redirect what they allow by
/// name, which the compiler does not make yet.
fn image(world: &World, ids: &mut Ids, redirected: u16) -> Image {
    let input = Input {
        registry: &world.registry,
        config: &world.config,
        workloads: &world.workloads,
        answers: &Answers::default(),
    };
    let Compiled { mut image, directory, .. } = compile(&input, ids);
    let mut marks: BTreeMap<(PolicyId, SubjectId), RuleValue> = BTreeMap::new();
    for (key, value) in &mut image.rules {
        let grant = directory.grant(key.policy, key.subject, key.port, key.protocol);
        let Some(grant) = grant.filter(|_| !key.subject.is_prefix()) else {
            continue;
        };
        let number: u32 = grant.entry.name[1..].parse().expect("a number");
        if value.action == action::ALLOW && redirected >> number & 1 == 1 {
            value.action = action::REDIRECT;
            value.target = number + 1;
        }
        let mark = marks.entry((key.policy, key.subject)).or_insert(*value);
        if mark.action != action::ALLOW {
            *mark = *value;
        }
    }
    for ((policy, subject), mark) in marks {
        image.rules.insert(RuleKey::grant(policy, subject), mark);
    }
    image
}

/// Images of two worlds, compiled one after the other, with a third before them so that subjects
/// have retired, and sometimes a restart between them.
fn images(
    before: &World,
    from: &World,
    to: &World,
    restart: bool,
    redirected: (u16, u16),
) -> (Image, Image) {
    let mut ids = Ids::default();
    image(before, &mut ids, 0);
    let from = image(from, &mut ids, redirected.0);
    if restart {
        ids = Ids::seeded(&from);
    }
    let to = image(to, &mut ids, redirected.1);
    (from, to)
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
    is_crowded: bool,
    check: impl Fn(&[Decision], Decision) -> bool,
) -> Result<(), TestCaseError> {
    let mut now = from.clone();
    for step in 0..=operations.len() {
        if let Some(operation) = step.checked_sub(1).and_then(|it| operations.get(it)) {
            now.apply(std::slice::from_ref(operation));
        }
        for attempt in attempts {
            for name in &attempt.names {
                let [a, b, got] = [from, to, &now].map(|it| resolves(it, attempt.cgroup, name));
                prop_assert!(
                    got == a || got == b || !got && is_crowded,
                    "after step {step}: {} asks for {name}: {a} {b} {got}\n{operations:#?}",
                    attempt.cgroup,
                );
            }
            // Told before it began, or just now.
            let told = |image: &Image| -> Vec<SubjectId> {
                let names = attempt.names.iter();
                names.map(|name| match_name(image, name)).collect()
            };
            let a = judge(from, attempt, &told(from));
            // A pattern on the way has the rank of the new name and the rules of the old one, so
            // between two names of one address the other may win. Each alone is as it should be.
            let told_now = (attempt.names.len() == 1).then(|| told(&now));
            for patterns in [Some(told(from)), told_now].into_iter().flatten() {
                let got = judge(&now, attempt, &patterns);
                // The desired tables answer to what was told before, and to what they tell.
                let ends = [a, judge(to, attempt, &patterns), judge(to, attempt, &told(to))];
                prop_assert!(
                    check(&ends, got),
                    "after step {step}: {attempt:?} told {patterns:?}\nends {ends:?}\ngot {got:?}\n{operations:#?}",
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
        redirected in prop_oneof![Just((0, 0)), any::<(u16, u16)>()],
        attempts in vec(attempt(), 12),
    ) {
        let (from, to) = images(&before, &from, &to, restart, redirected);
        let operations = diff(&from, &to);
        walk((&from, &to), &operations, &attempts, false, |ends, got| ends.iter().any(|end| same(*end, got)))?;
    }

    /// Where the table cannot hold both, at least nothing is allowed that neither allows.
    #[test]
    fn a_crowded_table_is_never_more_open(
        before in world(),
        from in world(),
        to in world(),
        attempts in vec(attempt(), 12),
    ) {
        let (from, to) = images(&before, &from, &to, false, (0, 0));
        let operations = diff_within(&from, &to, 0);
        walk((&from, &to), &operations, &attempts, true, |ends, got| {
            got.verdict == Verdict::Deny || ends.iter().any(|end| end.verdict != Verdict::Deny)
        })?;
    }

    #[test]
    fn nothing_to_do_is_nothing_done(only in world()) {
        let mut ids = Ids::default();
        let image_of = image(&only, &mut ids, 0);
        prop_assert_eq!(diff(&image_of, &image_of), []);
        prop_assert_eq!(diff(&image_of, &image(&only, &mut ids, 0)), []);
        // Nor after a restart.
        prop_assert_eq!(diff(&image_of, &image(&only, &mut Ids::seeded(&image_of), 0)), []);
    }

    #[test]
    fn from_nothing_and_to_nothing(only in world()) {
        let compiled = image(&only, &mut Ids::default(), 0);
        let mut now = Image::default();
        now.apply(&diff(&Image::default(), &compiled));
        prop_assert_eq!(&now, &compiled);
        now.apply(&diff(&compiled, &Image::default()));
        now.settings = None;
        prop_assert_eq!(now, Image::default());
    }
}

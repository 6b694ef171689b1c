//! Properties of the way between two images, over a small world where things collide.

use exeat_common::{
    abi::{action, mode},
    decide::Decision,
    id::SubjectId,
    reason::Verdict,
};
use proptest::{collection::vec, prelude::*};

use super::{diff, diff_within};
use crate::policy::{
    ids::Ids,
    image::{Image, MapOp},
    testing::{
        Attempt, Twist, World, attempt, compile_world, judge, match_name, resolves, twist, world,
    },
};

fn image(world: &World, twist: &Twist, ids: &mut Ids) -> Image {
    compile_world(world, twist, ids).image
}

/// Images of two worlds, compiled one after the other, with a third before them so that subjects
/// have retired, and sometimes a restart between them.
fn images(
    before: &World,
    from: &(World, Twist),
    to: &(World, Twist),
    restart: bool,
) -> (Image, Image) {
    let mut ids = Ids::default();
    image(before, &Twist::default(), &mut ids);
    let from = image(&from.0, &from.1, &mut ids);
    if restart {
        ids = Ids::seeded(&from);
    }
    let to = image(&to.0, &to.1, &mut ids);
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
        prop_assert!(names_no_missing_target(&now), "after step {step}\n{operations:#?}");
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

fn names_no_missing_target(image: &Image) -> bool {
    let rules = image.rules.values().filter(|rule| rule.action == action::REDIRECT);
    let workloads = image.by_cgroup.values().filter(|workload| workload.mode == mode::GATEWAY);
    let rules = rules.map(|rule| rule.target);
    let mut named = rules.chain(workloads.map(|workload| workload.default_target));
    named.all(|number| image.targets.contains_key(&number))
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
        from in (world(), twist()),
        to in (world(), twist()),
        restart in any::<bool>(),
        attempts in vec(attempt(), 12),
    ) {
        let (from, to) = images(&before, &from, &to, restart);
        let operations = diff(&from, &to);
        walk((&from, &to), &operations, &attempts, false, |ends, got| ends.iter().any(|end| same(*end, got)))?;
    }

    /// Where the table cannot hold both, at least nothing is allowed that neither allows.
    #[test]
    fn a_crowded_table_is_never_more_open(
        before in world(),
        from in (world(), twist()),
        to in (world(), twist()),
        attempts in vec(attempt(), 12),
    ) {
        let (from, to) = images(&before, &from, &to, false);
        let operations = diff_within(&from, &to, 0);
        walk((&from, &to), &operations, &attempts, true, |ends, got| {
            got.verdict == Verdict::Deny || ends.iter().any(|end| end.verdict != Verdict::Deny)
        })?;
    }

    #[test]
    fn nothing_to_do_is_nothing_done(only in world(), twist in twist()) {
        let mut ids = Ids::default();
        let image_of = image(&only, &twist, &mut ids);
        prop_assert_eq!(diff(&image_of, &image_of), []);
        prop_assert_eq!(diff(&image_of, &image(&only, &twist, &mut ids)), []);
        // Nor after a restart.
        let again = image(&only, &twist, &mut Ids::seeded(&image_of));
        prop_assert_eq!(diff(&image_of, &again), []);
    }

    #[test]
    fn from_nothing_and_to_nothing(only in world(), twist in twist()) {
        let compiled = image(&only, &twist, &mut Ids::default());
        let mut now = Image::default();
        now.apply(&diff(&Image::default(), &compiled));
        prop_assert_eq!(&now, &compiled);
        now.apply(&diff(&compiled, &Image::default()));
        now.settings = None;
        prop_assert_eq!(now, Image::default());
    }
}

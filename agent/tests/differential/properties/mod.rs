//! What holds for every registry, whatever it declares: one property a file, over random worlds.
//! `EXEAT_PROPERTY_TIMES` makes them try as many times more seeds.

mod apart;
mod claims;
mod declared;
mod narrowing;
mod order;
mod refused;
mod setting;
mod together;
mod way;

use std::{collections::BTreeMap, env};

/// How often each thing was seen.
type Tally = BTreeMap<String, usize>;

/// Tries the seeds from 0 on, `cases` of them. `check` counts what it saw, and says what is wrong.
#[track_caller]
fn each_seed(cases: u64, check: impl Fn(u64, &mut Tally) -> Result<(), String>) -> Tally {
    let times = env::var("EXEAT_PROPERTY_TIMES").map_or(1, |it| it.parse().expect("a number"));
    let mut tally = Tally::new();
    for seed in 0..cases * times {
        if let Err(wrong) = check(seed, &mut tally) {
            panic!("seed {seed}: {wrong}");
        }
    }
    println!("{tally:#?}");
    tally
}

fn count(tally: &mut Tally, what: impl Into<String>) {
    *tally.entry(what.into()).or_default() += 1;
}

/// A property that was hardly tried shows nothing.
#[track_caller]
fn assert_seen(tally: &Tally, what: &[(&str, usize)]) {
    for (what, least) in what {
        let seen = tally.get(*what).copied().unwrap_or(0);
        assert!(seen >= *least, "{what}: {seen}, and {least} are wanted: {tally:#?}");
    }
}

//! Promise 2, in short. `cargo xtask test rounds` plays twenty thousand rounds.

#![cfg(test)]

use exeat_tests::rounds::play;

#[test]
fn no_first_connect_fails_whatever_becomes_of_the_agent() {
    let rounds = play("rounds", 100).unwrap();
    println!("{rounds}");
    assert_eq!(rounds.attempts(), 800);
    assert!(rounds.faults().is_empty(), "{:?}\n{rounds}", rounds.faults());
}

//! Promise 1 over every way out that we know of: the leak matrix, which `cargo xtask test leaks`
//! prints.

#![cfg(test)]

use exeat_tests::leaks::{self, Verdict};

#[test]
fn nothing_leaks_and_what_is_allowed_arrives() {
    let findings = leaks::play(|_| {}).expect("the matrix is played to its end");
    let failed = findings.iter().filter(|it| it.verdict != Verdict::Held).count();
    assert_eq!(failed, 0, "\n{}", leaks::table(&findings));
}

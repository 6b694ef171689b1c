//! `ci`: every check, cheapest first; the continuous integration runs this and nothing else.

use std::process::Command;

use anyhow::Result;

use crate::{fuzz, manifests, run, stages::Stages, test, tidy};

/// The checks that are one cargo call each.
const CARGO_STAGES: [(&str, &[&str]); 3] = [
    ("format", &["fmt", "--all", "--check"]),
    ("clippy", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ("docs", &["doc", "--workspace", "--no-deps", "--document-private-items"]),
];

/// Long enough to see that the seeds and what lies near them hold: half a minute for each target.
const FUZZ_SECONDS: u32 = 60;

/// Runs all stages; the first failure ends it and names the command that repeats it alone.
pub(crate) fn ci() -> Result<()> {
    let mut stages = Stages::default();
    stages.run("tidy", "cargo xtask tidy", || tidy::tidy().map(|()| ok()))?;
    stages.run("manifests", "cargo xtask manifests", || manifests::manifests().map(|()| ok()))?;
    for (name, arguments) in CARGO_STAGES {
        let mut cargo = run::cargo();
        cargo.args(arguments);
        let mut alone = format!("cargo {}", arguments.join(" "));
        if name == "docs" {
            deny_doc_warnings(&mut cargo);
            alone.insert_str(0, "RUSTDOCFLAGS=-Dwarnings ");
        }
        stages.run(name, &alone, || run::run(&mut cargo).map(|()| ok()))?;
    }
    stages
        .run("test", "cargo xtask test", || test::test(&test::Options::default()).map(|()| ok()))?;
    stages.run("fuzz", "cargo xtask fuzz", || {
        fuzz::fuzz(&fuzz::Options::everything_again(FUZZ_SECONDS)).map(|()| ok())
    })?;
    stages.print();
    Ok(())
}

fn ok() -> String {
    "ok".to_owned()
}

fn deny_doc_warnings(cargo: &mut Command) {
    cargo.env("RUSTDOCFLAGS", "-Dwarnings");
}

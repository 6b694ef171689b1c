//! The command line as a whole.

use anyhow::{Context as _, anyhow};
use clap::{CommandFactory as _, Parser as _};

use super::{Cli, sentence};

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[track_caller]
fn check(line: &str, is_valid: bool) {
    let parsed = Cli::try_parse_from(line.split_whitespace());
    assert_eq!(parsed.is_ok(), is_valid, "{line}: {parsed:?}");
    if let Err(error) = parsed {
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn what_can_be_asked() {
    check("exeat run --config a.yaml --log-format json", true);
    check("exeat run", false);
    check("exeat status -o json --socket /s", true);
    check("exeat status -o xml", false);
    check("exeat flows --follow --denied --socket /s", true);
    check("exeat suggest --namespace shop --socket /s -o json", true);
    check("exeat suggest --from - ", true);
    check("exeat suggest --from a --socket /s", false);
    check("exeat cleanup --config a.yaml", true);
    check("exeat cleanup --pin-path /p", true);
    check("exeat cleanup --config a.yaml --pin-path /p", false);
    check("exeat check a.yaml b", true);
    check("exeat check", false);
    check("exeat explain", false);
    let explain = "exeat explain --registry a.yaml b --namespace shop";
    check(&format!("{explain} --host a.b --port 443 --proto udp --label a=b --label c="), true);
    check(&format!("{explain} --ip ::1 --port 443 --sidecar --ambient -o json"), true);
    check(&format!("{explain} --ip ::1 --host a.b --port 443 --config c --mode ALLOW_ANY"), true);
    check(&format!("{explain} --host a.b --port 443 --resolve a.b=192.0.2.1"), true);
    check(&format!("{explain} --port 443"), false);
    check(&format!("{explain} --ip ::1"), false);
    check(&format!("{explain} --ip ::1 --port 0"), false);
    check(&format!("{explain} --ip a.b --port 443"), false);
    check(&format!("{explain} --host *.b --port 443"), false);
    check(&format!("{explain} --ip ::1 --port 443 --label a"), false);
    check(&format!("{explain} --ip ::1 --port 443 --proto icmp"), false);
    check("exeat explain --namespace shop --ip ::1 --port 443", false);
    check("exeat explain --registry a --ip ::1 --port 443", false);
    check("exeat test a.yaml b -o json", true);
    check("exeat test", false);
    check("exeat", false);
}

#[test]
fn an_error_is_one_sentence_that_repeats_nothing() {
    let inner = anyhow!("permission denied\n  at line 3");
    let error = inner.context("read /a: permission denied\n  at line 3").context("start");
    assert_eq!(sentence(&error), "start: read /a: permission denied at line 3");
    let other = Err::<(), _>(anyhow!("b")).context("a").expect_err("an error");
    assert_eq!(sentence(&other), "a: b");
}

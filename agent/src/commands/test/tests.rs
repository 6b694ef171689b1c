//! The promised JSON, the counts, and what people see.

use std::{fs, path::PathBuf};

use clap::Parser as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{run, test, text};
use crate::commands::{Cli, Command, Exit, sentence};

const ENTRY: &str = "
- apiVersion: networking.istio.io/v1
  kind: ServiceEntry
  metadata: {name: api, namespace: shop}
  spec: {hosts: [api.example.com], ports: [{number: 443, name: tls, protocol: TLS}]}";

const GOOD: &str = "
- {client: {namespace: shop}, dns: api.example.com, dest: {ip: 192.0.2.1, port: 443, proto: tcp}, verdict: allow}";
const WRONG: &str = "
- {client: {namespace: shop, labels: {app: web}, sidecar: true}, dns: null, dest: {ip: 192.0.2.1, port: 443, proto: tcp}, verdict: allow, why: a wish}";
const UNBUILT: &str = "
- {client: {namespace: shop}, dns: null, sni: api.example.com, dest: {ip: 192.0.2.1, port: 443, proto: tcp}, verdict: allow, requires: [sni-peek]}";

fn case(parts: &[&str]) -> String {
    format!("title: A case\nregistry:{ENTRY}\nexpect:{}\n", parts.concat())
}

fn folder(files: &[(&str, String)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in files {
        fs::write(folder.path().join(name), content).expect("write");
    }
    folder
}

fn paths(folder: &TempDir) -> Vec<PathBuf> {
    vec![folder.path().to_owned()]
}

#[test]
fn json_has_the_promised_shape() {
    let folder = folder(&[("a.yaml", case(&[GOOD, WRONG, UNBUILT])), ("b.yaml", case(&[GOOD]))]);
    let tested = run(&paths(&folder)).expect("readable");
    let value = serde_json::to_value(&tested).expect("plain data");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let expected = json!({
        "passed": 2, "failed": 1, "skipped": 1,
        "files": [
            {
                "file": file("a.yaml"), "passed": 1, "failed": 1, "skipped": 1,
                "mismatches": [{
                    "case": "A case",
                    "flow": 1,
                    "what": "verdict",
                    "expected": "allow",
                    "got": "deny (not-registered: no entry declares this address, and no trusted DNS answer tied a declared name to it)",
                    "why": "a wish",
                    "client": "shop app=web sidecar",
                    "dns": null,
                    "dest": "192.0.2.1:443/tcp",
                }],
            },
            {"file": file("b.yaml"), "passed": 1, "failed": 0, "skipped": 0, "mismatches": []},
        ],
    });
    assert_eq!(value, expected);
}

#[test]
fn an_object_that_is_not_as_expected_is_a_failure_without_a_flow() {
    let reject = "reject: [{kind: ServiceEntry, namespace: shop, name: api, code: E-PORT-NAME, reason: a wish}]\n";
    let folder = folder(&[("a.yaml", case(&[GOOD]) + reject)]);
    let tested = run(&paths(&folder)).expect("readable");
    let value = serde_json::to_value(&tested).expect("plain data");
    let expected = json!({
        "case": "A case", "flow": null, "what": "reject",
        "expected": "ServiceEntry/shop/api E-PORT-NAME",
        "got": "ServiceEntry/shop/api not refused", "why": "a wish",
    });
    assert_eq!(value["files"][0]["mismatches"], Value::Array(vec![expected]));
    assert_eq!((tested.passed, tested.failed), (1, 1));
}

#[test]
fn text_says_what_failed_and_why() {
    let folder = folder(&[("a.yaml", case(&[GOOD, WRONG])), ("b.yaml", case(&[GOOD, UNBUILT]))]);
    let tested = run(&paths(&folder)).expect("readable");
    let plain = anstream::adapter::strip_str(&text(&tested)).to_string();
    let plain = plain.replace(&folder.path().display().to_string(), "");
    let expected = "\
FAILED  /a.yaml  1 passed, 1 failed
    A case, flow 1: shop app=web sidecar -> no name, 192.0.2.1:443/tcp
      verdict  expected  allow
               got       deny (not-registered: no entry declares this address, and no trusted DNS answer tied a declared name to it)
               why       a wish
ok      /b.yaml  1 passed, 1 skipped

2 files, 2 passed, 1 failed, 1 skipped: FAILED";
    assert_eq!(plain, expected);
}

#[track_caller]
fn check_exit(files: &[(&str, String)], expected: Exit, error: &str) {
    let folder = folder(files);
    let path = folder.path().display().to_string();
    let line = ["exeat", "test", path.as_str()];
    let cli = Cli::try_parse_from(line).expect("a valid line");
    let Command::Test(args) = cli.command else { panic!("another command") };
    match test(&args) {
        Ok(exit) => {
            assert_eq!(exit, expected);
            assert_eq!(error, "");
        }
        Err(failure) => {
            assert_eq!(failure.exit, expected, "{:?}", failure.error);
            let sentence = sentence(&failure.error);
            assert!(!error.is_empty() && sentence.contains(error), "{sentence}");
        }
    }
}

#[test]
fn exit_codes() {
    check_exit(&[("a.yaml", case(&[GOOD, UNBUILT]))], Exit::Good, "");
    check_exit(&[("a.yaml", case(&[WRONG])), ("b.yaml", case(&[GOOD]))], Exit::Found, "");
    check_exit(&[], Exit::Usage, "no *.yaml");
    check_exit(&[("readme.md", String::new())], Exit::Usage, "no *.yaml");
    let misspelt = case(&[GOOD]).replace("verdict", "verdikt");
    check_exit(
        &[("a.yaml", case(&[WRONG])), ("b.yaml", misspelt)],
        Exit::Usage,
        "b.yaml: `expect[0].verdikt`: unknown field `verdikt`",
    );
}

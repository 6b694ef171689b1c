//! What is said of one flow, and what the command ends with.

use std::fs;

use clap::Parser as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{ExplainArgs, judge, text::text};
use crate::commands::{Cli, Command, Exit, sentence};

const REGISTRY: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api, namespace: shop}
spec:
  hosts: [api.example.com]
  ports: [{number: 443, name: tls, protocol: TLS}, {number: 8443, name: tls-alt, protocol: TLS}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: private, namespace: shop}
spec:
  hosts: ['*.private.example.com']
  exportTo: ['.']
  ports: [{number: 443, name: tls, protocol: TLS}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: shop}
spec:
  hosts: [db.example.com]
  addresses: [198.51.100.0/24]
  ports: [{number: 5432, name: tcp, protocol: TCP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: gone, namespace: shop}
spec:
  hosts: [gone.example.com]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: STATIC
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: named, namespace: shop}
spec:
  hosts: [named.example.com]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: DNS
  endpoints: [{address: us.example.net}, {address: uk.example.net}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: broken, namespace: shop}
spec: {hosts: []}
";

fn registry() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("a.yaml"), REGISTRY).expect("write");
    folder
}

#[track_caller]
fn args(folder: &TempDir, line: &str) -> ExplainArgs {
    let path = folder.path().display().to_string();
    let start = ["exeat", "explain", "--registry", path.as_str()];
    let line = start.into_iter().chain(line.split_whitespace());
    let Command::Explain(args) = Cli::try_parse_from(line).expect("a valid line").command else {
        panic!("another command")
    };
    args
}

/// The explanation as JSON, and as plain text.
#[track_caller]
fn explain(line: &str) -> (Value, String) {
    let folder = registry();
    let explanation = judge(&args(&folder, line)).expect("readable");
    let plain = anstream::adapter::strip_str(&text(&explanation)).to_string();
    (serde_json::to_value(&explanation).expect("plain data"), plain)
}

#[test]
fn an_allowed_flow() {
    let (value, plain) = explain("--namespace x --host API.example.com --ip 192.0.2.7 --port 443");
    let mut keys: Vec<&str> =
        value.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    let expected = [
        "destination",
        "entry",
        "missing",
        "nearest",
        "notes",
        "path",
        "reason",
        "rewrite",
        "sentence",
        "step",
        "subject",
        "verdict",
        "via",
    ];
    assert_eq!(keys, expected);
    assert_eq!(value["verdict"], "allow");
    assert_eq!(value["step"], 4);
    let entry = json!({"kind": "ServiceEntry", "namespace": "shop", "name": "api"});
    assert_eq!(value["entry"], entry);
    let destination =
        json!({"host": "API.example.com", "ip": "192.0.2.7", "port": 443, "protocol": "tcp"});
    assert_eq!(value["destination"], destination);
    let states: Vec<&str> = value["path"]
        .as_array()
        .expect("steps")
        .iter()
        .map(|step| step["state"].as_str().expect("a state"))
        .collect();
    assert_eq!(states, ["passed", "passed", "passed", "decided", "not-reached"]);
    assert_eq!(value["missing"], Value::Null);
    assert!(plain.starts_with("allow  API.example.com 192.0.2.7 port 443/tcp: "), "{plain}");
    assert!(plain.contains("  entry     ServiceEntry/shop/api\n"), "{plain}");
}

#[track_caller]
fn check_missing(line: &str, what: &str, words: &[&str]) {
    let (value, plain) = explain(line);
    assert_eq!(value["verdict"], "deny", "{plain}");
    assert_eq!(value["missing"]["what"], what, "{plain}");
    for word in words {
        assert!(plain.contains(word), "{word}: {plain}");
    }
}

#[test]
fn what_a_denied_flow_lacks() {
    check_missing(
        "--namespace x --host api.example.com --port 80",
        "port",
        &["declares 443/tcp, 8443/tcp for this workload, not 80/tcp", "documentation address"],
    );
    check_missing(
        "--namespace x --host www.example.com --port 443",
        "host",
        &["no entry declares the host www.example.com", "NXDOMAIN"],
    );
    check_missing(
        "--namespace x --host a.private.example.com --port 443",
        "visibility",
        &["*.private.example.com (ServiceEntry/shop/private)", "namespace x do not see"],
    );
    check_missing("--namespace x --ip 192.0.2.7 --port 443", "address", &["192.0.2.7"]);
    check_missing(
        "--namespace x --host db.example.com --ip 192.0.2.7 --port 5432",
        "address-of-entry",
        &["db.example.com (ServiceEntry/shop/db)", "by its addresses"],
    );
    check_missing(
        "--namespace x --host api.example.com --ip 169.254.169.254 --port 443",
        "public-address",
        &["169.254.169.254 is internal"],
    );
    check_missing(
        "--namespace x --host gone.example.com --port 443",
        "enforceable",
        &["deny", "no-upstream", "ServiceEntry/shop/gone"],
    );
}

#[test]
fn names_of_endpoints_are_not_asked_and_that_is_said() {
    let line = "--namespace x --host named.example.com --port 443";
    check_missing(line, "enforceable", &["us.example.net", "--resolve uk.example.net=ADDRESS"]);
    let (value, _) = explain(&format!("{line} --resolve us.example.net=203.0.113.9"));
    assert_eq!(value["rewrite"], json!(["203.0.113.9:443"]));
    // The twin: an entry that has none at all.
    let (value, _) = explain(
        "--namespace x --host gone.example.com --port 443 --resolve us.example.net=203.0.113.9 --resolve uk.example.net=203.0.113.9",
    );
    assert_eq!(value["reason"], "no-upstream");
    assert!(!value["notes"].to_string().contains("--resolve"), "{}", value["notes"]);
}

#[test]
fn invalid_objects_and_assumptions_are_said() {
    let (value, _) = explain("--namespace x --host api.example.com --port 443 --mode ALLOW_ANY");
    let notes = value["notes"].to_string();
    assert!(notes.contains("invalid, so ignored: ServiceEntry/shop/broken"), "{notes}");
    assert!(notes.contains("no --ip was given"), "{notes}");
    let (value, _) = explain("--namespace x --ip 192.0.2.7 --port 443 --mode ALLOW_ANY");
    assert_eq!((&value["verdict"], &value["step"]), (&json!("allow"), &json!(5)));
}

#[track_caller]
fn check_exit(line: &str, expected: Exit) {
    let folder = registry();
    let exit = match super::explain(&args(&folder, line)) {
        Ok(exit) => exit,
        Err(failure) => {
            assert!(!sentence(&failure.error).is_empty());
            failure.exit
        }
    };
    assert_eq!(exit, expected, "{line}");
}

#[test]
fn exit_codes() {
    check_exit("--namespace x --host api.example.com --port 443 -o json", Exit::Good);
    check_exit("--namespace x --host api.example.com --port 80 -o json", Exit::Found);
    check_exit("--namespace x --ip 192.0.2.7 --port 80 --mode ALLOW_ANY -o json", Exit::Good);
    check_exit("--namespace x --ip 192.0.2.7 --port 80 --registry /nowhere", Exit::Usage);
    check_exit("--namespace x --ip 192.0.2.7 --port 80 --config /nowhere", Exit::Usage);
}

//! Files of one MiB that no person writes: each is refused, or read to something of bounded size,
//! and compiled. How long that takes decides nothing here: `cargo xtask fuzz` watches the clock.

#![cfg(test)]

use exeat_agent::{
    config::Config,
    policy::answers::Answers,
    registry::{
        document::{self, Format},
        load::Loaded,
        object,
    },
    trial::{Trial, TrialClient},
};

const FILE_BYTES: usize = 1 << 20;
/// Reports about one object: a thousand, and the one that refuses it.
const REPORTS: usize = 1001;

const ENTRY: &str = "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: a}, spec: {resolution: STATIC, ";
const ROUTE: &str =
    "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a}, spec: {";
const TO: &str = "route: [{destination: {host: x.y}}]";

/// As many items as a file of one MiB holds, between a start and an end.
fn fill<T: ToString>(start: &str, item: impl Fn(usize) -> T, end: &str) -> String {
    let mut text = start.to_owned();
    for index in 0.. {
        let item = item(index).to_string();
        if text.len() + item.len() + end.len() > FILE_BYTES {
            break;
        }
        text.push_str(&item);
    }
    text.push_str(end);
    assert!(text.len() + 1024 > FILE_BYTES, "{} bytes are no MiB", text.len());
    text
}

/// The file is refused before anything is made of it, in words that hold `part`.
#[track_caller]
fn check_refused(text: &str, format: Format, part: &str) {
    // The content of what is read by mistake would fill the screen.
    let error = document::parse(text, format).err().map(|it| it.to_string());
    let error = error.expect("refused");
    assert!(error.contains(part), "{error}");
}

/// The file is read and compiled; `code` is among the few things said of it.
#[track_caller]
fn check_read(text: &str, code: &str) {
    let documents = document::parse(text, Format::Yaml).expect("readable");
    let loaded = Loaded::of(documents.iter().map(object::read).collect());
    let client = TrialClient { namespace: "default".to_owned(), ..TrialClient::default() };
    let trial = Trial::new(&loaded.registry, &Config::offline(), &Answers::default(), &client);
    let mut reports = loaded.reports.iter().chain(trial.reports());
    assert!(reports.any(|it| it.code.as_str() == code), "{code} is not reported");
    let said = loaded.reports.len() + trial.reports().len();
    assert!(said <= REPORTS * documents.len().min(3), "{said} reports");
}

#[test]
fn deep_nesting_is_refused() {
    for unit in ["[", "{a: ", "[\n", "- ["] {
        check_refused(&fill("", |_| unit, ""), Format::Yaml, "too deep");
    }
    for unit in ["- ", "? "] {
        check_refused(&fill("", |_| unit, ""), Format::Yaml, "recursion limit");
    }
    check_refused(&fill("", |_| "[", ""), Format::Json, "recursion limit");
}

#[test]
fn bombs_of_aliases_are_refused() {
    check_refused(&fill("a: &a [x, x, x]\nb: [", |_| "*a,", "]"), Format::Yaml, "too many values");
    let text = format!("a: &a {}\nb: [", "x".repeat(FILE_BYTES / 2));
    check_refused(&fill(&text, |_| "*a,", "]"), Format::Yaml, "too long a text");
    let document = format!("--- {{a: &a [{}], b: [{}]}}\n", "1,".repeat(100), "*a,".repeat(200));
    check_refused(&fill("", |_| &document, ""), Format::Yaml, "too many values");
    let nested = |level: usize| {
        let item = format!("*a{}, ", level.saturating_sub(1));
        format!("a{level}: &a{level} [{}]\n", item.repeat(9))
    };
    check_refused(&fill("a: &a0 [x]\n", |level| nested(level + 1), ""), Format::Yaml, "");
}

#[test]
fn long_lists_are_refused_or_bounded() {
    check_read(&fill("[", |_| "[],", "]"), "E-OBJECT");
    check_read(&fill("{", |index| format!("a{index}: ,"), "}"), "E-OBJECT");
    let hosts = |entry: &str| format!("{ENTRY}{entry}hosts: [");
    check_read(&fill(&hosts(""), |index| format!("a{index}.b,"), "]}}"), "E-TOO-MANY");
    check_read(&fill(&hosts(""), |_| "a.b,", "]}}"), "E-TOO-MANY");
    check_read(&fill(&hosts(""), |_| "__,", "]}}"), "E-HOST-SYNTAX");
    let unknown = |index| format!("a{index}: 1,");
    check_read(&fill(&hosts("").replace("hosts: [", ""), unknown, "}}"), "W-FIELD-UNKNOWN");
    let ports = |index: usize| format!("{{number: {}, name: p{index}}},", index % 65_535 + 1);
    check_read(&fill(&format!("{ENTRY}hosts: [a.b], ports: ["), ports, "]}}"), "E-TOO-MANY");
    let endpoints = |_| "{address: 192.0.2.1},";
    check_read(
        &fill(&format!("{ENTRY}hosts: [a.b], endpoints: ["), endpoints, "]}}"),
        "E-TOO-MANY",
    );
}

#[test]
fn long_lists_of_routes_are_refused() {
    let hosts = format!("{ROUTE}http: [{{{TO}}}], hosts: [");
    check_read(&fill(&hosts, |index| format!("a{index}.b,"), "]}}"), "E-TOO-MANY");
    let rules = format!("{ROUTE}hosts: [a.b], http: [");
    check_read(&fill(&rules, |_| format!("{{{TO}}},"), "]}}"), "E-TOO-MANY");
    let names = format!("{ROUTE}hosts: [\"*.b\"], tls: [{{{TO}, match: [");
    let block = |index| format!("{{sniHosts: [a{index}.b]}},");
    check_read(&fill(&names, block, "]}]}}"), "E-TOO-MANY");
}

#[test]
fn what_multiplies_is_bounded() {
    // Every server name is a name of its own, and each is looked for among all.
    let names = format!(
        "{ENTRY}hosts: [\"*.b\"], ports: [{{number: 443, name: t, protocol: TLS}}]}}}}\n---\n\
         {ROUTE}hosts: [\"*.b\"], tls: [{{{TO}, match: [{{sniHosts: ["
    );
    let text = fill(&names, |index| format!("a{index}.b,"), "]}]}]}}");
    check_read(&text, "E-ROUTE-DEST-UNKNOWN");
    // Every port of every endpoint is an address of its own.
    let ports: Vec<String> =
        (1..4000).map(|port| format!("{{name: a{port}, port: {port}}}")).collect();
    let ports = ports.join(", ");
    let service = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: a}}, spec: {{clusterIP: None, ports: [{ports}]}}}}\n---\n\
         {{apiVersion: v1, kind: Endpoints, metadata: {{name: a}}, subsets: [{{ports: [{ports}], addresses: ["
    );
    let address = |index: usize| {
        format!("{{ip: 10.{}.{}.{}}},", index / 65_536, index / 256 % 256, index % 256)
    };
    check_read(&fill(&service, address, "]}]}"), "E-TOO-MANY");
}

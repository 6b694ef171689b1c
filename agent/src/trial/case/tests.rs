//! The format of cases: what is refused, what is compared, what is counted.

use std::path::Path;

use super::{CaseResult, file::parse};

const REGISTRY: &str = "
registry:
- apiVersion: networking.istio.io/v1
  kind: ServiceEntryList
  items:
  - metadata: {name: api}
    spec: {hosts: [api.example.com], ports: [{number: 443, name: tls, protocol: TLS}]}
  - metadata: {name: bad}
    spec: {hosts: []}
reject: [{kind: ServiceEntry, name: bad, code: E-HOSTS-EMPTY}]
";

/// A flow that is allowed.
const GOOD: &str = "client: {}, dns: api.example.com, dest: {ip: 192.0.2.1, port: 443, proto: tcp}, verdict: allow";

fn case(rest: &str) -> String {
    format!("title: t{REGISTRY}{rest}\n")
}

#[track_caller]
fn run(text: &str) -> CaseResult {
    let cases = parse(text, Path::new("a.yaml")).unwrap_or_else(|error| panic!("{error}"));
    let mut result = CaseResult::default();
    for case in cases {
        result.add(case.run());
    }
    result
}

/// Counts, and of each mismatch what is not as expected, and what is.
#[track_caller]
fn check(text: &str, counts: (usize, usize, usize), mismatches: &[(&str, &str, &str)]) {
    let result = run(text);
    assert_eq!((result.passed, result.failed, result.skipped), counts, "{result:#?}");
    let got: Vec<(&str, &str, &str)> = result
        .mismatches
        .iter()
        .map(|it| (it.what, it.expected.as_str(), it.got.as_str()))
        .collect();
    assert_eq!(got, mismatches);
}

#[track_caller]
fn check_refused(text: &str, words: &str) {
    let error = parse(text, Path::new("a.yaml")).expect_err(words).to_string();
    assert!(error.starts_with("a.yaml: ") && error.contains(words), "{words}: {error}");
}

#[test]
fn a_case_that_holds() {
    check(&case(&format!("expect: [{{{GOOD}}}]")), (1, 0, 0), &[]);
    check(&case(""), (0, 0, 0), &[]);
    let two = format!("{}---\n{}", case(&format!("expect: [{{{GOOD}}}]")), case(""));
    check(&two, (1, 0, 0), &[]);
}

#[test]
fn every_respect_is_compared() {
    let flow = |more: &str| case(&format!("expect: [{{{GOOD}, {more}}}]"));
    check(&flow("match: ServiceEntry/default/api"), (1, 0, 0), &[]);
    check(
        &flow("match: ServiceEntry/default/other"),
        (0, 1, 0),
        &[("match", "ServiceEntry/default/other", "ServiceEntry/default/api")],
    );
    check(&flow("rewrite: ['192.0.2.1:443']"), (1, 0, 0), &[]);
    check(
        &flow("rewrite: ['192.0.2.1:8443'], via: 'gw:80'"),
        (0, 1, 0),
        &[("rewrite", "192.0.2.1:8443", "192.0.2.1:443"), ("via", "gw:80", "none")],
    );
    check(&flow("reason: registered"), (1, 0, 0), &[]);
    check(&flow("reason: U-UDS"), (0, 1, 0), &[("reason", "U-UDS", "registered")]);
    check(
        &flow("answers: []"),
        (0, 1, 0),
        &[(
            "verdict",
            "allow",
            "deny (not-registered: no entry declares this address, and no trusted DNS answer tied a declared name to it)",
        )],
    );
}

#[test]
fn refusals_are_exact_and_reports_are_not() {
    let with = |reject: &str| {
        case("").replace("reject: [{kind: ServiceEntry, name: bad, code: E-HOSTS-EMPTY}]", reject)
    };
    check(
        &with("reject: [{kind: ServiceEntry, name: bad, code: E-HOST-SYNTAX}]"),
        (0, 1, 0),
        &[(
            "reject",
            "ServiceEntry/default/bad E-HOST-SYNTAX",
            "ServiceEntry/default/bad E-HOSTS-EMPTY",
        )],
    );
    check(
        &with("report: [{kind: ServiceEntry, name: api, code: W-NO-PORTS}]"),
        (0, 2, 0),
        &[
            (
                "reject",
                "ServiceEntry/default/bad not refused",
                "ServiceEntry/default/bad E-HOSTS-EMPTY",
            ),
            (
                "report",
                "ServiceEntry/default/api W-NO-PORTS",
                "ServiceEntry/default/api nothing reported",
            ),
        ],
    );
    check(&case("report: [{kind: ServiceEntry, name: bad, code: E-HOSTS-EMPTY}]"), (0, 0, 0), &[]);
}

#[test]
fn a_flow_whose_part_is_not_built_is_skipped() {
    let flow = |requires: &str| case(&format!("expect: [{{{GOOD}, requires: [{requires}]}}]"));
    for part in ["sni-peek", "http-peek", "dns-responder, sni-peek"] {
        check(&flow(part), (0, 0, 1), &[]);
    }
    check(&flow("dns-responder"), (1, 0, 0), &[]);
    check(&flow(""), (1, 0, 0), &[]);
    check_refused(&flow("crystal-ball"), "crystal-ball");
}

#[test]
fn the_mode_of_the_mesh() {
    let flow = "expect: [{client: {}, dest: {ip: 192.0.2.9, port: 1, proto: udp}, verdict: allow}]";
    let mode = |mode: &str| case(&format!("mode: {mode}\n{flow}"));
    check(&mode("ALLOW_ANY"), (1, 0, 0), &[]);
    let report =
        "\nreport: [{kind: MeshConfig, namespace: istio-system, name: istio, code: W-MODE-DFP}]";
    check(&(mode("ALLOW_ANY_DYNAMIC_DNS") + report), (1, 0, 0), &[]);
    assert_eq!(run(&mode("REGISTRY_ONLY")).failed, 1);
    check_refused(&mode("ANY"), "mode");
}

#[test]
fn what_is_not_the_format_is_refused_with_its_place() {
    check_refused("title: t\n", "expects nothing");
    check_refused("registry: []\n", "missing field `title`");
    check_refused(
        "title: t\nexpect:\n- {client: {}}\n",
        "`expect[0]`: missing field `dest` at line 3",
    );
    check_refused(&case("agent: {grace: 1}"), "`agent.grace`: unknown field `grace`");
    check_refused(&case("agent: {match: loose}"), "`agent.match`");
    check_refused(&case("agent: {trustedResolvers: [dns]}"), "`dns` is not a resolver");
    check_refused(&case("agent: {clusterCidrs: ['::/0']}"), "so wide");
    check_refused(&case("resolve: {'*.a.b': [192.0.2.1]}"), "without a star");
    let flow = |from: &str, to: &str| case(&format!("expect: [{{{GOOD}}}]")).replace(from, to);
    check_refused(&flow("verdict: allow", "verdict: maybe"), "maybe");
    check_refused(&flow("192.0.2.1", "192.0.2.256"), "`expect[0].dest.ip`: invalid IP address");
    check_refused(&flow("port: 443, proto", "port: 66000, proto"), "`expect[0].dest.port`");
    check_refused(&flow("client: {}", "client: {namspace: a}"), "unknown field `namspace`");
    check_refused("title: [", "not valid YAML");
}

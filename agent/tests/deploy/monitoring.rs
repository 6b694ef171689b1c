//! Alerts and dashboard speak of metrics that there are, and of values that their labels take.

use std::collections::BTreeSet;

use exeat_agent::{
    metrics::Metrics,
    reconcile::{Sample, State, WORKLOAD_LABELS},
};
use exeat_common::reason::{Reason, Verdict};
use serde_json::Value;
use tokio::time::Instant;

use crate::deployed;

const RULES: &str = "helm/exeat/files/rules.yaml";
const DASHBOARD: &str = "helm/exeat/files/dashboard.json";

/// The names of all series that the agent can show.
fn exposed() -> BTreeSet<String> {
    let text = Metrics::default()
        .render(&State::default(), &Sample::default(), Instant::now())
        .expect("a String");
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let series = types.flat_map(|(family, kind)| {
        let endings: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        endings.iter().map(move |ending| format!("{family}{ending}"))
    });
    series.collect()
}

/// The names of ours in an expression.
fn named(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
    words.filter(|word| word.starts_with("exeat_"))
}

/// The values that an expression asks of a label, by equality or as alternatives.
fn values<'a>(expression: &'a str, label: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    for operator in ["=\"", "=~\""] {
        let start = format!("{label}{operator}");
        for (index, _) in expression.match_indices(&start) {
            let before = expression[..index].chars().next_back();
            if before.is_some_and(|it| it.is_ascii_alphanumeric() || it == '_') {
                continue;
            }
            let value = expression[index + start.len()..].split('"').next().unwrap_or_default();
            found.extend(value.split('|'));
        }
    }
    found
}

fn expressions_of_rules() -> Vec<String> {
    let rules: serde_yaml::Value = serde_yaml::from_str(&deployed(RULES)).expect("YAML");
    let groups = rules["groups"].as_sequence().expect("groups").iter();
    let rules = groups.flat_map(|group| group["rules"].as_sequence().expect("rules"));
    rules.map(|rule| rule["expr"].as_str().expect("an expression").to_owned()).collect()
}

fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&deployed(DASHBOARD)).expect("JSON");
    dashboard["panels"].as_array().expect("panels").clone()
}

fn expressions_of_dashboard() -> Vec<String> {
    let panels = panels();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets.map(|target| target["expr"].as_str().expect("an expression").to_owned()).collect()
}

fn check(expressions: &[String]) {
    let exposed = exposed();
    let reasons: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let verdicts: BTreeSet<&str> = Verdict::ALL.iter().map(|verdict| verdict.as_str()).collect();
    let states: BTreeSet<&str> = WORKLOAD_LABELS.into_iter().collect();
    for expression in expressions {
        for name in named(expression) {
            assert!(exposed.contains(name), "there is no {name}: {expression}");
        }
        let is_of_workloads = expression.contains("exeat_workloads{");
        for (label, known) in [("reason", &reasons), ("verdict", &verdicts), ("state", &states)] {
            for value in values(expression, label) {
                let is_other = label == "state" && !is_of_workloads;
                assert!(is_other || known.contains(value), "no {label} {value}: {expression}");
            }
        }
    }
}

#[test]
fn what_is_named_is_found() {
    let text = "sum(rate(exeat_a_total{reason=~\"x|y\", other_reason=\"z\"}[5m])) / exeat_b > 0";
    assert_eq!(named(text).collect::<Vec<_>>(), ["exeat_a_total", "exeat_b"]);
    assert_eq!(values(text, "reason"), ["x", "y"]);
    assert!(exposed().contains("exeat_flows_total") && !exposed().contains("exeat_flows"));
    assert!(exposed().contains("exeat_change_to_enforced_seconds_bucket"));
}

#[test]
fn alerts_speak_of_what_there_is() {
    let expressions = expressions_of_rules();
    assert!(expressions.len() >= 10);
    check(&expressions);
}

#[test]
fn the_dashboard_speaks_of_what_there_is() {
    let expressions = expressions_of_dashboard();
    assert!(expressions.len() >= 20);
    check(&expressions);
    let shown: BTreeSet<&str> = expressions.iter().flat_map(|it| named(it)).collect();
    // What nobody looks at is not worth its place: a new metric gets a panel or a line here.
    let unseen = ["exeat_registry_files_unreadable"];
    for series in exposed() {
        let is_part = series.ends_with("_sum") || series.ends_with("_count");
        let is_seen = shown.contains(series.as_str()) || unseen.contains(&series.as_str());
        assert!(is_part || is_seen, "{series} is on no panel");
    }
}

#[test]
fn panels_are_apart() {
    let panels = panels();
    let ids: BTreeSet<u64> = panels.iter().map(|it| it["id"].as_u64().expect("an id")).collect();
    assert_eq!(ids.len(), panels.len());
    let mut taken = BTreeSet::new();
    for panel in &panels {
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(x < 24 && taken.insert((x, y)), "{}: {x} {y}", panel["title"]);
            }
        }
    }
}

//! The chart's schema and the agent's parser know the same keys and words: the parser is asked what it knows
//! by giving it what it cannot.

use std::collections::BTreeSet;

use exeat_agent::config::Config;
use serde_json::Value;

use crate::{
    configurations::{of_values, parse},
    deployed,
};

/// No name of anything.
const NOBODY: &str = "zzz";

/// Keys that are not for a cluster.
const NOT_FOR_A_CLUSTER: [&str; 2] = ["gateway", "workloads"];

fn schema() -> Value {
    let schema: Value =
        serde_json::from_str(&deployed("helm/exeat/values.schema.json")).expect("JSON");
    schema["properties"]["config"].clone()
}

/// Calls for each value that the schema describes, with the keys that lead there.
fn walk(schema: &Value, path: &[&str], visit: &mut impl FnMut(&[&str], &Value)) {
    visit(path, schema);
    for (key, below) in schema["properties"].as_object().into_iter().flatten() {
        walk(below, &[path, &[key.as_str()]].concat(), visit);
    }
}

/// A configuration with one value, and nothing around it.
fn with(path: &[&str], value: &str) -> String {
    path.iter().rev().fold(value.to_owned(), |below, key| format!("{{{key}: {below}}}"))
}

/// What the parser says about it. One that is right as far as it goes lacks something to enforce.
fn answer(path: &[&str], value: &str) -> String {
    Config::parse(&with(path, value)).map_or_else(|error| error.to_string(), |_| String::new())
}

#[track_caller]
fn takes(path: &[&str], value: &str) {
    let answer = answer(path, value);
    let is_taken = answer.is_empty() || answer.contains("nothing to enforce");
    assert!(is_taken, "{path:?}: {value}: {answer}");
}

#[track_caller]
fn refuses(path: &[&str], value: &str) {
    let answer = answer(path, value);
    let is_refused = !answer.is_empty() && !answer.contains("nothing to enforce");
    assert!(is_refused, "{path:?}: {value} is taken");
}

/// The words that stand in backquotes behind `expected`.
fn expected(answer: &str) -> BTreeSet<String> {
    let list = answer.split_once("expected ").map(|(_, list)| list).unwrap_or_default();
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn keys() {
    let mut objects = 0;
    walk(&schema(), &[], &mut |path, schema| {
        let Some(properties) = schema["properties"].as_object() else {
            return;
        };
        objects += 1;
        assert_eq!(schema["additionalProperties"], false, "{path:?}");
        let mut known = expected(&answer(path, &format!("{{{NOBODY}: 1}}")));
        if path.is_empty() {
            known.retain(|key| !NOT_FOR_A_CLUSTER.contains(&key.as_str()));
        }
        let listed: BTreeSet<String> = properties.keys().cloned().collect();
        assert_eq!(listed, known, "{path:?}: the schema has the left, the agent the right");
    });
    assert!(objects >= 6, "{objects}");
}

#[test]
fn words() {
    let mut lists = 0;
    walk(&schema(), &[], &mut |path, schema| {
        let Some(words) = schema["enum"].as_array() else {
            return;
        };
        lists += 1;
        let listed: BTreeSet<String> =
            words.iter().map(|word| word.as_str().expect("a word").to_owned()).collect();
        assert_eq!(listed, expected(&answer(path, NOBODY)), "{path:?}");
    });
    assert!(lists >= 6, "{lists}");
}

#[test]
fn numbers_and_switches() {
    let (mut numbers, mut switches) = (0, 0);
    walk(&schema(), &[], &mut |path, schema| match schema["type"].as_str() {
        Some("integer") => {
            numbers += 1;
            let bound = |key: &str| schema[key].as_i64().expect("a bound");
            for value in [bound("minimum"), bound("maximum")] {
                takes(path, &value.to_string());
            }
            for value in [bound("minimum") - 1, bound("maximum") + 1] {
                refuses(path, &value.to_string());
            }
        }
        Some("boolean") => {
            switches += 1;
            takes(path, "true");
            takes(path, "false");
            refuses(path, NOBODY);
        }
        _ => {}
    });
    assert!(numbers >= 4 && switches >= 2, "{numbers} {switches}");
}

/// What is fixed, because the chart mounts it, is what the agent takes by itself.
#[test]
fn fixed_values() {
    let config = parse(&deployed("kustomize/base/exeat.yaml"));
    let properties = &schema()["properties"];
    assert_eq!(properties["pinPath"]["const"], config.pin_path.to_str().expect("UTF-8"));
    assert_eq!(properties["socket"]["const"], config.socket.to_str().expect("UTF-8"));
}

/// The file with every key has every key: it shows that the schema is no stricter than the agent.
#[test]
fn the_example_has_every_key() {
    let example: Value = serde_yaml::from_str(&of_values("tests/every-key.yaml")).expect("YAML");
    walk(&schema(), &[], &mut |path, _| {
        let found = path.iter().try_fold(&example, |value, key| value.get(key));
        assert!(found.is_some(), "{path:?}");
    });
}

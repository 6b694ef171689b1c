//! The rights that the manifests grant are those for the kinds that the agent reads, and no others.

use std::collections::{BTreeMap, BTreeSet};

use exeat_agent::registry::object::kinds;
use serde::Deserialize as _;
use serde_yaml::Value;

use crate::deployed;

/// Group and resource.
type Resource = (String, String);

/// What is read beside the kinds of the registry: which kinds there are.
const DEFINITIONS: (&str, &str) = ("apiextensions.k8s.io", "customresourcedefinitions");
/// What is written.
const EVENTS: (&str, &str) = ("events.k8s.io", "events");

/// The verbs that a role grants, by resource.
fn granted(role: &Value) -> BTreeMap<Resource, BTreeSet<String>> {
    let words = |value: &Value| -> Vec<String> {
        let words = value.as_sequence().expect("a list").iter();
        words.map(|word| word.as_str().expect("a word").to_owned()).collect()
    };
    let mut granted: BTreeMap<Resource, BTreeSet<String>> = BTreeMap::new();
    for rule in role["rules"].as_sequence().expect("rules") {
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                let verbs = granted.entry((group.clone(), resource)).or_default();
                verbs.extend(words(&rule["verbs"]));
            }
        }
    }
    granted
}

fn documents(path: &str) -> Vec<Value> {
    let text = deployed(path);
    let documents = serde_yaml::Deserializer::from_str(&text);
    documents.map(|document| Value::deserialize(document).expect("YAML")).collect()
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    documents.iter().find(|it| it["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

/// The name of a kind in paths, as its definition has it.
fn plural(kind: &str) -> String {
    let lower = kind.to_ascii_lowercase();
    match lower.strip_suffix('y') {
        // Gateways keep it.
        Some(stem) if !stem.ends_with('a') => format!("{stem}ies"),
        None if lower.ends_with('s') => lower,
        _ => format!("{lower}s"),
    }
}

#[test]
fn plurals() {
    for (kind, expected) in [
        ("ServiceEntry", "serviceentries"),
        ("Gateway", "gateways"),
        ("WorkspaceSettings", "workspacesettings"),
        ("EndpointSlice", "endpointslices"),
    ] {
        assert_eq!(plural(kind), expected);
    }
}

#[test]
fn what_is_read_may_be_read_and_nothing_else() {
    let verbs = |words: [&str; 2]| words.map(str::to_owned).into_iter().collect::<BTreeSet<_>>();
    let resource = |(group, name): (&str, &str)| (group.to_owned(), name.to_owned());
    let mut expected: BTreeMap<Resource, BTreeSet<String>> = kinds()
        // The slices say the same: the control plane mirrors what is written as Endpoints.
        .filter(|it| it.kind != "Endpoints")
        .map(|it| ((it.group.to_owned(), plural(it.kind)), verbs(["list", "watch"])))
        .collect();
    expected.insert(resource(DEFINITIONS), verbs(["list", "watch"]));
    expected.insert(resource(EVENTS), verbs(["create", "patch"]));
    let role = documents("kustomize/base/cluster-role.yaml");
    assert_eq!(granted(of_kind(&role, "ClusterRole")), expected);
}

/// Of all `ConfigMaps` of the mesh's namespace, only its settings.
#[test]
fn the_settings_of_the_mesh() {
    let documents = documents("kustomize/overlays/istio/mesh-role.yaml");
    let role = of_kind(&documents, "Role");
    let rules = role["rules"].as_sequence().expect("rules");
    assert_eq!(rules.len(), 1);
    let configuration: Value =
        serde_yaml::from_str(&deployed("kustomize/overlays/istio/exeat.yaml")).expect("YAML");
    let settings = configuration["kubernetes"]["meshConfigMap"].as_str().expect("a name");
    let (namespace, name) = settings.split_once('/').expect("namespace and name");
    assert_eq!(role["metadata"]["namespace"], namespace);
    assert_eq!(rules[0]["resourceNames"], Value::Sequence(vec![name.into()]));
    let verbs = &granted(role)[&(String::new(), "configmaps".to_owned())];
    assert_eq!(verbs.iter().map(String::as_str).collect::<Vec<_>>(), ["list", "watch"]);
}

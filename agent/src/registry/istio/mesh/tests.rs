//! Every rule of the settings of a mesh, by the code it gives, and what is read.

use serde_yaml::Value;

use super::{Cap, Mesh, Mode, mode};
use crate::registry::{findings::Checked, labels::Labels, meta::Meta, object};

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).expect("YAML")
}

fn settings(text: &str) -> Checked<Mesh> {
    Mesh::check_settings(&yaml(text), "mesh")
}

#[track_caller]
fn check(text: &str, valid: bool, codes: &[(&str, &str)]) {
    let checked = settings(text);
    let got: Vec<(&str, &str)> =
        checked.reports.iter().map(|it| (it.code.as_str(), it.path.as_str())).collect();
    assert_eq!(got, codes, "{text} {:?}", checked.reports);
    assert_eq!(checked.value.is_some(), valid, "{text}");
}

#[track_caller]
fn value(text: &str) -> Mesh {
    let checked = settings(text);
    checked.value.unwrap_or_else(|| panic!("{text} {:?}", checked.reports))
}

#[test]
fn defaults() {
    for text in ["{}", "null", "{rootNamespace: ''}", "{rootNamespace: null, enableTracing: true}"]
    {
        check(text, true, &[]);
        assert_eq!(value(text), Mesh::default(), "{text}");
    }
    let object = Mesh::default().header.object;
    assert_eq!(object.to_string(), "MeshConfig/istio-system/istio");
}

#[test]
fn modes() {
    const PATH: &str = "mesh.outboundTrafficPolicy.mode";
    for (text, expected) in [
        ("REGISTRY_ONLY", Some((Mode::RegistryOnly, false))),
        ("ALLOW_ANY", Some((Mode::AllowAny, false))),
        ("ALLOW_ANY_DYNAMIC_DNS", Some((Mode::AllowAny, true))),
        ("allow_any", None),
        ("", None),
    ] {
        assert_eq!(mode(text), expected, "{text}");
    }
    assert_eq!(value("{}").mode, None);
    assert_eq!(value("{outboundTrafficPolicy: {}}").mode, Some(Mode::RegistryOnly));
    assert_eq!(value("{outboundTrafficPolicy: {mode: ALLOW_ANY}}").mode, Some(Mode::AllowAny));
    let dynamic = "{outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS, tls: {}}}";
    check(dynamic, true, &[("W-MODE-DFP", PATH)]);
    assert_eq!(value(dynamic).mode, Some(Mode::AllowAny));
    check("{outboundTrafficPolicy: {mode: OPEN}}", false, &[("E-MESH", PATH)]);
}

#[test]
fn exports() {
    for field in [
        "defaultServiceExportTo",
        "defaultVirtualServiceExportTo",
        "defaultDestinationRuleExportTo",
    ] {
        let path = format!("mesh.{field}");
        check(&format!("{{{field}: ['.', shared]}}"), true, &[]);
        for bad in ["['.', '.']", "['*', a]", "[a_b]"] {
            check(&format!("{{{field}: {bad}}}"), false, &[("E-EXPORTTO", &path)]);
        }
        let hidden = format!("{{{field}: ['~']}}");
        if field == "defaultServiceExportTo" {
            check(&hidden, true, &[]);
        } else {
            check(&hidden, false, &[("E-EXPORTTO", &path)]);
        }
    }
    let mesh = value("{defaultServiceExportTo: ['.'], defaultDestinationRuleExportTo: ['*']}");
    assert_eq!(mesh.service_export_to, ["."]);
    assert_eq!(mesh.destination_rule_export_to, ["*"]);
    assert!(mesh.virtual_service_export_to.is_empty());
}

#[test]
fn namespaces() {
    check("{rootNamespace: a/b}", false, &[("E-MESH", "mesh.rootNamespace")]);
    assert_eq!(value("{rootNamespace: root}").root_namespace, "root");
    check(
        "{discoverySelectors: [{}, {matchExpressions: [{key: a, operator: Like}]}]}",
        false,
        &[("E-MESH", "mesh.discoverySelectors[1].matchExpressions[0].operator")],
    );
    let mesh = value("{discoverySelectors: [{matchLabels: {mesh: 'on'}}]}");
    assert!(mesh.discovery[0].matches(&Labels::from([("mesh".into(), "on".into())])));
    assert!(!mesh.discovery[0].matches(&Labels::new()));
}

#[test]
fn visibility() {
    let mesh = value(
        "{serviceEntryVisibility: {applyToSidecars: true, defaultVisibility: NAMESPACE, policies: [{visibility: PUBLIC, matchingRules: [{namespaceSelector: {matchLabels: {role: platform}}}]}, {visibility: NONE}]}}",
    );
    let visibility = mesh.visibility.expect("a visibility");
    assert!(visibility.applies_to_sidecars);
    assert_eq!(visibility.default, Cap::OwnNamespace);
    let caps: Vec<(Cap, usize)> =
        visibility.policies.iter().map(|(cap, selectors)| (*cap, selectors.len())).collect();
    assert_eq!(caps, [(Cap::Public, 1), (Cap::Nobody, 0)]);
    let open = value("{serviceEntryVisibility: {}}").visibility.expect("a visibility");
    assert_eq!((open.applies_to_sidecars, open.default), (false, Cap::Public));
    for (fields, path) in [
        ("defaultVisibility: HIDDEN", "defaultVisibility"),
        ("policies: [{visibility: namespace}]", "policies[0].visibility"),
        ("policies: [{matchingRules: [{}]}]", "policies[0].matchingRules[0].namespaceSelector"),
        (
            "policies: [{matchingRules: [{namespaceSelector: {matchLabels: {'a b': c}}}]}]",
            "policies[0].matchingRules[0].namespaceSelector.matchLabels",
        ),
    ] {
        let path = format!("mesh.serviceEntryVisibility.{path}");
        check(&format!("{{serviceEntryVisibility: {{{fields}}}}}"), false, &[("E-MESH", &path)]);
    }
}

#[test]
fn types() {
    check("[1]", false, &[("E-FIELD-TYPE", "mesh")]);
    check("{rootNamespace: [a]}", false, &[("E-FIELD-TYPE", "mesh.rootNamespace")]);
    check(
        "{discoverySelectors: [{matchLabels: {a: [b]}}]}",
        false,
        &[("E-FIELD-TYPE", "mesh.discoverySelectors[0].matchLabels.a")],
    );
}

/// Whether a `ConfigMap` is read as the settings of a mesh.
#[track_caller]
fn check_is_in(text: &str, expected: bool) {
    let document = yaml(text);
    let meta = Meta::read(&document).expect("metadata");
    assert_eq!(Mesh::is_in(&meta, &document), expected, "{text}");
}

#[test]
fn config_maps() {
    let map = |name: &str, data: &str| {
        format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}, namespace: mesh}}, data: {data}}}"
        )
    };
    check_is_in(&map("istio", "{mesh: ''}"), true);
    check_is_in(&map("istio-1-30", "{mesh: '', meshNetworks: ''}"), true);
    check_is_in(&map("istio", "{config: ''}"), false);
    check_is_in(&map("istio", "null"), false);
    check_is_in(&map("istiod", "{mesh: ''}"), false);
    check_is_in("{apiVersion: v1, kind: Secret, metadata: {name: istio}, data: {mesh: ''}}", false);

    let read = object::read(&yaml(&map("istio-1-30", "{mesh: 'rootNamespace: root'}")));
    assert!(read.reports.is_empty(), "{:?}", read.reports);
    let Some(object::Content::Mesh(mesh)) = read.content else { panic!("no settings") };
    assert_eq!(mesh.header.object.to_string(), "MeshConfig/mesh/istio-1-30");
    assert_eq!(mesh.root_namespace, "root");

    for (data, code, path) in [
        ("{mesh: 'a: [1'}", "E-MESH", "data.mesh"),
        ("{mesh: {rootNamespace: root}}", "E-MESH", "data.mesh"),
        ("{mesh: \"a: 1\\n---\\na: 2\"}", "E-MESH", "data.mesh"),
        ("{mesh: 'rootNamespace: {}'}", "E-FIELD-TYPE", "data.mesh.rootNamespace"),
        (
            "{mesh: 'defaultServiceExportTo: [a, a]'}",
            "E-EXPORTTO",
            "data.mesh.defaultServiceExportTo",
        ),
    ] {
        let read = object::read(&yaml(&map("istio", data)));
        let got: Vec<(&str, &str, String)> = read
            .reports
            .iter()
            .map(|it| (it.code.as_str(), it.path.as_str(), it.object.to_string()))
            .collect();
        assert_eq!(got, [(code, path, "MeshConfig/mesh/istio".to_owned())], "{data}");
        assert!(read.content.is_none(), "{data}");
    }
}

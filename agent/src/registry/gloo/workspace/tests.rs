//! Which namespaces workspaces hold, and what they share.

use super::{Workspace, WorkspaceSettings};
use crate::registry::{findings::Checked, header::Header, labels::Labels, testing};

fn read(metadata: &str, spec: &str) -> Checked<Workspace> {
    let kind = "admin.gloo.solo.io/v2 Workspace";
    let (meta, document) = testing::object(kind, metadata, &format!(", spec: {spec}"));
    Workspace::check(&meta, &document)
}

fn read_settings(spec: &str) -> Checked<WorkspaceSettings> {
    let kind = "admin.gloo.solo.io/v2 WorkspaceSettings";
    let (meta, document) = testing::object(kind, "", &format!(", spec: {spec}"));
    WorkspaceSettings::check(&meta, &document)
}

fn clusters(namespaces: &str) -> String {
    format!("{{workloadClusters: [{{name: '*', selector: {{a: b}}, namespaces: {namespaces}}}]}}")
}

fn labels(items: &[(&str, &str)]) -> Labels {
    items.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn namespaces() {
    /// Which of `web`, `web-1` and `db` (with `team: a`) are held.
    #[track_caller]
    fn holds(spec: &str, expected: [bool; 3]) {
        let checked = read("", spec);
        testing::check(&checked, spec, &[]);
        let workspace = checked.value.expect("valid");
        let got = [("web", labels(&[])), ("web-1", labels(&[])), ("db", labels(&[("team", "a")]))]
            .map(|(name, labels)| workspace.holds_labelled(name, &labels));
        assert_eq!(got, expected, "{spec}");
    }
    holds("{}", [false; 3]);
    holds("null", [false; 3]);
    holds("{workloadClusters: null}", [false; 3]);
    holds(&clusters("[{name: '*'}]"), [true; 3]);
    holds(&clusters("[{name: web}]"), [true, false, false]);
    holds(&clusters("[{name: web*}]"), [true, true, false]);
    holds(&clusters("[{name: web-*}, {name: db}]"), [false, true, true]);
    holds(&clusters("[{labels: {team: a}}]"), [false, false, true]);
    holds(&clusters("[{name: web*, labels: {team: a}}]"), [false; 3]);
    holds(
        "{workloadClusters: [{namespaces: [{name: web}]}, {name: west, namespaces: [{name: db}]}]}",
        [true, false, true],
    );
    let by_label = read("", &clusters("[{labels: {team: a}}]")).value.expect("valid");
    assert!(!by_label.holds("db"), "a name alone does not show the labels");
}

#[test]
fn configuration() {
    /// In which of `a` and `b` objects count.
    #[track_caller]
    fn reads(spec: &str, expected: [bool; 2]) {
        let workspace = read("", spec).value.expect("valid");
        let got = ["a", "b"].map(|it| workspace.reads_config(it, &Labels::new()));
        assert_eq!(got, expected, "{spec}");
        assert!(workspace.holds("a") && workspace.holds("b"), "{spec}");
    }
    reads(&clusters("[{name: a}, {name: b}]"), [true, true]);
    reads(
        &clusters("[{name: a, configEnabled: false}, {name: b, configEnabled: true}]"),
        [false, true],
    );
    reads(&clusters("[{name: a, configEnabled: true}, {name: b}]"), [true, false]);
    let two = |a: &str, b: &str| {
        format!(
            "{{workloadClusters: [{{namespaces: [{{name: a}}]{a}}}, {{namespaces: [{{name: b}}]{b}}}]}}"
        )
    };
    reads(&two("", ""), [true, true]);
    reads(&two(", configEnabled: true", ", configEnabled: false"), [true, false]);
    reads(&two(", configEnabled: true", ""), [true, false]);
}

#[test]
fn faults_of_workspaces() {
    #[track_caller]
    fn check(spec: &str, expected: &[&str]) {
        testing::check(&read("", spec), spec, expected);
    }
    let at = "spec.workloadClusters[0].namespaces";
    for none in ["[]", "null"] {
        check(&clusters(none), &[&format!("E-WORKSPACE {at}")]);
    }
    check(&clusters("[{name: a}, {}]"), &[&format!("E-WORKSPACE {at}[1]")]);
    check(&clusters("[{labels: {a: '*'}}]"), &[&format!("E-SELECTOR-SYNTAX {at}[0].labels")]);
    check(&clusters("[a]"), &[&format!("E-FIELD-TYPE {at}[0]")]);
    check(&clusters("[{name: a, nam: b}]"), &[&format!("W-FIELD-UNKNOWN {at}[0].nam")]);
}

#[test]
fn exchanges() {
    /// Whether `web` (with `team: web`) is offered the external service `v/n` (with `a: b`).
    #[track_caller]
    fn offered(exchange: &str, expected: bool) {
        let spec =
            format!("{{exportTo: [{exchange}], importFrom: [{exchange}], options: {{x: 1}}}}");
        let checked = read_settings(&spec);
        testing::check(&checked, &spec, &[]);
        let settings = checked.value.expect("valid");
        let workspace = read(", labels: {team: web}", "{}").value.expect("valid");
        let (meta, _) =
            testing::object("networking.gloo.solo.io/v2 ExternalService", ", labels: {a: b}", "");
        let service = Header::new(&meta);
        for side in [&settings.exports, &settings.imports] {
            let got = side.iter().any(|it| it.selects(&workspace, &service));
            assert_eq!(got, expected, "{exchange}");
        }
    }
    offered("", false);
    offered("{}", true);
    offered("{workspaces: []}", true);
    offered("{workspaces: [{}]}", true);
    offered("{workspaces: [{name: n}]}", true);
    offered("{workspaces: [{name: '*'}]}", true);
    offered("{workspaces: [{name: other}]}", false);
    offered("{workspaces: [{name: other}, {selector: {team: web}}]}", true);
    offered("{workspaces: [{name: other, selector: {team: web}}]}", false);
    offered("{workspaces: [{selector: {team: db}}]}", false);
    let kind = |kind: &str| format!("{{resources: [{{kind: {kind}}}]}}");
    for all in ["ALL", "all", "EXTERNAL_SERVICE", "external_service", "null"] {
        offered(&kind(all), true);
    }
    for other in ["SERVICE", "ROUTE_TABLE", "VIRTUAL_DESTINATION", "API_DOC", "EXTERNAL_WORKLOAD"] {
        offered(&kind(other), false);
    }
    offered("{resources: [{kind: SERVICE}, {kind: EXTERNAL_SERVICE}]}", true);
    offered("{resources: [{name: n, namespace: v, labels: {a: b}, cluster: west}]}", true);
    offered("{resources: [{name: other}]}", false);
    offered("{resources: [{namespace: other}]}", false);
    offered("{resources: [{labels: {a: c}}]}", false);
    offered("{workspaces: [{name: other}], resources: [{kind: ALL}]}", false);
    offered("{workspaces: [{name: other}]}, {resources: [{kind: SERVICE}]}", false);
}

#[test]
fn faults_of_settings() {
    #[track_caller]
    fn check(spec: &str, expected: &[&str]) {
        testing::check(&read_settings(spec), spec, expected);
    }
    check("null", &[]);
    check(
        "{exportTo: [{resources: [{kind: POD}]}], importFrom: [{resources: [{kind: x}]}]}",
        &[
            "E-WORKSPACE spec.exportTo[0].resources[0].kind",
            "E-WORKSPACE spec.importFrom[0].resources[0].kind",
        ],
    );
    check(
        "{exportTo: [{workspaces: [{selector: {a: '*'}}]}]}",
        &["E-SELECTOR-SYNTAX spec.exportTo[0].workspaces[0].selector"],
    );
    check(
        "{importFrom: [{resources: [{labels: {a: '*'}}]}]}",
        &["E-SELECTOR-SYNTAX spec.importFrom[0].resources[0].labels"],
    );
    check("{exportTo: [{workspaces: web}]}", &["E-FIELD-TYPE spec.exportTo[0].workspaces"]);
    check("{exports: []}", &["W-FIELD-UNKNOWN spec.exports"]);
}

//! Every rule of a `Sidecar`, by the code it gives, and what is read.

use super::{Import, ImportNamespace, Sidecar};
use crate::registry::{findings::Checked, host::HostPattern, istio::mesh::Mode, testing};

fn read(spec: &str) -> Checked<Sidecar> {
    let (meta, document) =
        testing::object("networking.istio.io/v1 Sidecar", "", &format!(", spec: {spec}"));
    Sidecar::check(&meta, &document)
}

#[track_caller]
fn check(spec: &str, valid: bool, codes: &[&str]) {
    testing::check_codes(&read(spec), spec, valid, codes);
}

#[track_caller]
fn refused(spec: &str, code: &str) {
    check(spec, false, &[code]);
}

#[track_caller]
fn value(spec: &str) -> Sidecar {
    testing::value(read(spec), spec)
}

fn hosts(list: &str) -> String {
    format!("{{egress: [{{hosts: [{list}]}}]}}")
}

#[test]
fn something_is_set() {
    for spec in ["{}", "{egress: []}", "{workloadSelector: {labels: {a: b}}}", "{egress: null}"] {
        refused(spec, "E-SIDECAR-EMPTY");
    }
    for spec in [
        "{egress: [{hosts: ['*/*']}]}",
        "{ingress: [{port: {number: 80, protocol: HTTP, name: http}, defaultEndpoint: '127.0.0.1:80'}]}",
        "{outboundTrafficPolicy: {}}",
        "{inboundConnectionPool: {http: {http1MaxPendingRequests: 1}}}",
    ] {
        check(spec, true, &[]);
    }
    refused("{ingress: [{defaultEndpoint: '127.0.0.1:80'}]}", "E-SIDECAR-LISTENERS");
    assert!(value("{outboundTrafficPolicy: {}}").egress.is_empty());
}

#[test]
fn selectors() {
    let spec = |selector: &str| format!("{{egress: [{{hosts: ['./*']}}]{selector}}}");
    assert_eq!(value(&spec("")).selector, None);
    check(&spec(", workloadSelector: {}"), true, &["W-SELECTOR-EMPTY"]);
    assert_eq!(value(&spec(", workloadSelector: {}")).selector.map(|it| it.len()), Some(0));
    refused(&spec(", workloadSelector: {labels: {app: '*'}}"), "E-SELECTOR-SYNTAX");
}

#[test]
fn host_syntax() {
    for good in [
        "./*",
        "*/*",
        "ns/a.example.com",
        "'*/*.example.com'",
        "~/*",
        "~ns/a.example.com",
        "'~./*'",
        "'~*/*'",
    ] {
        check(&hosts(&format!("'{}'", good.trim_matches('\''))), true, &[]);
    }
    for bad in [
        "a.example.com",
        "*",
        "~",
        "",
        "./reviews",
        "./*foo.example.com",
        "ns_1/*",
        "/a.example.com",
        "ns/",
        "a/b/c",
        "./203.0.113.4",
        "./*.",
        "~~/*",
        "NS!/*",
    ] {
        refused(&hosts(&format!("'{bad}'")), "E-SIDECAR-HOST");
    }
    refused(&hosts(""), "E-SIDECAR-HOST");
    refused("{egress: [{}]}", "E-SIDECAR-HOST");
    refused("{egress: [null]}", "E-SIDECAR-HOST");
}

#[test]
fn what_is_imported() {
    let import = |namespace: ImportNamespace, host: Option<&str>| Import {
        namespace,
        host: host.map(|host| HostPattern::parse(host).expect("a host")),
    };
    let named = |name: &str| ImportNamespace::Named(name.to_owned());
    let listener =
        &value(&hosts("'./*', 'ns/*.Example.com', '~ns/a.example.com', '~/b.example.com'")).egress
            [0];
    assert_eq!(
        listener.imports,
        [import(ImportNamespace::Own, None), import(named("ns"), Some("*.example.com"))]
    );
    assert_eq!(
        listener.except,
        [
            import(named("ns"), Some("a.example.com")),
            import(ImportNamespace::All, Some("b.example.com"))
        ]
    );
    let nothing = &value(&hosts("'~/*'")).egress[0];
    assert!(nothing.imports.is_empty());
    assert_eq!(nothing.except, [import(ImportNamespace::All, None)]);
}

#[test]
fn duplicates() {
    for (list, places) in [
        ("./a.example.com, ./a.example.com", &[1][..]),
        ("./a.example.com, v/A.example.com", &[1]),
        ("ns/*, ns/a.example.com", &[1]),
        ("ns/a.example.com, ns/*", &[0]),
        ("'*/*', ns/*", &[1]),
        ("'~ns/*', '~ns/a.example.com'", &[1]),
        ("ns/*, '~ns/a.example.com'", &[]),
        ("'*/*', '~ns/*'", &[]),
        ("'*/a.example.com', ns/a.example.com", &[]),
        ("ns/*.example.com, ns/a.example.com", &[]),
    ] {
        let checked = read(&hosts(list));
        let got: Vec<(&str, String)> =
            checked.reports.iter().map(|it| (it.code.as_str(), it.path.clone())).collect();
        let expected: Vec<(&str, String)> = places
            .iter()
            .map(|at| ("W-SIDECAR-DUPLICATE", format!("spec.egress[0].hosts[{at}]")))
            .collect();
        assert_eq!(got, expected, "{list}");
        assert!(checked.value.is_some(), "{list}");
    }
}

#[test]
fn listeners() {
    let egress = |list: &str| format!("{{egress: [{list}]}}");
    let at = |port: &str| {
        format!("{{port: {{number: {port}, protocol: HTTP, name: http}}, hosts: ['./*']}}")
    };
    let last = "{hosts: ['./*']}";
    check(&egress(&format!("{}, {}, {last}", at("80"), at("81"))), true, &[]);
    let ports: Vec<Option<u16>> =
        value(&egress(&format!("{}, {last}", at("80")))).egress.iter().map(|it| it.port).collect();
    assert_eq!(ports, [Some(80), None]);
    refused(&egress(&format!("{last}, {}", at("80"))), "E-SIDECAR-LISTENERS");
    refused(&egress(&format!("{last}, {last}")), "E-SIDECAR-LISTENERS");
    refused(&egress(&format!("{}, {}", at("80"), at("80"))), "E-SIDECAR-LISTENERS");
    for port in [
        "{number: 0, protocol: HTTP}",
        "{number: 65536, protocol: HTTP}",
        "{protocol: HTTP}",
        "{number: 80, protocol: WEBSOCKET}",
        "{number: 80, protocol: HTTP, name: http_1}",
        "{number: 80, protocol: HTTP, targetPort: 81}",
    ] {
        refused(&egress(&format!("{{port: {port}, hosts: ['./*']}}")), "E-SIDECAR-LISTENERS");
    }
}

#[test]
fn local_listeners() {
    let egress = |fields: &str| {
        format!(
            "{{egress: [{{port: {{number: 3306, protocol: MYSQL}}, hosts: ['./*'], {fields}}}]}}"
        )
    };
    for fields in ["bind: 127.0.0.1", "captureMode: NONE", "bind: '::1', captureMode: DEFAULT"] {
        check(&egress(fields), true, &["U-SIDECAR-LISTENER"]);
        assert!(value(&egress(fields)).egress[0].is_local, "{fields}");
    }
    for fields in ["captureMode: DEFAULT", "captureMode: IPTABLES"] {
        check(&egress(fields), true, &[]);
        assert!(!value(&egress(fields)).egress[0].is_local, "{fields}");
    }
    let port = |port: &str, more: &str| {
        format!("{{egress: [{{port: {{{port}}}, hosts: ['./*']{more}}}]}}")
    };
    check(&port("number: 3128, protocol: HTTP_PROXY", ""), true, &["U-SIDECAR-LISTENER"]);
    let unix = ", bind: 'unix:///run/x'";
    check(&port("number: 0, protocol: HTTP", unix), true, &["U-SIDECAR-LISTENER"]);
    check(&port("protocol: HTTP", ", bind: 'unix://@x'"), true, &["U-SIDECAR-LISTENER"]);
    for (fields, more) in [
        ("protocol: HTTP", ", bind: 'unix://x'"),
        ("protocol: HTTP", ", bind: 'unix:///run/'"),
        ("number: 80, protocol: HTTP", ", bind: localhost"),
        ("number: 80, protocol: HTTP", ", captureMode: TPROXY"),
        ("protocol: HTTP", ", bind: 'unix:///run/x', captureMode: IPTABLES"),
    ] {
        check(&port(fields, more), false, &["E-SIDECAR-LISTENERS", "U-SIDECAR-LISTENER"]);
    }
}

#[test]
fn policies() {
    let policy = |fields: &str| format!("{{outboundTrafficPolicy: {{{fields}}}}}");
    let mode = |fields: &str| value(&policy(fields)).policy.map(|it| it.mode);
    assert_eq!(mode(""), Some(Mode::RegistryOnly));
    assert_eq!(mode("mode: REGISTRY_ONLY"), Some(Mode::RegistryOnly));
    assert_eq!(mode("mode: ALLOW_ANY"), Some(Mode::AllowAny));
    assert_eq!(value(&hosts("'./*'")).policy, None);
    assert_eq!(value("{egress: [{hosts: ['./*']}], outboundTrafficPolicy: null}").policy, None);
    for fields in ["mode: ALLOW_ANY_DYNAMIC_DNS", "mode: allow_any", "mode: ''"] {
        refused(&policy(fields), "E-SIDECAR-POLICY");
    }
    let proxy =
        |mode: &str, proxy: &str| policy(&format!("mode: {mode}, egressProxy: {{{proxy}}}"));
    let valid = "host: gw.ns.svc.cluster.local, subset: s, port: {number: 80}";
    check(&proxy("ALLOW_ANY", valid), true, &[]);
    let got = value(&proxy("ALLOW_ANY", valid)).policy.and_then(|it| it.proxy).expect("a proxy");
    assert_eq!((got.host.to_string().as_str(), got.port), ("gw.ns.svc.cluster.local", Some(80)));
    refused(&proxy("REGISTRY_ONLY", valid), "E-SIDECAR-POLICY");
    refused(&policy(&format!("egressProxy: {{{valid}}}")), "E-SIDECAR-POLICY");
    for bad in [
        "host: gw.ns.svc.cluster.local",
        "host: gw.ns.svc.cluster.local, port: {number: 0}",
        "host: '*.example.com', port: {number: 80}",
        "port: {number: 80}",
    ] {
        refused(&proxy("ALLOW_ANY", bad), "E-SIDECAR-POLICY");
    }
}

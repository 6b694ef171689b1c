//! An object that breaks a rule opens nothing and hides nothing: all it changes is what is
//! reported, and every new report is about it.

use exeat_agent::{
    policy::ids::Ids,
    registry::{object, report::Report},
};
use serde_json::Value;

use super::{
    super::{dice::Dice, generate, manifest::Object, yaml},
    Tally, assert_seen,
    claims::is_refused,
    count, each_seed,
    setting::{Setting, clients, documents, load, place},
};

const CASES: u64 = 150;
/// Broken objects that are tried in each world, one after the other.
const BROKEN: usize = 8;
/// Worlds beside its own whose objects are broken.
const NEIGHBOURS: u64 = 3;

/// What breaks an object: kind (`*` is any), field, what is put there, and what is said of it.
const BREAKS: &[(&str, &str, &str, &str)] = &[
    ("*", "metadata/labels", "[1]", "E-OBJECT"),
    ("ServiceEntry", "apiVersion", r#""networking.istio.io/v9""#, "E-API-VERSION"),
    ("Sidecar", "apiVersion", r#""networking.istio.io/v9""#, "E-API-VERSION"),
    ("ExternalService", "apiVersion", r#""networking.gloo.solo.io/v1""#, "E-API-VERSION"),
    ("ServiceEntry", "spec", r#""text""#, "E-FIELD-TYPE"),
    ("ServiceEntry", "spec/hosts", r#"["*"]"#, "E-HOST-FULL-WILDCARD"),
    ("ServiceEntry", "spec/hosts", r#"["a.example.com", "foo.*.com"]"#, "E-HOST-SYNTAX"),
    ("ServiceEntry", "spec/hosts", "[]", "E-HOSTS-EMPTY"),
    (
        "ServiceEntry",
        "spec/ports",
        r#"[{"number":0,"name":"a","protocol":"HTTP"}]"#,
        "E-PORT-RANGE",
    ),
    (
        "ServiceEntry",
        "spec/ports",
        r#"[{"number":80,"name":"a","protocol":"SCTP"}]"#,
        "E-PORT-PROTOCOL",
    ),
    ("ServiceEntry", "spec/ports", r#"[{"number":80,"protocol":"HTTP"}]"#, "E-PORT-NAME"),
    ("ServiceEntry", "spec/resolution", r#""PERHAPS""#, "E-RESOLUTION"),
    ("ServiceEntry", "spec/location", r#""ELSEWHERE""#, "E-LOCATION"),
    ("ServiceEntry", "spec/exportTo", r#"["*", "."]"#, "E-EXPORTTO"),
    ("ServiceEntry", "spec/exportTo", r#"["team-a", "team-a"]"#, "E-EXPORTTO"),
    ("ServiceEntry", "spec/addresses", r#"["198.51.100.256"]"#, "E-ADDR-SYNTAX"),
    ("VirtualService", "spec/hosts", r#"["a_b.example.com"]"#, "E-VS-HOST"),
    ("VirtualService", "spec/hosts", r#"["*", "a.example.com"]"#, "E-VS-HOST"),
    ("VirtualService", "spec/exportTo", r#"["~"]"#, "E-EXPORTTO"),
    ("VirtualService", "spec/http", r#"[{"route":[]}]"#, "E-VS-ROUTE"),
    (
        "VirtualService",
        "spec/tls",
        r#"[{"match":[{"port":443}],"route":[{"destination":{"host":"a.example.com"}}]}]"#,
        "E-VS-SNI",
    ),
    (
        "Gateway",
        "spec/servers",
        r#"[{"port":{"number":0,"name":"a","protocol":"HTTP"},"hosts":["*"]}]"#,
        "E-GATEWAY",
    ),
    ("DestinationRule", "spec/host", r#""""#, "E-DR"),
    ("DestinationRule", "spec/exportTo", r#"["~"]"#, "E-EXPORTTO"),
    ("Sidecar", "spec/egress", r#"[{"hosts":["example.com"]}]"#, "E-SIDECAR-HOST"),
    ("Sidecar", "spec/egress", r#"[{"hosts":["./*"]},{"hosts":["./*"]}]"#, "E-SIDECAR-LISTENERS"),
    ("Sidecar", "spec/outboundTrafficPolicy", r#"{"mode":"PERHAPS"}"#, "E-SIDECAR-POLICY"),
    ("WorkloadEntry", "spec/address", r#""*.example.com""#, "E-ENDPOINT-ADDRESS"),
    (
        "ExternalService",
        "spec",
        r#"{"hosts":["a.example.com"],"addresses":["198.18.0.9"]}"#,
        "E-GLOO-HOSTS-XOR-ADDRESSES",
    ),
    (
        "ExternalService",
        "spec/ports",
        r#"[{"number":70000,"name":"a","protocol":"HTTP"}]"#,
        "E-PORT-RANGE",
    ),
    ("ExternalEndpoint", "spec/address", r#""*.example.com""#, "E-ENDPOINT-ADDRESS"),
    ("Service", "spec/ports", r#"[{"name":"a","port":0}]"#, "E-PORT-RANGE"),
    ("Service", "spec/type", r#""Elsewhere""#, "E-SERVICE"),
    ("Pod", "spec", r#""text""#, "E-FIELD-TYPE"),
    ("Endpoints", "subsets", r#""text""#, "E-FIELD-TYPE"),
    ("EndpointSlice", "endpoints", r#""text""#, "E-FIELD-TYPE"),
    ("ASMEgressTrafficPolicy", "spec/egressRules", "[]", "E-ASM-SPEC"),
    ("ASMEgressTrafficPolicy", "spec/byEgressGateway", r#"{"name":""}"#, "E-ASM-SPEC"),
];

#[test]
fn a_refused_object_changes_only_reports() {
    let tally = each_seed(CASES, check);
    let seen = |(kind, _, _, code): &(&str, &str, &str, &str)| format!("{kind} {code}");
    for one in BREAKS {
        assert_seen(&tally, &[(&seen(one), 3)]);
    }
}

fn check(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let world = generate::world(seed);
    let setting = Setting::new(&world);
    let workloads = place(&clients(&world.expect));
    let whole = documents(&world);
    let before = load(&whole);
    let compiled = setting.compile(&before.registry, &workloads, &mut Ids::default());
    let mut dice = Dice::new(!seed);
    let mut pool = world.registry;
    pool.extend((1..=NEIGHBOURS).flat_map(|it| generate::world(seed + it * CASES).registry));
    pool.retain(|it| !is_refused(it));
    for number in 0..BROKEN {
        let Some((broken, what)) = broken(&mut dice, &pool) else { continue };
        count(tally, what);
        // Anywhere among the others.
        let mut more = whole.clone();
        more.insert(dice.below(more.len() + 1), broken.clone());
        let after = load(&more);
        let again = setting.compile(&after.registry, &workloads, &mut Ids::default());
        let is_same = after.registry == before.registry
            && after.in_force().eq(before.in_force())
            && again.image == compiled.image
            && again.reports == compiled.reports
            && format!("{:?}", again.directory) == format!("{:?}", compiled.directory);
        let added = without(&after.reports, &before.reports);
        let is_about = |it: &Report| it.object == *object::read(&broken).object;
        if !is_same
            || added.is_empty()
            || !added.iter().all(is_about)
            || !without(&before.reports, &after.reports).is_empty()
        {
            return Err(format!("number {number}: {broken:#?}\n{before:#?}\n{after:#?}"));
        }
    }
    Ok(())
}

/// An object of the pool under another name, broken in one of the ways.
fn broken(dice: &mut Dice, pool: &[Object]) -> Option<(serde_yaml::Value, String)> {
    let (kind, field, value, code) = BREAKS[dice.below(BREAKS.len())];
    let usable: Vec<&Object> = pool.iter().filter(|it| kind == "*" || it.kind() == kind).collect();
    if usable.is_empty() {
        return None;
    }
    let mut document = yaml::document(dice.pick(&usable));
    document["metadata"]["name"] = "refused".into();
    let mut place = &mut document;
    for key in field.split('/') {
        if place.is_null() {
            *place = Value::Object(serde_json::Map::new());
        }
        place = place.as_object_mut()?.entry(key).or_insert(Value::Null);
    }
    *place = serde_json::from_str(value).expect("JSON");
    let document = serde_yaml::to_value(document).expect("plain data");
    let read = object::read(&document);
    let codes: Vec<&str> = read.reports.iter().map(|it| it.code.as_str()).collect();
    assert!(codes.contains(&code), "{field} {value} {codes:?}, and {code} is wanted: {document:?}");
    Some((document, format!("{kind} {code}")))
}

/// Reports of `all` that are not among `some`, as often as they are more.
fn without(all: &[Report], some: &[Report]) -> Vec<Report> {
    let mut left = all.to_vec();
    for report in some {
        if let Some(index) = left.iter().position(|it| it == report) {
            left.remove(index);
        }
    }
    left
}

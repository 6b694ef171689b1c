//! Runs one case: compiles its registry for every client, judges its flows, and compares.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use super::{Case, CaseResult, FlowWords, Mismatch, raw, settings};
use crate::{
    config::Config,
    registry::report::{Report, Severity},
    trial::{Attempt, Lookup, Outcome, Trial, TrialClient, Verdict},
};

impl Case {
    /// Runs the case.
    pub fn run(&self) -> CaseResult {
        let case = &self.0;
        let loaded = settings::registry(case);
        let config = settings::config(case);
        let answers = settings::answers(case);
        let mut trials: BTreeMap<TrialClient, Trial> = BTreeMap::new();
        let mut reports: BTreeSet<Report> = loaded.reports.iter().cloned().collect();
        for flow in &case.expect {
            trials.entry(client(flow)).or_insert_with_key(|client| {
                let trial = Trial::new(&loaded.registry, &config, &answers, client);
                reports.extend(trial.reports().iter().cloned());
                trial.with_reports(&loaded.reports)
            });
        }
        let mut result = CaseResult::default();
        for (what, expected, got, why) in objects(case, &reports) {
            result.failed += 1;
            let case = case.title.clone();
            result.mismatches.push(Mismatch {
                case,
                flow: None,
                what,
                expected,
                got,
                why,
                about: None,
            });
        }
        for (index, flow) in case.expect.iter().enumerate() {
            if flow.requires.iter().any(|part| !part.is_built()) {
                result.skipped += 1;
                continue;
            }
            let Some(trial) = trials.get(&client(flow)) else { continue };
            let outcome = trial.judge(&attempt(flow, &config));
            let differences = differences(flow, &outcome);
            if differences.is_empty() {
                result.passed += 1;
            } else {
                result.failed += 1;
            }
            result.mismatches.extend(differences.into_iter().map(|difference| Mismatch {
                case: case.title.clone(),
                flow: Some(index),
                what: difference.what,
                expected: difference.expected,
                got: difference.got,
                why: flow.why.clone(),
                about: Some(words(flow)),
            }));
        }
        result
    }
}

fn client(flow: &raw::Flow) -> TrialClient {
    let raw::Client { namespace, labels, sidecar, ambient, host_network } = flow.client.clone();
    TrialClient {
        namespace,
        labels,
        has_sidecar: sidecar,
        is_ambient: ambient,
        is_host_network: host_network,
    }
}

fn attempt(flow: &raw::Flow, config: &Config) -> Attempt {
    let resolver = flow.resolver.as_ref().map(|it| it.0).or(config.dns.resolvers.first().copied());
    // Without a trusted resolver nobody can have answered.
    let lookup = flow.dns.as_ref().zip(resolver).map(|(name, resolver)| Lookup {
        name: name.0.clone(),
        answers: flow.answers.clone().unwrap_or_else(|| vec![flow.dest.ip]),
        cname: flow.cname.iter().map(|it| it.0.clone()).collect(),
        resolver,
        ttl: flow.ttl,
        age: flow.age,
    });
    let raw::Destination { ip, port, proto } = flow.dest;
    Attempt { lookups: lookup.into_iter().collect(), ip, port, protocol: proto }
}

fn words(flow: &raw::Flow) -> FlowWords {
    let raw::Client { namespace, labels, sidecar, ambient, host_network } = &flow.client;
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let flags = [(*sidecar, "sidecar"), (*ambient, "ambient"), (*host_network, "host network")];
    let flags = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, word)| (*word).to_owned());
    let client: Vec<String> = [namespace.clone()].into_iter().chain(labels).chain(flags).collect();
    let raw::Destination { ip, port, proto } = flow.dest;
    FlowWords {
        client: client.join(" "),
        dns: flow.dns.as_ref().map(|name| name.0.to_ascii()),
        dest: format!("{}/{proto}", SocketAddr::new(ip, port)),
    }
}

/// One respect in which a flow was judged otherwise.
struct Difference {
    what: &'static str,
    expected: String,
    got: String,
}

/// Compares a flow's outcome. A wrong verdict makes the rest pointless.
fn differences(flow: &raw::Flow, outcome: &Outcome) -> Vec<Difference> {
    if outcome.verdict != flow.verdict {
        return vec![Difference {
            what: "verdict",
            expected: flow.verdict.as_str().to_owned(),
            got: in_full(outcome),
        }];
    }
    let mut differences = Vec::new();
    let mut compare = |what, expected: String, got: String| {
        if expected != got {
            differences.push(Difference { what, expected, got });
        }
    };
    let dialled = SocketAddr::new(flow.dest.ip.to_canonical(), flow.dest.port);
    let goes_to = |given: Option<BTreeSet<SocketAddr>>| given.unwrap_or_else(|| [dialled].into());
    let wanted: Option<BTreeSet<SocketAddr>> = flow.rewrite.as_ref().map(|given| {
        given.iter().map(|it| SocketAddr::new(it.ip().to_canonical(), it.port())).collect()
    });
    if wanted.is_some() || flow.verdict == Verdict::Allow {
        compare("rewrite", list(&goes_to(wanted)), list(&goes_to(outcome.rewrite.clone())));
    }
    let or_none = |given: Option<String>| given.unwrap_or_else(|| "none".to_owned());
    if let Some(via) = &flow.via {
        compare("via", via.clone(), or_none(outcome.via.clone()));
    }
    if let Some(entry) = &flow.entry {
        compare("match", entry.clone(), or_none(outcome.entry.as_ref().map(ToString::to_string)));
    }
    if let Some(reason) = &flow.reason {
        compare("reason", reason.clone(), outcome.reason.clone());
    }
    differences
}

/// The verdict with what it rests on.
fn in_full(outcome: &Outcome) -> String {
    let Outcome { verdict, reason, sentence, entry, .. } = outcome;
    let by = entry.as_ref().map(|entry| format!("; {entry}")).unwrap_or_default();
    format!("{} ({reason}: {sentence}{by})", verdict.as_str())
}

fn list(destinations: &BTreeSet<SocketAddr>) -> String {
    let texts: Vec<String> = destinations.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

/// Object, as `Kind/namespace/name`, and code.
type Line = (String, String);

/// What is not as expected about objects: which key, expected, got, why.
fn objects(
    case: &raw::Case,
    reports: &BTreeSet<Report>,
) -> Vec<(&'static str, String, String, String)> {
    let said: BTreeSet<Line> = reports.iter().map(line).collect();
    let refused: BTreeSet<Line> =
        reports.iter().filter(|it| it.severity == Severity::Error).map(line).collect();
    let codes = |object: &str, lines: &BTreeSet<Line>| {
        let codes = lines.iter().filter(|(it, _)| it == object).map(|(_, code)| code.as_str());
        codes.collect::<Vec<_>>().join(", ")
    };
    let or_nothing = |text: String, nothing: &str| {
        if text.is_empty() { nothing.to_owned() } else { text }
    };
    let mut found = Vec::new();
    for wanted in &case.reject {
        let object = object(wanted);
        if !refused.contains(&(object.clone(), wanted.code.clone())) {
            let got = or_nothing(codes(&object, &refused), "not refused");
            found.push((
                "reject",
                format!("{object} {}", wanted.code),
                format!("{object} {got}"),
                wanted.reason.clone(),
            ));
        }
    }
    let listed: BTreeSet<String> = case.reject.iter().map(object).collect();
    let refused_objects: BTreeSet<&String> = refused.iter().map(|(object, _)| object).collect();
    for object in refused_objects.into_iter().filter(|it| !listed.contains(*it)) {
        let why = reports
            .iter()
            .find(|it| it.severity == Severity::Error && it.object.to_string() == *object)
            .map(|it| it.message.clone())
            .unwrap_or_default();
        let got = format!("{object} {}", codes(object, &refused));
        found.push(("reject", format!("{object} not refused"), got, why));
    }
    for wanted in &case.report {
        let object = object(wanted);
        if !said.contains(&(object.clone(), wanted.code.clone())) {
            let got = or_nothing(codes(&object, &said), "nothing reported");
            found.push((
                "report",
                format!("{object} {}", wanted.code),
                format!("{object} {got}"),
                wanted.reason.clone(),
            ));
        }
    }
    found
}

fn line(report: &Report) -> Line {
    (report.object.to_string(), report.code.as_str().to_owned())
}

fn object(said: &raw::Said) -> String {
    let raw::Said { kind, namespace, name, .. } = said;
    let namespace = namespace.clone().unwrap_or_else(raw::default_namespace);
    format!("{kind}/{namespace}/{name}")
}

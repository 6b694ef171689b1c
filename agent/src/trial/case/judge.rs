//! Runs one case: compares what became of its flows and objects with what it expects.

use std::{collections::BTreeSet, net::SocketAddr};

use super::{Case, CaseResult, FlowWords, Mismatch, raw};
use crate::{
    registry::report::Report,
    trial::{Outcome, Verdict},
};

impl Case {
    /// Runs the case.
    pub fn run(&self) -> CaseResult {
        let case = &self.0;
        let compiled = self.compile();
        let mut result = CaseResult::default();
        for (what, expected, got, why) in objects(case, &compiled.reports) {
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
        for judged in compiled.flows() {
            if judged.is_skipped {
                result.skipped += 1;
                continue;
            }
            let flow = judged.wanted;
            let differences = differences(flow, &judged.outcome);
            if differences.is_empty() {
                result.passed += 1;
            } else {
                result.failed += 1;
            }
            result.mismatches.extend(differences.into_iter().map(|difference| Mismatch {
                case: case.title.clone(),
                flow: Some(judged.index),
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
    let refused: BTreeSet<Line> = reports.iter().filter(|it| it.code.refuses()).map(line).collect();
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
            .find(|it| it.code.refuses() && it.object.to_string() == *object)
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

//! An explanation for people.

use exeat_agent::trial::{Verdict, path::State};

use super::Explanation;
use crate::commands::output::{BAD, GOOD, HEAD, paint};

pub(super) fn text(explanation: &Explanation) -> String {
    let Explanation { outcome, destination, path, nearest, missing, notes } = explanation;
    let style = if outcome.verdict == Verdict::Deny { BAD } else { GOOD };
    let host = destination.host.as_deref().map(|host| format!("{host} ")).unwrap_or_default();
    let mut lines = vec![format!(
        "{}  {host}{} port {}/{}: {} ({})",
        paint(style, outcome.verdict.as_str()),
        destination.ip,
        destination.port,
        destination.protocol,
        outcome.sentence,
        outcome.reason,
    )];
    let mut fact = |what: &str, value: Option<String>| {
        lines.extend(value.map(|value| format!("  {what:8}  {value}")));
    };
    fact("entry", outcome.entry.as_ref().map(ToString::to_string));
    fact("matched", outcome.subject.clone());
    fact("via", outcome.via.clone());
    let destinations = outcome
        .rewrite
        .as_ref()
        .map(|it| it.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "));
    fact("goes to", destinations);
    fact("missing", missing.as_ref().map(|it| it.sentence.clone()));
    fact("nearest", nearest.as_ref().map(|it| format!("{} ({})", it.pattern, it.entry)));
    lines.push(String::new());
    lines.push(paint(HEAD, "Steps of the decision"));
    for step in path {
        let state = format!("{:11}", step.state.as_str());
        let state = if step.state == State::Decided { paint(style, &state) } else { state };
        lines.push(format!("  {}  {state}  {}", step.number, step.sentence));
    }
    if !notes.is_empty() {
        lines.push(String::new());
        lines.extend(notes.iter().map(|note| format!("note: {note}")));
    }
    lines.join("\n")
}

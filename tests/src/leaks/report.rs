//! The matrix as a table and as JSON.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::json;

use super::finding::{Finding, TwinTried, Verdict};
use super::row::{Layer, Start, Version};

/// The whole table, its reasons, and its sums.
pub fn table(findings: &[Finding]) -> String {
    let mut text = String::new();
    let mut reasons: Vec<&str> = Vec::new();
    let head =
        ["way", "IP", "from", "layer", "caller sees", "leaked", "allowed", "open", "verdict"];
    line(&mut text, &head.map(str::to_owned));
    for finding in findings {
        let allowed = match &finding.twin {
            TwinTried::Tried(tried) => format!("{} {}", tried.result, tried.arrived),
            TwinTried::None(why) => {
                let known = reasons.iter().position(|reason| reason == why);
                let number = known.unwrap_or_else(|| {
                    reasons.push(why);
                    reasons.len() - 1
                });
                format!("[{}]", number + 1)
            }
        };
        line(
            &mut text,
            &[
                finding.way.to_owned(),
                version(finding.version).to_owned(),
                start(finding.start).to_owned(),
                layer(finding.layer).to_owned(),
                finding.forbidden.result.clone(),
                finding.forbidden.arrived.to_string(),
                allowed,
                finding.without_exeat.arrived.to_string(),
                finding.verdict.as_str().to_owned(),
            ],
        );
    }
    text.push_str(
        "\nfrom: where the process is at home; the wire is alone with what comes from outside the \
         pod's cgroup.\nleaked, open: frames that reached the receiver against exeat, and without \
         it. allowed: the same towards an\nallowed destination, what the caller saw and what \
         arrived, or why there is no such thing:\n",
    );
    for (index, reason) in reasons.iter().enumerate() {
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "  [{}] {reason}", index + 1);
    }
    let sums =
        [Verdict::Held, Verdict::Leak, Verdict::Dead, Verdict::TwinFails, Verdict::OtherLayer]
            .map(|verdict| (verdict, findings.iter().filter(|it| it.verdict == verdict).count()));
    let _infallible = write!(text, "\n{} attempts:", findings.len());
    for (verdict, count) in sums {
        let _infallible = write!(text, " {count} {}", verdict.as_str().to_lowercase());
    }
    text.push('\n');
    text
}

/// The same for programs.
pub fn json(findings: &[Finding]) -> Result<String> {
    let leaks = findings.iter().filter(|it| it.verdict == Verdict::Leak).count();
    let failures = findings.iter().filter(|it| it.verdict != Verdict::Held).count();
    let report = json!({
        "attempts": findings.len(),
        "leaks": leaks,
        "failures": failures,
        "rows": findings,
    });
    serde_json::to_string_pretty(&report).context("write the report")
}

fn line(
    text: &mut String,
    [way, ip, from, layer, sees, leaked, allowed, open, verdict]: &[String; 9],
) {
    let _infallible = writeln!(
        text,
        "{way:<52} {ip:<7} {from:<8} {layer:<6} {sees:<12} {leaked:>6}  {allowed:<9} {open:>4}  {verdict}"
    );
}

const fn version(version: Version) -> &'static str {
    match version {
        Version::V4 => "4",
        Version::V6 => "6",
        Version::Mapped => "4 in 6",
    }
}

const fn start(start: Start) -> &'static str {
    match start {
        Start::Pod => "pod",
        Start::Outside => "outside",
        Start::Joining => "joining",
        Start::Moving => "moving",
        Start::Nested => "nested",
        Start::Threaded => "thread",
    }
}

const fn layer(layer: Layer) -> &'static str {
    match layer {
        Layer::Socket => "socket",
        Layer::Wire => "wire",
    }
}

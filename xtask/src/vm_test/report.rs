//! What a machine says of its steps, line by line. `tests/src/bin/vm/report.rs` writes it.

use std::time::Duration;

/// Steps of a kernel that is supported, and of one that is refused.
const SUPPORTED: [&str; 6] = ["load", "deny", "learn", "agent-dead", "takeover", "cleanup"];
const REFUSED: [&str; 1] = ["refuse"];

/// The steps whose passing is asked for.
pub(super) fn expected(supported: bool) -> &'static [&'static str] {
    if supported { &SUPPORTED } else { &REFUSED }
}

/// One line of a report.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Line {
    Step { name: String },
    Note { text: String },
    Passed { name: String, took: Duration },
    Failed { name: String, took: Duration, why: String },
    End,
}

/// None for what is no line of a report.
pub(super) fn parse(line: &str) -> Option<Line> {
    let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let timed = |rest: &str| {
        let mut words = rest.splitn(3, ' ');
        let name = words.next()?.to_owned();
        let took = Duration::from_millis(words.next()?.parse().ok()?);
        Some((name, took, words.next().unwrap_or_default().to_owned()))
    };
    match word {
        "step" => Some(Line::Step { name: rest.to_owned() }),
        "note" => Some(Line::Note { text: rest.to_owned() }),
        "pass" => timed(rest).map(|(name, took, _)| Line::Passed { name, took }),
        "fail" => timed(rest).map(|(name, took, why)| Line::Failed { name, took, why }),
        "end" if rest.is_empty() => Some(Line::End),
        _ => None,
    }
}

/// All that a machine reported.
#[derive(Default)]
pub(super) struct Report {
    passed: Vec<String>,
    failed: Vec<String>,
    running: Option<String>,
    pub(super) notes: Vec<String>,
    pub(super) ended: bool,
}

impl Report {
    pub(super) fn add(&mut self, line: Line) {
        match line {
            Line::Step { name } => self.running = Some(name),
            Line::Note { text } => self.notes.push(text),
            Line::Passed { name, .. } => {
                self.running = None;
                self.passed.push(name);
            }
            Line::Failed { name, why, .. } => {
                self.running = None;
                self.failed.push(format!("{name}: {why}"));
            }
            Line::End => self.ended = true,
        }
    }

    /// Why this is no success; empty if it is one. What was not reported has failed.
    pub(super) fn failures(&self, expected: &[&str]) -> Vec<String> {
        let mut failures = self.failed.clone();
        if let Some(name) = &self.running {
            failures.push(format!("{name}: did not come to its end"));
        }
        let seen = |name: &str| {
            let begins = |failure: &String| {
                failure.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'))
            };
            self.passed.iter().any(|passed| passed == name) || failures.iter().any(begins)
        };
        let missing: Vec<&str> = expected.iter().copied().filter(|name| !seen(name)).collect();
        if !missing.is_empty() {
            failures.push(format!("not tried: {}", missing.join(", ")));
        }
        if failures.is_empty() && !self.ended {
            failures.push("the report has no end".to_owned());
        }
        failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lines: &[&str]) -> Report {
        let mut report = Report::default();
        lines.iter().filter_map(|line| parse(line)).for_each(|line| report.add(line));
        report
    }

    #[test]
    fn lines_are_read_and_others_are_not() {
        let took = Duration::from_millis(1500);
        assert_eq!(
            parse("pass load 1500\r\n"),
            Some(Line::Passed { name: "load".to_owned(), took })
        );
        let (name, why) = ("deny".to_owned(), "1 packet left".to_owned());
        assert_eq!(parse("fail deny 1500 1 packet left"), Some(Line::Failed { name, took, why }));
        assert_eq!(parse("note a b"), Some(Line::Note { text: "a b".to_owned() }));
        assert_eq!(parse("end"), Some(Line::End));
        for line in ["", "pass load", "pass load soon", "end of it", "[    0.1] Linux version"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_report_is_good_if_every_step_passed_and_it_has_an_end() {
        let good = ["step a", "note n", "pass a 1", "step b", "pass b 2", "end"];
        assert!(report(&good).failures(&["a", "b"]).is_empty());
        assert_eq!(report(&good).notes, ["n"]);
        assert_eq!(report(&good).failures(&["a", "b", "c"]), ["not tried: c"]);
        assert_eq!(report(&good[..5]).failures(&["a", "b"]), ["the report has no end"]);
        let expected = ["b: did not come to its end"];
        assert_eq!(report(&good[..4]).failures(&["a", "b"]), expected);
        assert_eq!(report(&[]).failures(&["a", "b"]), ["not tried: a, b"]);
        let failed = ["step a", "fail a 1 because", "step b", "pass b 1", "end"];
        assert_eq!(report(&failed).failures(&["a", "b"]), ["a: because"]);
    }
}

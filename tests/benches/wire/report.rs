//! The figures of all rounds as a table, and as JSON.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::Result;
use serde::Serialize;

use crate::{cases::Case, measure::Bench};

/// What was measured so far.
pub(crate) struct Report {
    entries: usize,
    rounds: usize,
    names: usize,
    rules: usize,
    kernel: String,
    empty: Vec<i64>,
    order: Vec<&'static str>,
    lines: BTreeMap<&'static str, Line>,
}

struct Line {
    goal: Option<i64>,
    /// Whether the empty program was run in the same way, so that a ratio makes sense.
    beside_empty: bool,
    samples: Vec<i64>,
}

/// A line of the report, in nanoseconds.
#[derive(Serialize)]
struct Figures {
    name: &'static str,
    /// Median of all rounds, the empty program subtracted.
    median: i64,
    /// A quarter of the rounds took less.
    lower_quartile: i64,
    /// A quarter of the rounds took more.
    upper_quartile: i64,
    /// With the empty program, as a multiple of it.
    ratio: Option<f64>,
    goal: Option<i64>,
}

#[derive(Serialize)]
struct Summary<'a> {
    kernel: &'a str,
    entries: usize,
    names: usize,
    rules: usize,
    rounds: usize,
    empty: i64,
    figures: Vec<Figures>,
}

impl Report {
    pub(crate) fn new(entries: usize, rounds: usize, bench: &Bench) -> Self {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            entries,
            rounds,
            names: bench.image().names.len(),
            rules: bench.image().rules.len(),
            kernel: release.trim().to_owned(),
            empty: Vec::new(),
            order: Vec::new(),
            lines: BTreeMap::new(),
        }
    }

    pub(crate) fn empty(&mut self, nanoseconds: i64) {
        self.empty.push(nanoseconds);
    }

    pub(crate) fn case(&mut self, case: &Case, net: i64) {
        self.line(case.name, case.goal, true).push(net);
    }

    pub(crate) fn call(&mut self, name: &'static str, net: i64) {
        self.line(name, None, false).push(net);
    }

    fn line(&mut self, name: &'static str, goal: Option<i64>, beside_empty: bool) -> &mut Vec<i64> {
        if !self.lines.contains_key(name) {
            self.order.push(name);
        }
        let line = Line { goal, beside_empty, samples: Vec::new() };
        &mut self.lines.entry(name).or_insert(line).samples
    }

    fn summary(&self) -> Summary<'_> {
        let [_, empty, _] = quartiles(&self.empty);
        let figures = self.order.iter().filter_map(|name| Some((*name, self.lines.get(name)?)));
        let figures = figures.map(|(name, line)| {
            let [lower_quartile, median, upper_quartile] = quartiles(&line.samples);
            Figures {
                name,
                median,
                lower_quartile,
                upper_quartile,
                ratio: line.beside_empty.then(|| ratio(median + empty, empty)),
                goal: line.goal,
            }
        });
        Summary {
            kernel: &self.kernel,
            entries: self.entries,
            names: self.names,
            rules: self.rules,
            rounds: self.rounds,
            empty,
            figures: figures.collect(),
        }
    }

    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(&self.summary())?)
    }

    pub(crate) fn table(&self) -> String {
        let summary = self.summary();
        let mut text = format!(
            "Linux {}, {} entries ({} names, {} rules), {} rounds; the empty program takes {} ns\n\n\
             {:<32} {:>8} {:>14} {:>9} {:>8}\n",
            summary.kernel,
            summary.entries,
            summary.names,
            summary.rules,
            summary.rounds,
            summary.empty,
            "nanoseconds beyond the empty one",
            "median",
            "quartiles",
            "x empty",
            "goal",
        );
        for line in &summary.figures {
            let spread = format!("{}..{}", line.lower_quartile, line.upper_quartile);
            let ratio = line.ratio.map_or_else(|| "-".to_owned(), |it| format!("{it:.1}"));
            let goal = line.goal.map_or_else(String::new, |goal| {
                let word = if line.median <= goal { "ok" } else { "over" };
                format!("{goal} {word}")
            });
            let _infallible = writeln!(
                text,
                "{:<32} {:>8} {spread:>14} {ratio:>9} {goal:>9}",
                line.name, line.median
            );
        }
        text.push_str(
            "\nThe kernel cannot run socket programs on their own: connect() is a UDP socket's call \
             with them\nattached, beyond the same call without. Of a second's denied packets and \
             refused questions\nthe first 200 are reported to user space as well; a batch has 1000.\n",
        );
        text
    }
}

/// Lower quartile, median and upper quartile.
fn quartiles(samples: &[i64]) -> [i64; 3] {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    [1, 2, 3].map(|part| sorted.get(sorted.len() * part / 4).copied().unwrap_or_default())
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a call fit the mantissa")]
fn ratio(part: i64, whole: i64) -> f64 {
    part as f64 / whole.max(1) as f64
}

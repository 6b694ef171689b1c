//! The figures of all rounds, and what follows from them. Ratios are made within a round, whose parts
//! were measured one after another, and their median counts: what slows the machine down for a while
//! slows all of a round.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::machine;

/// The two rows of the baseline, which is measured twice a round.
pub(crate) const BASELINE: [usize; 2] = [0, 1];

/// What is measured, and of whom.
pub(crate) struct Study {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What a reader has to know, a paragraph each.
    pub(crate) remarks: Vec<String>,
    /// Who is measured; the first is the baseline, and the second the baseline again.
    pub(crate) rows: Vec<String>,
    pub(crate) measures: Vec<Measure>,
    pub(crate) goals: Vec<Goal>,
    rounds: Vec<Round>,
}

pub(crate) struct Measure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    /// More is better: the ratio is that of the times which follow from it.
    pub(crate) is_rate: bool,
}

/// `row` takes at most so many times as long as `beside`.
pub(crate) struct Goal {
    pub(crate) row: usize,
    pub(crate) beside: usize,
    pub(crate) measure: usize,
    pub(crate) at_most: f64,
}

/// Figures by row and measure.
pub(crate) type Round = BTreeMap<(usize, usize), f64>;

/// All that is reported.
#[derive(Serialize)]
pub(crate) struct Summary {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) machine: String,
    pub(crate) rounds: usize,
    pub(crate) remarks: Vec<String>,
    pub(crate) measures: Vec<MeasureSummary>,
    pub(crate) goals: Vec<GoalSummary>,
}

#[derive(Serialize)]
pub(crate) struct MeasureSummary {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) rows: Vec<RowSummary>,
}

#[derive(Serialize)]
pub(crate) struct RowSummary {
    pub(crate) name: String,
    /// Median of all rounds.
    pub(crate) value: f64,
    /// How many times as long as the baseline: lower quartile, median, upper quartile of the rounds.
    /// The baseline's own second half is beside its first, which shows the spread of equals.
    pub(crate) ratio: [f64; 3],
    /// In the order of the rounds.
    pub(crate) samples: Vec<f64>,
}

#[derive(Serialize)]
pub(crate) struct GoalSummary {
    pub(crate) text: String,
    pub(crate) ratio: f64,
    pub(crate) at_most: f64,
    pub(crate) is_met: bool,
}

impl Study {
    pub(crate) fn new(
        name: &'static str,
        title: &'static str,
        rows: &[&str],
        measures: Vec<Measure>,
    ) -> Self {
        let rows = rows.iter().map(ToString::to_string).collect();
        let (remarks, goals, rounds) = Default::default();
        Self { name, title, remarks, rows, measures, goals, rounds }
    }

    /// Adds rounds until the next would end later than `time` after `began`. There is at least one.
    pub(crate) fn fill(
        &mut self,
        (began, time): (Instant, Duration),
        mut round: impl FnMut(usize) -> Result<Round>,
    ) -> Result<()> {
        let mut longest = Duration::ZERO;
        for number in 0.. {
            let round_began = Instant::now();
            self.rounds.push(round(number)?);
            longest = longest.max(round_began.elapsed());
            if began.elapsed() + longest > time {
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn summary(&self) -> Summary {
        let measures = self.measures.iter().enumerate().map(|(measure, it)| {
            let rows = (0..self.rows.len()).map(|row| self.row(row, measure));
            // A row may lack what it has no part in.
            let rows = rows.filter(|row| !row.samples.is_empty()).collect();
            MeasureSummary { name: it.name, unit: it.unit, rows }
        });
        Summary {
            name: self.name,
            title: self.title,
            machine: machine::name(),
            rounds: self.rounds.len(),
            remarks: self.remarks.clone(),
            measures: measures.collect(),
            goals: self.goals.iter().map(|goal| self.goal(goal)).collect(),
        }
    }

    fn row(&self, row: usize, measure: usize) -> RowSummary {
        let samples: Vec<f64> =
            self.rounds.iter().filter_map(|round| round.get(&(row, measure)).copied()).collect();
        let [first, again] = BASELINE;
        let ratios = self.rounds.iter().filter_map(|round| {
            let whole = if row == again {
                self.time(round, first, measure)
            } else {
                self.baseline(round, measure)
            };
            Some(self.time(round, row, measure)? / whole?)
        });
        let ratio = quartiles(ratios.collect());
        let [_, value, _] = quartiles(samples.clone());
        RowSummary { name: self.rows.get(row).cloned().unwrap_or_default(), value, ratio, samples }
    }

    fn goal(&self, goal: &Goal) -> GoalSummary {
        let Goal { row, beside, measure, at_most } = *goal;
        let ratios = self.rounds.iter().filter_map(|round| {
            let whole = if BASELINE.contains(&beside) {
                self.baseline(round, measure)
            } else {
                self.time(round, beside, measure)
            };
            Some(self.time(round, row, measure)? / whole?)
        });
        let [_, ratio, _] = quartiles(ratios.collect());
        let name = |row: usize| self.rows.get(row).map_or("", String::as_str);
        let what = self.measures.get(measure).map_or("", |it| it.name);
        let text = format!("{what}: {} beside {}", name(row), name(beside));
        GoalSummary { text, ratio, at_most, is_met: ratio <= at_most }
    }

    /// The time of one operation, in any unit.
    fn time(&self, round: &Round, row: usize, measure: usize) -> Option<f64> {
        let value = *round.get(&(row, measure))?;
        Some(if self.measures.get(measure)?.is_rate { 1.0 / value } else { value })
    }

    /// The mean of both.
    fn baseline(&self, round: &Round, measure: usize) -> Option<f64> {
        let [first, again] = BASELINE;
        Some(f64::midpoint(self.time(round, first, measure)?, self.time(round, again, measure)?))
    }
}

/// Lower quartile, median and upper quartile.
fn quartiles(mut samples: Vec<f64>) -> [f64; 3] {
    samples.sort_by(f64::total_cmp);
    [1, 2, 3].map(|part| samples.get(samples.len() * part / 4).copied().unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::{Goal, Measure, Study};

    #[test]
    fn ratios_are_of_times_and_made_within_a_round() {
        let measure = |is_rate| Measure { name: "it", unit: "", is_rate };
        let rows = ["nothing", "nothing again", "half as fast"];
        let mut study = Study::new("it", "It", &rows, vec![measure(false), measure(true)]);
        study.goals = [0, 1]
            .map(|measure| Goal { row: 2, beside: 0, measure, at_most: 2.1 })
            .into_iter()
            .collect();
        // The machine is slow in the second round.
        for pace in [1.0, 3.0, 1.0] {
            let times = [10.0, 10.0, 20.0].map(|time| time * pace);
            let round = times.iter().enumerate();
            let both = round.flat_map(|(row, time)| [((row, 0), *time), ((row, 1), 1.0 / time)]);
            study.rounds.push(both.collect());
        }
        let summary = study.summary();
        for measure in &summary.measures {
            let ratios: Vec<_> = measure.rows.iter().map(|row| row.ratio).collect();
            assert_eq!(ratios, [[1.0; 3], [1.0; 3], [2.0; 3]]);
        }
        assert!(summary.goals.iter().all(|goal| goal.is_met));
        study.goals = vec![Goal { row: 2, beside: 1, measure: 0, at_most: 1.9 }];
        assert!(!study.summary().goals[0].is_met);
    }
}

//! The figures as text.

use std::fmt::Write as _;

use crate::study::{BASELINE, Summary};

pub(crate) fn text(summary: &Summary) -> String {
    let Summary { title, machine, rounds, remarks, measures, goals, .. } = summary;
    let mut text = format!("{title}\n{machine}, {rounds} rounds\n");
    let rows = measures.iter().flat_map(|measure| &measure.rows);
    let width = rows.map(|row| row.name.chars().count()).max().unwrap_or_default();
    for measure in measures {
        let head = format!("{} ({})", measure.name, measure.unit);
        let _infallible = writeln!(
            text,
            "\n{head:<width$} {:>10}  {:>8}  {:>16}",
            "median", "x base", "quartiles"
        );
        for (index, row) in measure.rows.iter().enumerate() {
            let [lower, middle, upper] = row.ratio;
            let ratio = if index == BASELINE[0] {
                format!("{:>8}  {:>16}", "1", "")
            } else {
                format!("{middle:>8.3}  {:>16}", format!("{lower:.3} .. {upper:.3}"))
            };
            let _infallible = writeln!(text, "{:<width$} {:>10.2}  {ratio}", row.name, row.value);
        }
    }
    text.push('\n');
    for goal in goals {
        let word = if goal.is_met { "met" } else { "MISSED" };
        let _infallible = writeln!(
            text,
            "goal {word}: {}: {:.3}, at most {}",
            goal.text, goal.ratio, goal.at_most
        );
    }
    text.push_str(
        "\n\"x base\" is how many times as long as the baseline it takes, the median of the ratios \
         within each\nround; of the baseline's second half, beside its first: the spread of equals.\n",
    );
    for remark in remarks {
        let _infallible = writeln!(text, "{remark}");
    }
    text
}

//! The figures as a picture: how many times as long as the baseline, a bar for each row.

use std::path::Path;

use anyhow::{Context as _, Result};
use plotters::prelude::*;

use crate::study::{MeasureSummary, Summary};

const WIDTH: u32 = 900;
const BAR: u32 = 34;
/// Caption, axis and margins of a chart.
const AROUND: u32 = 90;
const LABELS: u32 = 240;

pub(crate) fn write(summary: &Summary, path: &Path) -> Result<()> {
    let of = |measure: &MeasureSummary| {
        AROUND + BAR * u32::try_from(measure.rows.len()).unwrap_or_default()
    };
    let height = 40 + summary.measures.iter().map(of).sum::<u32>();
    let drawn = draw(summary, path, height);
    drawn
        .map_err(|error| anyhow::anyhow!("{error}"))
        .with_context(|| format!("draw {}", path.display()))
}

fn draw(
    summary: &Summary,
    path: &Path,
    height: u32,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let root = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let title = format!("{} ({}, {} rounds)", summary.title, summary.machine, summary.rounds);
    let below = root.titled(&title, ("sans-serif", 16))?;
    let charts = below.split_evenly((summary.measures.len(), 1));
    for (measure, area) in summary.measures.iter().zip(&charts) {
        let rows = &measure.rows;
        let count = rows.len();
        let most = rows.iter().map(|row| row.ratio[2]).fold(1.0, f64::max) * 1.12;
        let caption = format!("{}: times as long as the baseline", measure.name);
        let mut chart = ChartBuilder::on(area)
            .caption(caption, ("sans-serif", 14))
            .margin(8)
            .x_label_area_size(24)
            .y_label_area_size(LABELS)
            .build_cartesian_2d(0.0..most, (0..count.saturating_sub(1)).into_segmented())?;
        // From top to bottom, where the axis goes upward.
        let name = |at: &SegmentValue<usize>| match at {
            SegmentValue::CenterOf(at) => {
                rows.iter().rev().nth(*at).map_or_else(String::new, |row| row.name.clone())
            }
            SegmentValue::Exact(_) | SegmentValue::Last => String::new(),
        };
        chart
            .configure_mesh()
            .disable_y_mesh()
            .x_max_light_lines(0)
            .y_labels(count)
            .y_label_formatter(&name)
            .label_style(("sans-serif", 12))
            .draw()?;
        for (at, row) in rows.iter().rev().enumerate() {
            let [lower, middle, upper] = row.ratio;
            let ends = [(0.0, SegmentValue::Exact(at)), (middle, SegmentValue::Exact(at + 1))];
            let mut bar = Rectangle::new(ends, BLUE.mix(0.4).filled());
            bar.set_margin(5, 5, 0, 0);
            let centre = || SegmentValue::CenterOf(at);
            let spread = PathElement::new(vec![(lower, centre()), (upper, centre())], BLACK);
            let figure = format!("{middle:.3}  ({:.1} {})", row.value, measure.unit);
            let figure = Text::new(figure, (0.01 * most, centre()), ("sans-serif", 12));
            chart.draw_series([bar])?;
            chart.draw_series([spread])?;
            chart.draw_series([figure])?;
        }
    }
    root.present()?;
    Ok(())
}

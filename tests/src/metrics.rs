//! Reads the text format of Prometheus, as far as the agent writes it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// Samples of one scrape.
#[derive(Clone, Debug)]
pub struct Metrics {
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Metrics {
    pub fn parse(text: &str) -> Result<Self> {
        let samples = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(|line| sample(line).with_context(|| format!("metrics line {line:?}")))
            .collect::<Result<_>>()?;
        Ok(Self { samples })
    }

    /// Sum over all samples of `name` which have these labels. No such sample is 0.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |found: &BTreeMap<String, String>| {
            labels.iter().all(|(key, value)| found.get(*key).is_some_and(|it| it == value))
        };
        let matching = self.samples.iter().filter(|(it, found, _)| it == name && has(found));
        matching.map(|(_, _, value)| value).sum()
    }

    pub fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|(it, _, _)| it == name)
    }
}

fn sample(line: &str) -> Option<(String, BTreeMap<String, String>, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = series.split_once('{') else {
        return Some((series.to_owned(), BTreeMap::new(), value));
    };
    let labels = labels
        .strip_suffix('}')?
        .split("\",")
        .filter_map(|pair| pair.split_once("=\""))
        .map(|(key, value)| (key.to_owned(), value.trim_end_matches('"').to_owned()))
        .collect();
    Some((name.to_owned(), labels, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_with_and_without_labels() {
        let text = "# HELP exeat_facts x\n# TYPE exeat_facts gauge\nexeat_facts 3\n\
                    exeat_flows_total{layer=\"socket\",verdict=\"deny\"} 2\n\
                    exeat_flows_total{layer=\"wire\",verdict=\"deny\"} 5\n# EOF\n";
        let metrics = Metrics::parse(text).unwrap();
        let is = |name, labels: &[(&str, &str)], value: f64| {
            assert!((metrics.sum(name, labels) - value).abs() < 1e-9, "{name} {labels:?}");
        };
        is("exeat_facts", &[], 3.0);
        is("exeat_flows_total", &[("verdict", "deny")], 7.0);
        is("exeat_flows_total", &[("layer", "wire")], 5.0);
        assert!(!metrics.has("exeat_other"));
        assert!(Metrics::parse("no number here").is_err());
    }
}

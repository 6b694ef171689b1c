//! `exeat check`: validates manifests without a node.

use std::{collections::BTreeSet, path::PathBuf};

use clap::Args;
use exeat_agent::{
    admin::status::Report,
    config::Config,
    policy::survey::survey,
    registry::load::{LoadError, load},
};
use serde::Serialize;

use super::{
    Exit, Outcome, OutputArgs, OutputFormat,
    output::{BAD, GOOD, paint, print, table},
};

/// Validate manifests, offline
///
/// Says of every object whether exeat would take it, what of it would not be enforced, and how the
/// objects bear on each other, for a plain pod in each namespace. Codes
/// begin with E (invalid, ignored whole), U (understood, but denied here), W (works, with a
/// caveat) or I (good to know). Ends with status 1 if there is any E or U, or a file that cannot
/// be read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
exeat check registry.d/\n  \
exeat check -o json a.yaml b.yaml | jq '.reports[] | select(.severity == \"error\")'")]
pub(super) struct CheckArgs {
    /// Files, or folders with *.yaml, *.yml and *.json
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Serialize)]
struct Checked {
    objects: usize,
    reports: Vec<Report>,
}

pub(super) fn check(args: &CheckArgs) -> Outcome {
    let loaded = load(&args.paths, None);
    let mut reports: Vec<Report> = loaded.errors.iter().map(|error| file_report(error)).collect();
    let together = survey(&loaded.registry, &Config::offline());
    let all: BTreeSet<_> = loaded.reports.iter().chain(&together).collect();
    reports.extend(all.into_iter().map(Report::from));
    let is_bad = reports.iter().any(|it| it.severity == "error" || it.severity == "unsupported");
    let checked = Checked { objects: loaded.objects, reports };
    match args.output.output {
        OutputFormat::Json => print(&serde_json::to_string(&checked)?)?,
        OutputFormat::Text => print(&text(&checked, is_bad))?,
    }
    Ok(if is_bad { Exit::Found } else { Exit::Good })
}

/// A file that cannot be read or parsed has no objects to report on: the path says where.
fn file_report(error: &LoadError) -> Report {
    Report {
        code: "E-FILE".to_owned(),
        severity: "error".to_owned(),
        kind: String::new(),
        namespace: String::new(),
        name: String::new(),
        path: error.path().display().to_string(),
        message: error.to_string(),
    }
}

fn text(checked: &Checked, is_bad: bool) -> String {
    let Checked { objects, reports } = checked;
    let verdict = if is_bad { paint(BAD, "not all good") } else { paint(GOOD, "good") };
    let total = format!("{objects} objects, {} reports: {verdict}", reports.len());
    if reports.is_empty() { total } else { format!("{}\n\n{total}", report_table(reports)) }
}

/// Reports as a table, for every command that has some.
pub(super) fn report_table(reports: &[Report]) -> String {
    let rows = reports.iter().map(|it| {
        let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let name = match (it.namespace.as_str(), it.name.as_str()) {
            ("", name) => dash(name),
            (namespace, name) => format!("{namespace}/{name}"),
        };
        [it.code.clone(), dash(&it.kind), name, dash(&it.path), it.message.clone()]
    });
    table(["CODE", "KIND", "NAME", "PATH", "WHAT"], rows)
}

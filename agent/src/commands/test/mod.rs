//! `exeat test`: runs policy unit tests, offline.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use exeat_agent::trial::case::{self, CaseResult, Mismatch};
use serde::Serialize;

use super::{
    Exit, Failure, Outcome, OutputArgs, OutputFormat,
    output::{BAD, GOOD, HEAD, paint, print},
};

/// Run policy unit tests, offline
///
/// A test is a YAML file with a registry and flows, each with the verdict it must get. The
/// registry is compiled as the agent does it, DNS answers are read by the parser of the kernel,
/// and the verdict is that of the function which runs in the kernel.
///
/// `passed`, `failed` and `skipped` count flows; a refusal or report that is not as expected
/// counts as one more failure. A flow that needs a part of exeat which is not built is skipped,
/// and never counted as passed.
///
/// Ends with status 1 if anything failed, and with status 2, without running anything, if a file
/// cannot be read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
exeat test policy-tests/\n  \
exeat test -o json policy-tests/ | jq '.files[] | select(.failed > 0)'\n\n\
A test:\n  \
title: The shop reaches its payment provider by TLS, and nothing else\n  \
registry:\n  \
- apiVersion: networking.istio.io/v1\n    \
kind: ServiceEntry\n    \
metadata: {name: payments, namespace: shop}\n    \
spec:\n      \
hosts: [api.payments.example]\n      \
ports: [{number: 443, name: tls, protocol: TLS}]\n      \
resolution: DNS\n  \
expect:\n  \
- client: {namespace: shop, labels: {app: cart}}\n    \
dns: api.payments.example\n    \
dest: {ip: 192.0.2.1, port: 443, proto: tcp}\n    \
verdict: allow\n    \
why: declared host and port")]
pub(super) struct TestArgs {
    /// Files, or folders with *.yaml, *.yml and *.json
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Default, Serialize)]
struct Tested {
    passed: usize,
    failed: usize,
    skipped: usize,
    files: Vec<TestedFile>,
}

#[derive(Debug, Serialize)]
struct TestedFile {
    file: String,
    passed: usize,
    failed: usize,
    skipped: usize,
    mismatches: Vec<Mismatch>,
}

pub(super) fn test(args: &TestArgs) -> Outcome {
    let tested = run(&args.paths)?;
    match args.output.output {
        OutputFormat::Json => print(&serde_json::to_string(&tested)?)?,
        OutputFormat::Text => print(&text(&tested))?,
    }
    Ok(if tested.failed == 0 { Exit::Good } else { Exit::Found })
}

fn run(paths: &[PathBuf]) -> Result<Tested, Failure> {
    let files = case::read(paths).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::usage(anyhow!(errors.join("; ")))
    })?;
    let mut tested = Tested::default();
    for file in files {
        let CaseResult { passed, failed, skipped, mismatches } = file.run();
        tested.passed += passed;
        tested.failed += failed;
        tested.skipped += skipped;
        let file = file.path.display().to_string();
        tested.files.push(TestedFile { file, passed, failed, skipped, mismatches });
    }
    Ok(tested)
}

fn text(tested: &Tested) -> String {
    let width = tested.files.iter().map(|it| it.file.len()).max().unwrap_or_default();
    let mut lines = Vec::new();
    for it in &tested.files {
        let word = if it.failed == 0 { paint(GOOD, "ok    ") } else { paint(BAD, "FAILED") };
        let counts = counts(it.passed, it.failed, it.skipped);
        lines.push(format!("{word}  {:width$}  {counts}", it.file));
        let mut last = None;
        for mismatch in &it.mismatches {
            let head = head(mismatch);
            // Several differences of one flow stand under one line.
            if last.as_ref() != Some(&head) {
                lines.push(format!("    {}", paint(HEAD, &head)));
            }
            last = Some(head);
            lines.push(details(mismatch));
        }
    }
    let files = tested.files.len();
    let word = if tested.failed == 0 { paint(GOOD, "good") } else { paint(BAD, "FAILED") };
    let counts = counts(tested.passed, tested.failed, tested.skipped);
    lines.push(String::new());
    lines.push(format!("{files} file{}, {counts}: {word}", if files == 1 { "" } else { "s" }));
    lines.join("\n")
}

/// What is zero is left out, but for what passed.
fn counts(passed: usize, failed: usize, skipped: usize) -> String {
    let mut words = vec![format!("{passed} passed")];
    words.extend((failed > 0).then(|| format!("{failed} failed")));
    words.extend((skipped > 0).then(|| format!("{skipped} skipped")));
    words.join(", ")
}

/// Which flow it is about.
fn head(mismatch: &Mismatch) -> String {
    let Mismatch { case, flow, about, .. } = mismatch;
    match (flow, about) {
        (Some(index), Some(flow)) => {
            let name = flow.dns.as_deref().unwrap_or("no name");
            format!("{case}, flow {index}: {} -> {name}, {}", flow.client, flow.dest)
        }
        _ => case.clone(),
    }
}

fn details(mismatch: &Mismatch) -> String {
    let Mismatch { what, expected, got, why, .. } = mismatch;
    let mut lines = vec![
        format!("      {what:8} expected  {}", paint(GOOD, expected)),
        format!("      {:8} got       {}", "", paint(BAD, got)),
    ];
    if !why.is_empty() {
        lines.push(format!("      {:8} why       {why}", ""));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests;

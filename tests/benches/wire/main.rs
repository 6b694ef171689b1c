//! What the kernel programs cost: nanoseconds for packets and DNS messages, beside a program that
//! does nothing. It reports, and no figure makes it fail; `cargo xtask bench wire` runs it.

#![expect(clippy::print_stdout, reason = "the figures are for whoever runs it")]

mod cases;
mod connects;
mod measure;
mod registry;
mod report;

use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use crate::{measure::Bench, report::Report};

#[derive(Parser)]
struct Args {
    /// How often everything is measured, in turn; the median counts
    #[arg(long, default_value_t = 51)]
    rounds: usize,
    /// Service entries in the registry
    #[arg(long, default_value_t = 1_000)]
    entries: usize,
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    /// Cargo says this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Subcommand)]
enum Part {
    /// The half that calls `connect()`, in a cgroup and a namespace that the other half made
    #[command(hide = true)]
    Connects,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(Part::Connects) = args.part {
        return connects::answer_rounds();
    }
    let mut bench = Bench::new(args.entries)?;
    let cases = cases::all(&bench);
    let mut report = Report::new(args.entries, args.rounds, &bench);
    for case in &cases {
        bench.check(case)?;
    }
    let mut calls = bench.connects()?;
    for _ in 0..args.rounds {
        report.empty(bench.empty()?);
        for case in &cases {
            report.case(case, bench.measure(case)?);
        }
        report.call(connects::NAME, calls.measure()?);
    }
    match args.output {
        Output::Table => print!("{}", report.table()),
        Output::Json => println!("{}", report.json()?),
    }
    Ok(())
}

/// Nanoseconds, which a subtraction may make negative.
fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

//! `exeat-leaks`: plays the leak matrix and prints it.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use exeat_tests::leaks::{self, Verdict};

/// Tries every way out of a pod that we know of, in network namespaces of this machine, and prints
/// what reached the other side. Needs root.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let findings = leaks::play(|step| eprintln!("{step} …"))?;
    match args.output {
        Output::Table => println!("{}", leaks::table(&findings)),
        Output::Json => println!("{}", leaks::json(&findings)?),
    }
    let held = findings.iter().all(|finding| finding.verdict == Verdict::Held);
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

//! `cargo xtask test rounds`: plays the rounds and prints them as a table.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use exeat_tests::rounds::play;

/// Resolves new names and connects to each at once, over UDP and TCP, IPv4 and IPv6, beside CPU
/// hogs, with the agent killed half-way and started again later.
#[derive(Parser)]
struct Args {
    /// Rounds in each of the eight pods
    #[arg(long, default_value_t = 2500, value_parser = clap::value_parser!(u32).range(1..=4000))]
    per_pod: u32,
}

fn main() -> Result<ExitCode> {
    let rounds = play("rounds", Args::parse().per_pod)?;
    println!("{rounds}");
    let faults = rounds.faults();
    for fault in &faults {
        println!("fault: {fault}");
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

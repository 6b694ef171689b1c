//! The `exeat` command: reads the command line, runs it, turns the outcome into words and a
//! status.

mod commands;

use std::process::ExitCode;

use clap::Parser as _;
use commands::{Cli, Failure};

fn main() -> ExitCode {
    match commands::execute(Cli::parse()) {
        Ok(exit) => exit.into(),
        Err(Failure { exit, error }) => {
            anstream::eprintln!("exeat: {}", commands::sentence(&error));
            exit.into()
        }
    }
}

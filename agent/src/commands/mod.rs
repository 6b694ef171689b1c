//! The command line: what can be asked, and what a command ends with.

mod check;
mod cleanup;
mod client;
mod explain;
mod flows;
mod gateway;
mod output;
mod run;
mod status;
mod suggest;
mod test;

use std::{io, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};
use exeat_agent::telemetry;

/// A permit to leave: holds every pod of a node to the declared destinations.
///
/// exeat makes a service registry the boundary of what a workload may reach, in the kernel.
#[derive(Debug, Parser)]
#[command(
    name = "exeat",
    version,
    after_help = "Exit status: 0 good, 1 something was found or failed, 2 wrong usage or configuration.\n\n\
Examples:\n  \
exeat check registry.d/                      validate manifests before they go live\n  \
exeat test policy-tests/                     run policy unit tests\n  \
exeat explain --registry registry.d/ --namespace shop --host api.example.com --port 443\n  \
                                             what happens to one flow, and why\n  \
exeat run --config /etc/exeat/exeat.yaml     start the agent\n  \
exeat status                                 what is enforced at the moment\n  \
exeat flows --follow --denied                watch what is denied, and why\n  \
exeat suggest                                entries that would allow what was denied\n  \
exeat gateway --config /etc/exeat/gw.yaml    carry HTTP and TLS to what the registry declares\n  \
exeat cleanup --config /etc/exeat/exeat.yaml take everything out of the kernel"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Clone, Debug, Args)]
struct LogArgs {
    /// What is logged to standard error: error, warn, info, debug, trace, or filters such as
    /// `exeat_agent=debug`
    #[arg(
        long,
        global = true,
        env = "EXEAT_LOG",
        default_value = "info",
        value_name = "LEVEL",
        help_heading = "Logging"
    )]
    log_level: String,
    /// How it is logged
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Logging")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::CheckArgs),
    Cleanup(cleanup::CleanupArgs),
    Explain(explain::ExplainArgs),
    Flows(flows::FlowsArgs),
    Gateway(gateway::GatewayArgs),
    Run(run::RunArgs),
    Status(status::StatusArgs),
    Suggest(suggest::SuggestArgs),
    Test(test::TestArgs),
}

/// How a result is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
enum OutputFormat {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

#[derive(Clone, Debug, Args)]
struct OutputArgs {
    /// How the result is written
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: OutputFormat,
}

#[derive(Clone, Debug, Args)]
struct SocketArgs {
    /// The agent's unix socket (`socket` of its configuration)
    #[arg(long, default_value = "/run/exeat/exeat.sock", value_name = "PATH")]
    socket: PathBuf,
}

/// What a command ends with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    Good = 0,
    Found = 1,
    Usage = 2,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with the status it ends in.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) error: anyhow::Error,
}

impl Failure {
    fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Usage, error: error.into() }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { exit: Exit::Found, error: error.into() }
    }
}

type Outcome = Result<Exit, Failure>;

/// Runs one command.
pub(crate) fn execute(cli: Cli) -> Outcome {
    let format = match cli.log.log_format {
        LogFormat::Text => telemetry::Format::Text,
        LogFormat::Json => telemetry::Format::Json,
    };
    telemetry::start(format, &cli.log.log_level).map_err(Failure::usage)?;
    let outcome = match cli.command {
        Command::Check(args) => check::check(&args),
        Command::Cleanup(args) => cleanup::cleanup(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Flows(args) => flows::flows(&args),
        Command::Gateway(args) => gateway::gateway(&args),
        Command::Run(args) => run::run(&args),
        Command::Status(args) => status::status(&args),
        Command::Suggest(args) => suggest::suggest(&args),
        Command::Test(args) => test::test(&args),
    };
    match outcome {
        // Whoever read the output has seen enough.
        Err(Failure { error, .. }) if is_broken_pipe(&error) => Ok(Exit::Good),
        other => other,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// An error and its causes on one line; a cause that the text before it has already is left out.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    let mut words = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if words.is_empty() {
            words = cause;
        } else if !words.contains(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    words.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;

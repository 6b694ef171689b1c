//! Logging: to standard error, as text for people or JSON lines for machines.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{EnvFilter, filter::ParseError};

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("log level `{level}`: {source} (for example info, debug or exeat_agent=debug)")]
    Level { level: String, source: ParseError },
    #[error("set up logging: {0}")]
    Twice(Box<dyn std::error::Error + Send + Sync>),
}

/// Sends all events at or above `level` to standard error.
pub fn start(format: Format, level: &str) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(level)
        .map_err(|source| TelemetryError::Level { level: level.to_owned(), source })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let result = match format {
        Format::Text => builder.with_ansi(io::stderr().is_terminal()).with_target(false).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    result.map_err(TelemetryError::Twice)
}

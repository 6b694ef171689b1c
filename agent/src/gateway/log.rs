//! The access log: one JSON object a line for each request and each TLS connection.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use serde::Serialize;
use tokio::sync::mpsc;

use super::{
    listen::Client,
    refusal::{Cause, Refusal},
    route::{Passage, Route, Wanted},
};
use crate::{config::gateway, registry::report::Code};

/// Lines that wait to be written. What does not fit is counted and lost: nobody waits for a log.
const QUEUE: usize = 4_096;

/// One request, or one TLS connection. What is not known is `null`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// RFC 3339, UTC, when it ended.
    pub time: String,
    /// Namespace and name.
    pub gateway: String,
    pub listener: SocketAddr,
    pub client: SocketAddr,
    /// `http` or `tls`.
    pub protocol: &'static str,
    /// `allow`, `deny`, or `error` where the destination failed.
    pub verdict: &'static str,
    pub reason: &'static str,
    /// The code of the report that says why a declared flow is denied.
    pub code: Option<&'static str>,
    pub destination: Destination,
    /// Kind, namespace and name of the object that decided.
    pub entry: Option<String>,
    /// What is declared and comes nearest.
    pub nearest: Option<String>,
    /// A further gateway took it on.
    pub through_gateway: bool,
    pub method: Option<String>,
    /// That the client was given.
    pub status: Option<u16>,
    /// How it ended: `closed`, `reset`, `idle`, `revoked`, or the reason of a failure.
    pub end: Option<&'static str>,
    pub sent_bytes: Option<u64>,
    pub received_bytes: Option<u64>,
    pub duration_ms: u64,
    #[serde(skip)]
    pub(super) listener_label: String,
}

/// Where it was to go, and where it went.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Destination {
    pub name: Option<String>,
    pub port: Option<u16>,
    /// Address and port of the connection.
    pub address: Option<SocketAddr>,
}

/// How a connection ended that was let through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    Closed,
    Reset,
    /// Nothing moved for too long.
    Idle,
    /// The entry that allowed it is gone.
    Revoked,
    Cut(Cause),
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Idle => "idle",
            Self::Revoked => "revoked",
            Self::Cut(cause) => cause.as_str(),
        }
    }
}

impl Record {
    pub(super) fn new(client: &Client, protocol: &'static str) -> Self {
        Self {
            time: String::new(),
            gateway: client.gateway.to_string(),
            listener: client.listener.address,
            client: client.ends.client,
            protocol,
            verdict: "deny",
            reason: Cause::Malformed.as_str(),
            code: None,
            destination: Destination::default(),
            entry: None,
            nearest: None,
            through_gateway: false,
            method: None,
            status: None,
            end: None,
            sent_bytes: None,
            received_bytes: None,
            duration_ms: 0,
            listener_label: client.listener.address.to_string(),
        }
    }

    pub(super) fn wants(&mut self, wanted: &Wanted) {
        self.destination.name = Some(wanted.host.to_string());
        self.destination.port = Some(wanted.port);
    }

    pub(super) fn goes(&mut self, route: &Route, passage: &Passage) {
        self.verdict = "allow";
        self.reason = route.reason;
        self.entry = route.entry.as_ref().map(ToString::to_string);
        self.through_gateway = passage.through.is_some();
        self.destination.address = Some(passage.way.to);
    }

    pub(super) fn refused(mut self, refusal: &Refusal) -> Self {
        self.verdict = if refusal.cause.is_failure() { "error" } else { "deny" };
        self.reason = refusal.cause.as_str();
        self.code = refusal.code.map(Code::as_str);
        self.entry = refusal.entry.as_ref().map(ToString::to_string);
        self.nearest = refusal.nearest.as_ref().map(ToString::to_string);
        self
    }

    pub(super) fn ended(mut self, outcome: Outcome) -> Self {
        self.end = Some(outcome.as_str());
        self
    }

    pub(super) fn stamp(&mut self, duration: Duration) {
        self.time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        self.duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    }
}

/// The side that is given records.
#[derive(Clone, Debug)]
pub struct AccessLog(Option<mpsc::Sender<Order>>);

#[derive(Debug)]
enum Order {
    Line(String),
    Reopen,
}

/// The side that writes them, on a thread of its own.
#[derive(Debug)]
pub struct LogWriter {
    path: Option<PathBuf>,
    orders: mpsc::Receiver<Order>,
}

/// Opens the log. A path is made if it is not there, and appended to if it is.
pub fn open(config: &gateway::AccessLog) -> io::Result<(AccessLog, Option<LogWriter>)> {
    let path = match config {
        gateway::AccessLog::Off => return Ok((AccessLog(None), None)),
        gateway::AccessLog::Stdout => None,
        gateway::AccessLog::File(path) => {
            append(path)?;
            Some(path.clone())
        }
    };
    let (sender, orders) = mpsc::channel(QUEUE);
    Ok((AccessLog(Some(sender)), Some(LogWriter { path, orders })))
}

impl AccessLog {
    /// Says whether the record was taken.
    pub fn write(&self, record: &Record) -> bool {
        let Some(sender) = &self.0 else {
            return true;
        };
        serde_json::to_string(record).is_ok_and(|line| sender.try_send(Order::Line(line)).is_ok())
    }

    /// Begins the file anew, which was moved away.
    pub fn reopen(&self) -> bool {
        self.0.as_ref().is_none_or(|sender| sender.try_send(Order::Reopen).is_ok())
    }
}

impl LogWriter {
    /// Writes until nobody gives records any more. A full disk costs lines, not the gateway.
    pub fn run(mut self) {
        let mut output = self.open();
        let mut is_told = false;
        while let Some(order) = self.orders.blocking_recv() {
            let result = self.write_all(order, &mut output);
            match result {
                Ok(()) => is_told = false,
                Err(error) if !is_told => {
                    tracing::warn!(%error, "the access log cannot be written");
                    is_told = true;
                }
                Err(_) => {}
            }
        }
    }

    /// Writes what there is to be written by now.
    fn write_all(
        &mut self,
        order: Order,
        output: &mut io::Result<BufWriter<Box<dyn Write>>>,
    ) -> io::Result<()> {
        let mut next = Some(order);
        while let Some(order) = next {
            match (order, &mut *output) {
                (Order::Line(line), Ok(output)) => writeln!(output, "{line}")?,
                (Order::Reopen, Ok(open)) => {
                    open.flush()?;
                    *output = self.open();
                }
                (_, failed @ Err(_)) => *failed = self.open(),
            }
            next = self.orders.try_recv().ok();
        }
        match output {
            Ok(output) => output.flush(),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        }
    }

    fn open(&self) -> io::Result<BufWriter<Box<dyn Write>>> {
        Ok(BufWriter::new(match &self.path {
            Some(path) => Box::new(append(path)?),
            None => Box::new(io::stdout()),
        }))
    }
}

fn append(path: &PathBuf) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Order, open};
    use crate::config::gateway::AccessLog;

    #[test]
    fn a_log_that_was_moved_away_is_begun_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        fs::write(&path, "before\n").expect("written");
        let (log, writer) = open(&AccessLog::File(path.clone())).expect("opened");
        let line = |text: &str| {
            let sender = log.0.as_ref().expect("there is a log");
            sender.try_send(Order::Line(text.to_owned())).expect("room");
        };
        let thread = std::thread::spawn(move || writer.expect("a writer").run());
        line("one");
        let moved = folder.path().join("access.log.1");
        while fs::read_to_string(&path).expect("readable") != "before\none\n" {
            std::thread::yield_now();
        }
        fs::rename(&path, &moved).expect("moved");
        assert!(log.reopen());
        line("two");
        drop(log);
        thread.join().expect("no panic");
        assert_eq!(fs::read_to_string(moved).expect("readable"), "before\none\n");
        assert_eq!(fs::read_to_string(path).expect("readable"), "two\n");
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_told_of_at_the_start() {
        assert!(open(&AccessLog::File("/nowhere/access.log".into())).is_err());
        let (log, writer) = open(&AccessLog::Off).expect("nothing to open");
        assert!(log.reopen() && writer.is_none());
    }
}

//! A process that keeps connections open across whatever the test does meanwhile.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};

use crate::node::{Node, Pod};
use crate::pod_client::{Background, probe_binary};
use crate::probe::Reached;

/// Ended when it is dropped, with its connections.
#[derive(Debug)]
pub struct Session {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    _process: Background,
}

impl Session {
    /// A process of the pod.
    pub fn in_pod(pod: &Pod) -> Result<Self> {
        Self::start(pod.command(probe_binary()?)?)
    }

    /// A process on the internet.
    pub fn outside(node: &Node) -> Result<Self> {
        Self::start(node.internet_command(&probe_binary()?)?)
    }

    fn start(mut command: Command) -> Result<Self> {
        command.arg("session").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("start a session")?;
        let orders = child.stdin.take().context("standard input of the session")?;
        let answers = child.stdout.take().context("standard output of the session")?;
        Ok(Self { orders, answers: BufReader::new(answers), _process: Background::new(child) })
    }

    /// Connects and keeps the connection under `key`.
    pub fn open(&mut self, key: &str, to: SocketAddr) -> Result<Reached> {
        self.order(&format!("open {key} {to}"))
    }

    /// Sends a line and waits for it to come back.
    pub fn say(&mut self, key: &str) -> Result<Reached> {
        self.order(&format!("say {key}"))
    }

    /// Sends lines back to whoever connects to this port.
    pub fn listen(&mut self, port: u16) -> Result<Reached> {
        self.order(&format!("listen {port}"))
    }

    fn order(&mut self, order: &str) -> Result<Reached> {
        writeln!(self.orders, "{order}").with_context(|| format!("order {order:?}"))?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).with_context(|| format!("answer to {order:?}"))?;
        serde_json::from_str(&answer).with_context(|| format!("answer to {order:?}: {answer:?}"))
    }
}

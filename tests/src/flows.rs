//! Follows the agent's flow log, to say why something was denied.

use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::agent::AgentFiles;
use crate::node::{Node, Pod};
use crate::wait;

/// One line of `exeat flows`: the part that is of use here.
#[derive(Clone, Debug, Deserialize)]
pub struct FlowRecord {
    pub layer: String,
    pub verdict: String,
    pub reason: String,
    #[serde(default)]
    pub workload: Option<Workload>,
    #[serde(default)]
    pub process: Option<Process>,
    #[serde(default)]
    pub destination: Option<Destination>,
    #[serde(default)]
    pub entry: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Workload {
    pub namespace: String,
    pub name: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Process {
    pub pid: u32,
    pub comm: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Destination {
    #[serde(default)]
    pub ip: Option<IpAddr>,
    #[serde(default)]
    pub port: Option<u16>,
    #[serde(default)]
    pub name: Option<String>,
}

/// What a record must be about.
#[derive(Clone, Copy, Debug)]
pub enum About<'a> {
    Name(&'a str),
    Address(IpAddr, u16),
    /// A packet of which nobody can tell where it went, denied for this reason.
    Unreadable(&'a str),
}

/// `exeat flows --follow` in the background.
#[derive(Debug)]
pub struct FlowLog {
    child: Child,
    // Held to add a record or to look through them.
    records: Arc<Mutex<Vec<FlowRecord>>>,
}

impl FlowLog {
    pub fn follow(files: &AgentFiles, node: &Node) -> Result<Self> {
        let mut command = files.command(node, &["flows", "--follow", "-o", "json", "--socket"])?;
        command.arg(files.socket()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().context("start exeat flows")?;
        let stdout = child.stdout.take().context("output of exeat flows")?;
        let records = Arc::default();
        let kept = Arc::clone(&records);
        std::thread::spawn(move || keep(stdout, &kept));
        Ok(Self { child, records })
    }

    /// How many records there are by now: a mark for [`Self::denial`].
    pub fn mark(&self) -> usize {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The newest denial of `pod` about `about` since `mark`, waiting a little for it.
    pub fn denial(
        &self,
        pod: &Pod,
        about: About<'_>,
        mark: usize,
        deadline: Duration,
    ) -> Option<FlowRecord> {
        wait::until(deadline, || {
            let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
            let new = records.get(mark..)?;
            new.iter().rev().find(|record| is_denial_of(record, pod, about)).cloned()
        })
    }
}

impl Drop for FlowLog {
    fn drop(&mut self) {
        // It ends by itself when the agent does.
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("exeat-tests: end exeat flows: {error}");
        }
    }
}

fn keep(stdout: ChildStdout, records: &Mutex<Vec<FlowRecord>>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(record) => records.lock().unwrap_or_else(PoisonError::into_inner).push(record),
            Err(error) => eprintln!("exeat-tests: flow record {line:?}: {error}"),
        }
    }
}

fn is_denial_of(record: &FlowRecord, pod: &Pod, about: About<'_>) -> bool {
    let of_pod = record
        .workload
        .as_ref()
        .is_some_and(|it| it.namespace == pod.namespace && it.name == pod.name);
    let Some(destination) = &record.destination else {
        return false;
    };
    let matches = match about {
        About::Name(name) => destination
            .name
            .as_ref()
            .is_some_and(|it| it.trim_end_matches('.').eq_ignore_ascii_case(name)),
        About::Address(ip, port) => destination.ip == Some(ip) && destination.port == Some(port),
        About::Unreadable(reason) => destination.ip.is_none() && record.reason == reason,
    };
    record.verdict.eq_ignore_ascii_case("deny") && of_pod && matches
}

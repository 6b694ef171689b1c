//! One flow record: its shape for machines, and its explanation for people.

use std::{collections::BTreeMap, fmt::Write as _, net::IpAddr, time::SystemTime};

use exeat_common::{
    abi::FlowEvent,
    address::Address,
    flow::protocol,
    id::WorkloadId,
    reason::{Layer, Reason, Verdict},
};
use serde::{Deserialize, Serialize};

use crate::{
    datapath::Query,
    policy::directory::{Directory, Grant, Known},
};

/// One flow, as JSON on one line. What is not known is `null`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowRecord {
    /// RFC 3339, UTC.
    pub time: String,
    pub node: String,
    /// `socket`, `wire` or `dns`.
    pub layer: String,
    /// `deny`, `allow` or `redirect`.
    pub verdict: String,
    pub reason: String,
    /// The code of the report that says why a declared flow is denied.
    pub code: Option<String>,
    pub workload: Option<RecordWorkload>,
    pub process: Option<Process>,
    pub destination: Destination,
    /// Kind, namespace and name of the object that decided.
    pub entry: Option<String>,
    /// Where a redirect went.
    pub target: Option<String>,
    /// It was let through, and would be denied under `REGISTRY_ONLY`.
    pub would_deny: bool,
    pub count: u64,
}

/// Who sent it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct RecordWorkload {
    pub namespace: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

/// The process that called, where the kernel names it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Process {
    pub pid: u32,
    pub comm: String,
}

/// Where it was sent.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Destination {
    pub ip: Option<IpAddr>,
    pub port: u16,
    /// A name such as `tcp`, or the number where there is none.
    pub protocol: Option<String>,
    pub name: Option<String>,
}

/// A record with one sentence for people.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Line {
    pub record: FlowRecord,
    /// Why, and what would change it.
    pub message: String,
}

impl Line {
    pub fn is_denied(&self) -> bool {
        self.record.verdict == Verdict::Deny.as_str()
    }
}

/// What a record is made with, beside the event.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub node: &'a str,
    pub directory: &'a Directory,
    pub time: SystemTime,
    /// The name the workload was told for the address.
    pub name: Option<&'a str>,
}

const DNS_PORT: u16 = 53;

/// A verdict on a flow.
pub fn of_flow(event: &FlowEvent, context: &Context<'_>) -> Line {
    let directory = context.directory;
    let known = directory.workload(event.workload);
    let policy = known.map(|known| known.policy);
    let grants = policy.map(|policy| directory.grants(policy, event.subject));
    let grants = grants.unwrap_or_default();
    let grant =
        grants.iter().find(|grant| grant.port == event.port && grant.protocol == event.protocol);
    let reason = Reason::from_u8(event.reason);
    let mut record = base(context, event.workload, event.layer, event.verdict, event.reason);
    record.code = grant.and_then(Grant::denied).map(|code| code.as_str().to_owned());
    record.entry = grant.or(grants.first()).map(|grant| grant.entry.to_string());
    record.process = process(event);
    record.destination = destination(event, context);
    let mut message = sentence(reason);
    if let Some(subject) = directory.subject(event.subject) {
        explain_ports(&mut message, &subject, &grants, reason);
    }
    if record.entry.is_none() {
        add_nearest(&mut message, directory, context.name, known);
    }
    Line { record, message }
}

/// A DNS question that was refused.
pub fn of_query(query: &Query, context: &Context<'_>) -> Line {
    let mut record = base(context, query.workload, Layer::Dns as u8, query.verdict, query.reason);
    record.destination = Destination {
        ip: None,
        port: DNS_PORT,
        protocol: None,
        name: context.name.map(str::to_owned),
    };
    let mut message = sentence(Reason::from_u8(query.reason));
    let known = context.directory.workload(query.workload);
    add_nearest(&mut message, context.directory, context.name, known);
    Line { record, message }
}

/// Where a flow went; a packet that could not be read went nobody knows where.
fn destination(event: &FlowEvent, context: &Context<'_>) -> Destination {
    if event.address == Address::default() && event.protocol == 0 {
        return Destination::default();
    }
    Destination {
        ip: Some(event.address.into()),
        port: event.port,
        protocol: Some(protocol_name(event.protocol)),
        name: context.name.map(str::to_owned),
    }
}

fn base(
    context: &Context<'_>,
    workload: WorkloadId,
    layer: u8,
    verdict: u8,
    reason: u8,
) -> FlowRecord {
    let workload = context.directory.workload(workload).map(|known| RecordWorkload {
        namespace: known.key.namespace.clone(),
        name: known.key.name.clone(),
        labels: known.labels.clone(),
    });
    let reason = Reason::from_u8(reason);
    FlowRecord {
        time: humantime::format_rfc3339_micros(context.time).to_string(),
        node: context.node.to_owned(),
        layer: Layer::from_u8(layer).map_or(UNKNOWN, Layer::as_str).to_owned(),
        verdict: Verdict::from_u8(verdict).map_or(UNKNOWN, Verdict::as_str).to_owned(),
        reason: reason.map_or(UNKNOWN, Reason::as_str).to_owned(),
        workload,
        would_deny: reason == Some(Reason::AllowAny),
        count: 1,
        ..FlowRecord::default()
    }
}

const UNKNOWN: &str = "unknown";

fn sentence(reason: Option<Reason>) -> String {
    reason.map_or("for a reason that this version does not know", Reason::sentence).to_owned()
}

fn process(event: &FlowEvent) -> Option<Process> {
    if event.pid == 0 {
        return None;
    }
    let end = event.command.iter().position(|byte| *byte == 0).unwrap_or(event.command.len());
    let comm = String::from_utf8_lossy(&event.command[..end]).into_owned();
    Some(Process { pid: event.pid, comm })
}

/// The protocol's name, or its number.
fn protocol_name(number: u8) -> String {
    match number {
        protocol::TCP => "tcp".to_owned(),
        protocol::UDP => "udp".to_owned(),
        protocol::ICMP => "icmp".to_owned(),
        protocol::ICMPV6 => "icmpv6".to_owned(),
        other => other.to_string(),
    }
}

/// Says what is declared where the port is not.
fn explain_ports(message: &mut String, subject: &str, grants: &[Grant], reason: Option<Reason>) {
    append(message, format_args!("; it is {subject}"));
    if reason == Some(Reason::PortNotDeclared) && !grants.is_empty() {
        let ports: Vec<String> = grants
            .iter()
            .map(|grant| format!("{}/{}", grant.port, protocol_name(grant.protocol)))
            .collect();
        append(message, format_args!(", which has {}", ports.join(", ")));
    }
}

/// Says which entry comes closest. If that is one which covers the name, it is not exported to
/// the workload's namespace.
fn add_nearest(
    message: &mut String,
    directory: &Directory,
    name: Option<&str>,
    known: Option<&Known>,
) {
    let Some(name) = name else { return };
    let Some(nearest) = directory.nearest(name) else {
        return append(message, format_args!("; no entry is anywhere near {name}"));
    };
    append(message, format_args!("; nearest entry: {nearest}"));
    let covers = nearest.pattern == name
        || nearest.pattern.strip_prefix('*').is_some_and(|suffix| name.ends_with(suffix));
    if let (true, Some(known)) = (covers, known) {
        let namespace = &known.key.namespace;
        append(message, format_args!(", which namespace {namespace} may not use (exportTo)"));
    }
}

fn append(message: &mut String, words: std::fmt::Arguments<'_>) {
    message.write_fmt(words).expect("invariant: writing to a String does not fail");
}

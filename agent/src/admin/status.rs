//! `exeat status` as a value: what the agent sends and the command prints.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Pages;
use crate::{
    datapath::{Attachment, Takeover},
    endpoints::Summary,
    ready,
    reconcile::{Sample, State, WorkloadState},
};

/// Everything at one moment.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub version: String,
    pub pid: u32,
    pub node: String,
    pub uptime_seconds: u64,
    pub ready: bool,
    /// Why it is not ready.
    pub missing: Vec<String>,
    pub programs: Vec<Program>,
    pub attachments: Vec<Attached>,
    pub workloads: Vec<Workload>,
    pub tables: Vec<Table>,
    pub registry: Registry,
    pub events_lost: u64,
    pub preseeded: Preseeded,
    /// Names that stand for endpoints.
    #[serde(default)]
    pub endpoint_names: Summary,
}

/// What workloads were given at their first enforcement, by this agent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Preseeded {
    /// Addresses of names they are granted.
    pub names: u64,
    /// Connections that were open before.
    pub flows: u64,
    /// Names that are not resolved yet.
    pub unresolved: u64,
}

/// One loaded kernel program.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Program {
    pub name: String,
    pub id: u32,
    pub verified_instructions: Option<u32>,
    pub runs: u64,
    pub run_seconds: f64,
}

/// One place where programs hook in.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Attached {
    /// `socket` or `wire`.
    pub layer: String,
    /// Cgroup or interface.
    pub place: String,
    /// `fresh`, `updated`, `kept` or `failed`.
    pub state: String,
    pub error: Option<String>,
}

/// One workload, and whether it is held.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    pub namespace: String,
    pub name: String,
    pub id: Option<u32>,
    pub policy: Option<u32>,
    pub enforced: bool,
    /// `enforced`, `partial`, `absent`, `failed` or `exempt`.
    pub state: String,
    pub socket: String,
    pub wire: String,
    pub cgroup: String,
    /// What gets past the layers that hold it.
    pub not_held: Vec<String>,
    pub problems: Vec<String>,
}

/// Fill of one kernel table.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Table {
    pub name: String,
    pub entries: u64,
    pub capacity: u64,
}

/// What is declared, and how fresh that is.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Registry {
    pub objects: usize,
    pub in_force: usize,
    pub read: String,
    /// How long some file could not be read; 0 while all can be.
    pub age_seconds: f64,
    pub errors: Vec<String>,
    /// As `exeat check` prints them.
    pub reports: Vec<Report>,
}

/// A report as it travels; codes of other versions pass.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Report {
    pub code: String,
    pub severity: String,
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub path: String,
    pub message: String,
}

impl From<&crate::registry::report::Report> for Report {
    fn from(report: &crate::registry::report::Report) -> Self {
        Self {
            code: report.code.as_str().to_owned(),
            severity: report.severity.as_str().to_owned(),
            kind: report.object.kind.clone(),
            namespace: report.object.namespace.clone(),
            name: report.object.name.clone(),
            path: report.path.clone(),
            message: report.message.clone(),
        }
    }
}

impl Status {
    pub(super) fn new(pages: &Pages, state: &State, sample: &Sample, now: Instant) -> Self {
        let missing = ready::missing(state);
        let uptime = SystemTime::now().duration_since(pages.started).unwrap_or_default();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            node: pages.node.clone(),
            uptime_seconds: uptime.as_secs(),
            ready: missing.is_empty(),
            missing,
            programs: programs(sample),
            attachments: attachments(state),
            workloads: state.workloads.iter().map(workload).collect(),
            tables: tables(sample),
            registry: registry(state, now),
            events_lost: pages.metrics.lost.count(),
            preseeded: Preseeded {
                names: pages.metrics.preseeded.names(),
                flows: pages.metrics.preseeded.flows(),
                unresolved: pages.metrics.preseeded.unresolved(),
            },
            endpoint_names: pages.metrics.endpoints.summary(),
        }
    }
}

fn programs(sample: &Sample) -> Vec<Program> {
    let program = |usage: &crate::datapath::ProgramUsage| Program {
        name: usage.program.to_owned(),
        id: usage.id,
        verified_instructions: usage.verified_instructions,
        runs: usage.runs,
        run_seconds: usage.run_time.as_secs_f64(),
    };
    sample.programs.iter().map(program).collect()
}

fn tables(sample: &Sample) -> Vec<Table> {
    let table = |usage: &crate::datapath::MapUsage| Table {
        name: usage.map.to_owned(),
        entries: usage.entries,
        capacity: usage.capacity,
    };
    sample.usage.iter().map(table).collect()
}

fn attachments(state: &State) -> Vec<Attached> {
    let attached = |it: &crate::reconcile::AttachmentState| {
        let (layer, place) = match &it.attachment {
            Attachment::Socket { cgroup } => ("socket", cgroup.display().to_string()),
            Attachment::Wire { interface, ifindex } => ("wire", format!("{interface} ({ifindex})")),
        };
        let word = match it.result {
            Ok(Takeover::Fresh) => "fresh",
            Ok(Takeover::Updated) => "updated",
            Ok(Takeover::Kept) => "kept",
            Err(_) => "failed",
        };
        Attached {
            layer: layer.to_owned(),
            place,
            state: word.to_owned(),
            error: it.result.as_ref().err().cloned(),
        }
    };
    state.attachments.iter().map(attached).collect()
}

fn workload(state: &WorkloadState) -> Workload {
    Workload {
        namespace: state.key.namespace.clone(),
        name: state.key.name.clone(),
        id: state.id.map(exeat_common::id::WorkloadId::raw),
        policy: state.policy.map(exeat_common::id::PolicyId::raw),
        enforced: state.is_enforced(),
        state: state.label().to_owned(),
        socket: state.socket.label().to_owned(),
        wire: state.wire.label().to_owned(),
        cgroup: state.cgroup.label().to_owned(),
        not_held: state.not_held.iter().map(|it| (*it).to_owned()).collect(),
        problems: state.problems().map(str::to_owned).collect(),
    }
}

fn registry(state: &State, now: Instant) -> Registry {
    let source = &state.source;
    let read = source.read.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Registry {
        objects: source.loaded.objects,
        in_force: source.loaded.in_force().len(),
        // Whole seconds are enough for people.
        read: humantime::format_rfc3339(
            SystemTime::UNIX_EPOCH + Duration::from_secs(read.as_secs()),
        )
        .to_string(),
        age_seconds: source.age(now).as_secs_f64(),
        errors: source.loaded.errors.iter().map(ToString::to_string).collect(),
        reports: state.all_reports().into_iter().map(Report::from).collect(),
    }
}

//! `exeat status`: what the running agent enforces.

use clap::Args;
use exeat_agent::{
    admin::status::{Preseeded, Status},
    endpoints::Summary,
};
use http_body_util::BodyExt as _;

use super::{
    Exit, Outcome, OutputArgs, OutputFormat, SocketArgs,
    client::{ask, block_on},
    output::{BAD, GOOD, HEAD, or_dash, paint, print, table},
};

/// Show what the running agent enforces
///
/// Programs and how much of the kernel's verifier limit they use, where they are attached,
/// every workload and which layers hold it, how full the tables are, and what the agent has to
/// say about the registry. Ends with status 1 while anything that should be enforced is not.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
exeat status\n  \
exeat status -o json | jq '.workloads[] | select(.enforced | not)'")]
pub(super) struct StatusArgs {
    #[command(flatten)]
    socket: SocketArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn status(args: &StatusArgs) -> Outcome {
    let status = block_on(async {
        let body = ask(&args.socket.socket, "/status").await?;
        let bytes = body.collect().await?.to_bytes();
        Ok(serde_json::from_slice::<Status>(&bytes)?)
    })?;
    match args.output.output {
        OutputFormat::Json => print(&serde_json::to_string_pretty(&status)?)?,
        OutputFormat::Text => print(&text(&status))?,
    }
    Ok(if status.ready { Exit::Good } else { Exit::Found })
}

fn text(status: &Status) -> String {
    let mut parts = vec![head(status)];
    let mut part = |title: &str, body: String| {
        if !body.is_empty() {
            parts.push(format!("{}\n{body}", paint(HEAD, title)));
        }
    };
    part("Workloads", workloads(status));
    part("Attachments", attachments(status));
    part("Programs", programs(status));
    part("Tables", tables(status));
    part("Registry", registry(status));
    parts.join("\n\n")
}

fn head(status: &Status) -> String {
    let word = if status.ready { paint(GOOD, "ready") } else { paint(BAD, "not ready") };
    let mut lines = vec![format!(
        "exeat {} on {}: {word}, pid {}, up {}, events lost: {}",
        status.version,
        status.node,
        status.pid,
        humantime::format_duration(std::time::Duration::from_secs(status.uptime_seconds)),
        status.events_lost
    )];
    lines.extend(status.missing.iter().map(|line| format!("  {line}")));
    let given = &status.preseeded;
    if *given != Preseeded::default() {
        lines.push(format!(
            "given to workloads at their first enforcement: {} addresses of names, {} open connections; {} names not resolved yet",
            given.names, given.flows, given.unresolved
        ));
    }
    let names = &status.endpoint_names;
    if *names != Summary::default() {
        lines.push(format!("endpoints that are names: {} resolved", names.fresh));
        for (words, list) in [
            ("the resolvers are silent, the last addresses are in use", &names.kept),
            ("the resolvers know no address", &names.absent),
            ("never answered", &names.unanswered),
        ] {
            lines.extend((!list.is_empty()).then(|| format!("  {words}: {}", list.join(", "))));
        }
        if names.left_out > 0 {
            lines.push(format!("  too many to be resolved: {}", names.left_out));
        }
    }
    lines.join("\n")
}

fn workloads(status: &Status) -> String {
    let rows = status.workloads.iter().map(|it| {
        [
            format!("{}/{}", it.namespace, it.name),
            it.state.clone(),
            it.socket.clone(),
            it.wire.clone(),
            it.cgroup.clone(),
            or_dash(it.id),
            or_dash(it.policy),
        ]
    });
    let columns = ["WORKLOAD", "STATE", "SOCKET", "WIRE", "CGROUP", "ID", "POLICY"];
    let mut lines = vec![table(columns, rows)];
    lines.extend(status.workloads.iter().filter(|it| !it.not_held.is_empty()).map(|it| {
        format!("{}/{} is not held against: {}", it.namespace, it.name, it.not_held.join("; "))
    }));
    lines.join("\n")
}

fn attachments(status: &Status) -> String {
    let rows = status.attachments.iter().map(|it| {
        [it.layer.clone(), it.place.clone(), it.state.clone(), or_dash(it.error.as_ref())]
    });
    table(["LAYER", "PLACE", "STATE", "ERROR"], rows)
}

fn programs(status: &Status) -> String {
    if status.programs.is_empty() {
        return String::new();
    }
    let rows = status.programs.iter().map(|it| {
        [
            it.name.clone(),
            it.id.to_string(),
            or_dash(it.verified_instructions),
            it.runs.to_string(),
            format!("{:.3}", it.run_seconds),
        ]
    });
    table(["PROGRAM", "ID", "VERIFIED INSTRUCTIONS", "RUNS", "SECONDS"], rows)
}

fn tables(status: &Status) -> String {
    if status.tables.is_empty() {
        return String::new();
    }
    let rows = status.tables.iter().map(|it| {
        let share = (it.entries * 100).checked_div(it.capacity).unwrap_or_default();
        [it.name.clone(), it.entries.to_string(), it.capacity.to_string(), format!("{share} %")]
    });
    table(["TABLE", "ENTRIES", "CAPACITY", "FULL"], rows)
}

fn registry(status: &Status) -> String {
    let registry = &status.registry;
    let mut lines = vec![format!(
        "{} objects, {} in force, read {}, age {:.0} s, reports: {}",
        registry.objects,
        registry.in_force,
        registry.read,
        registry.age_seconds,
        registry.reports.len()
    )];
    lines.extend(registry.errors.iter().map(|error| format!("  {}", paint(BAD, error))));
    if !registry.reports.is_empty() {
        lines.push(super::check::report_table(&registry.reports));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use exeat_agent::{
        admin::status::{Preseeded, Status, Table, Workload},
        endpoints::Summary,
    };

    use super::text;

    #[test]
    fn the_text_says_what_is_missing() {
        let status = Status {
            missing: vec!["workload shop/web: the interface v is not there".into()],
            workloads: vec![Workload {
                namespace: "shop".into(),
                name: "web".into(),
                id: Some(3),
                policy: None,
                enforced: false,
                state: "absent".into(),
                socket: "-".into(),
                wire: "absent".into(),
                cgroup: "-".into(),
                not_held: vec!["AF_PACKET".into()],
                problems: vec![],
            }],
            tables: vec![Table { name: "FACTS".into(), entries: 1, capacity: 4 }],
            preseeded: Preseeded { names: 12, flows: 3, unresolved: 1 },
            endpoint_names: Summary {
                fresh: 2,
                absent: vec!["us.foo.bar.com".into()],
                ..Summary::default()
            },
            ..Status::default()
        };
        let text = anstream::adapter::strip_str(&text(&status)).to_string();
        for words in [
            "not ready",
            "the interface v is not there",
            "shop/web",
            "AF_PACKET",
            "FACTS",
            "25 %",
            "12 addresses",
            "2 resolved",
            "know no address: us.foo.bar.com",
        ] {
            assert!(text.contains(words), "no {words:?} in\n{text}");
        }
    }
}

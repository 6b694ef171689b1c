//! `exeat suggest`: entries that would allow what was denied or would have been.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs::File,
    io::{BufRead, BufReader, stdin},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use exeat_agent::{
    flows::{FlowRecord, Line},
    suggest::{Collector, Draft, MissingPort, Other, Suggestions},
};
use http_body_util::BodyExt as _;

use super::{
    Exit, Failure, Outcome, OutputArgs, OutputFormat, SocketArgs,
    client::{ask, block_on},
    output::print,
};

/// Suggest entries that would allow what was denied
///
/// Reads the flow log (of the running agent, or from a file) and writes a `ServiceEntry` for each
/// destination that a namespace tried in vain, or would have under `REGISTRY_ONLY`. What it
/// writes is a draft: workloads ask for what they like, so read who asked and for what before
/// you apply any of it. Ports that an entry lacks are named in comments, since they belong into
/// that entry. With `mode: ALLOW_ANY` nothing is denied meanwhile: that is how to begin.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
exeat suggest                                for what the agent has denied lately\n  \
exeat suggest --namespace shop > shop.yaml   for one namespace, to be read and applied\n  \
exeat flows --follow -o json > week.jsonl    collect for longer than the agent remembers, and then\n  \
exeat suggest --from week.jsonl")]
pub(super) struct SuggestArgs {
    /// Flow records as `exeat flows -o json` writes them, instead of asking the agent; `-` is
    /// standard input
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    from: Option<PathBuf>,
    /// Only for workloads of this namespace
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    #[command(flatten)]
    socket: SocketArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn suggest(args: &SuggestArgs) -> Outcome {
    let records = match &args.from {
        Some(path) => read(path)?,
        None => fetch(&args.socket.socket)?,
    };
    let mut collector = Collector::default();
    let is_wanted = |record: &&FlowRecord| {
        let namespace = record.workload.as_ref().map(|it| &it.namespace);
        args.namespace.is_none() || args.namespace.as_ref() == namespace
    };
    for record in records.iter().filter(is_wanted) {
        collector.add(record);
    }
    let suggestions = collector.finish();
    match args.output.output {
        OutputFormat::Json => print(&serde_json::to_string_pretty(&suggestions)?)?,
        OutputFormat::Text => print(text(&suggestions)?.trim_end())?,
    }
    Ok(Exit::Good)
}

fn fetch(socket: &Path) -> anyhow::Result<Vec<FlowRecord>> {
    let body = block_on(async { Ok(ask(socket, "/flows").await?.collect().await?.to_bytes()) })?;
    let line = |line: &[u8]| serde_json::from_slice::<Line>(line).map(|it| it.record);
    let lines = body.split(|byte| *byte == b'\n').filter(|it| !it.is_empty());
    lines.map(line).collect::<Result<_, _>>().context("read what the agent sent")
}

fn read(path: &Path) -> Result<Vec<FlowRecord>, Failure> {
    let input: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(stdin().lock())
    } else {
        let file = File::open(path)
            .with_context(|| format!("{}: it cannot be read (is the path right?)", path.display()))
            .map_err(Failure::usage)?;
        Box::new(BufReader::new(file))
    };
    let mut records = Vec::new();
    for (number, line) in (1..).zip(input.lines()) {
        let line = line.with_context(|| format!("read {}", path.display()))?;
        if line.trim().is_empty() {
            continue;
        }
        let record = serde_json::from_str(&line)
            .with_context(|| {
                format!(
                    "{}: line {number} is no flow record (was it written by `exeat flows -o json`?)",
                    path.display()
                )
            })
            .map_err(Failure::usage)?;
        records.push(record);
    }
    Ok(records)
}

/// YAML: what is not an object is in comments.
fn text(suggestions: &Suggestions) -> anyhow::Result<String> {
    let Suggestions { entries, ports, others } = suggestions;
    let mut text = String::new();
    if entries.is_empty() && ports.is_empty() {
        text.push_str("# Nothing to suggest: nothing was denied that an entry would allow.\n");
    }
    for draft in entries {
        add_draft(&mut text, draft)?;
    }
    for port in ports {
        add_port(&mut text, port)?;
    }
    if !others.is_empty() {
        text.push_str("# Denied for what no entry changes:\n");
    }
    for Other { reason, sentence, count } in others {
        writeln!(text, "#   {count} x {reason}: {sentence}")?;
    }
    Ok(text)
}

fn add_draft(text: &mut String, draft: &Draft) -> anyhow::Result<()> {
    let Draft { object, workloads, count, port_is_a_guess } = draft;
    writeln!(text, "---\n# {}", who(workloads, *count))?;
    if *port_is_a_guess {
        text.push_str(
            "# The name was refused, so that no connection was tried: the port is a guess.\n",
        );
    }
    if !object.spec.addresses.is_empty() {
        text.push_str(
            "# No trusted resolver gave this address a name; if it has one, declare that.\n",
        );
    }
    text.push_str(&serde_yaml::to_string(object)?);
    Ok(())
}

fn add_port(text: &mut String, missing: &MissingPort) -> anyhow::Result<()> {
    let MissingPort { entry, destination, port, protocol, workloads, count } = missing;
    writeln!(text, "# {}", who(workloads, *count))?;
    writeln!(
        text,
        "# {entry} declares {destination} without port {port}/{protocol}: add it there."
    )?;
    Ok(())
}

fn who(workloads: &BTreeSet<String>, count: u64) -> String {
    let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
    let workloads: Vec<&str> = workloads.iter().map(String::as_str).collect();
    format!("Tried {times} by {}", workloads.join(", "))
}

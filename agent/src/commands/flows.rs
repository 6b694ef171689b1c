//! `exeat flows`: what was denied or would have been, and why.

use anyhow::Context as _;
use clap::Args;
use exeat_agent::flows::{FlowRecord, Line};
use http_body_util::BodyExt as _;

use super::{
    Exit, Outcome, OutputArgs, OutputFormat, SocketArgs,
    client::{ask, block_on},
    output::{BAD, GOOD, paint, print},
};

/// Show the flow log of the running agent
///
/// Every line is a flow or a DNS question that was denied, or would have been under
/// `REGISTRY_ONLY`: who, where to, which layer, and why, with the declared destination that comes
/// closest. The agent keeps the last 1000. In a burst, each workload's records are limited; the
/// metrics count all.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
exeat flows                                  the last records\n  \
exeat flows --follow --denied                what is denied from now on, as well\n  \
exeat flows -o json | jq -r .destination.name | sort | uniq -c")]
pub(super) struct FlowsArgs {
    /// Go on with new records as they come
    #[arg(short, long)]
    follow: bool,
    /// Only what was denied, not what would have been
    #[arg(long)]
    denied: bool,
    #[command(flatten)]
    socket: SocketArgs,
    /// How records are written; JSON is one object a line
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn flows(args: &FlowsArgs) -> Outcome {
    let page = format!("/flows?follow={}&denied={}", args.follow, args.denied);
    block_on(async {
        let mut body = ask(&args.socket.socket, &page).await?;
        let mut pending = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.context("the agent has ended")?.into_data() else { continue };
            pending.extend_from_slice(&data);
            for line in take_lines(&mut pending) {
                show(&line, args.output.output)?;
            }
        }
        Ok(())
    })?;
    Ok(Exit::Good)
}

/// Takes the whole lines off the front.
fn take_lines(pending: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let Some(end) = pending.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
    let rest = pending.split_off(end + 1);
    let whole = std::mem::replace(pending, rest);
    whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

fn show(line: &[u8], format: OutputFormat) -> anyhow::Result<()> {
    let line: Line = serde_json::from_slice(line).context("read what the agent sent")?;
    match format {
        OutputFormat::Json => print(&serde_json::to_string(&line.record)?)?,
        OutputFormat::Text => print(&text(&line))?,
    }
    Ok(())
}

fn text(line: &Line) -> String {
    let FlowRecord { time, layer, verdict, reason, workload, process, would_deny, .. } =
        &line.record;
    let verdict = match (line.is_denied(), would_deny) {
        (true, _) => paint(BAD, verdict),
        (false, true) => paint(BAD, "would-deny"),
        (false, false) => paint(GOOD, verdict),
    };
    let workload = workload
        .as_ref()
        .map_or_else(|| "unknown".to_owned(), |it| format!("{}/{}", it.namespace, it.name));
    let process = process
        .as_ref()
        .map(|it| format!(" [{} {}]", it.comm.escape_debug(), it.pid))
        .unwrap_or_default();
    let code = line.record.code.as_ref().map(|code| format!(" {code}")).unwrap_or_default();
    let entry = line.record.entry.as_ref().map(|it| format!(" ({it})")).unwrap_or_default();
    format!(
        "{time} {verdict} {layer} {workload}{process} -> {}: {reason}{code}: {}{entry}",
        destination(&line.record),
        line.message
    )
}

fn destination(record: &FlowRecord) -> String {
    let to = &record.destination;
    let name = to.name.as_deref().unwrap_or_default();
    let protocol = to.protocol.as_ref().map(|it| format!("/{it}")).unwrap_or_default();
    match to.ip {
        None if name.is_empty() => "unknown".to_owned(),
        None => format!("{name} (DNS)"),
        Some(ip) if name.is_empty() => format!("{ip} port {}{protocol}", to.port),
        Some(ip) => format!("{name} ({ip}) port {}{protocol}", to.port),
    }
}

#[cfg(test)]
mod tests {
    use exeat_agent::flows::{
        Line,
        record::{Destination, FlowRecord, RecordWorkload},
    };

    use super::{take_lines, text};

    #[test]
    fn lines_that_come_in_pieces() {
        let mut pending = b"one\ntw".to_vec();
        assert_eq!(take_lines(&mut pending), [b"one".to_vec()]);
        assert!(take_lines(&mut pending).is_empty());
        pending.extend_from_slice(b"o\n\nthree\n");
        assert_eq!(take_lines(&mut pending), [b"two".to_vec(), b"three".to_vec()]);
        assert!(pending.is_empty());
    }

    #[test]
    fn a_line_for_people() {
        let record = FlowRecord {
            time: "T".into(),
            layer: "dns".into(),
            verdict: "deny".into(),
            reason: "name-not-granted".into(),
            workload: Some(RecordWorkload {
                namespace: "shop".into(),
                name: "web".into(),
                ..RecordWorkload::default()
            }),
            destination: Destination {
                port: 53,
                name: Some("www.example.org".into()),
                ..Destination::default()
            },
            ..FlowRecord::default()
        };
        let mut line = Line { record, message: "nobody declares it".into() };
        assert_eq!(
            anstream::adapter::strip_str(&text(&line)).to_string(),
            "T deny dns shop/web -> www.example.org (DNS): name-not-granted: nobody declares it"
        );
        line.record.destination = Destination::default();
        let said = anstream::adapter::strip_str(&text(&line)).to_string();
        assert!(said.starts_with("T deny dns shop/web -> unknown: "), "{said}");
    }
}

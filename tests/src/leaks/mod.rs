//! The leak matrix: every way out of a pod that we know of, tried by real programs without exeat,
//! then against it, each with a twin that is allowed. What counts is what reached the receiver.

mod finding;
mod report;
mod row;
mod rows;
mod stage;

use std::path::Path;

use anyhow::{Context, Result, ensure};

pub use finding::{Finding, Tried, TwinTried, Verdict};
pub use report::{json, table};
pub use row::{Layer, Start, Version};

use crate::pod_client::{probe_binary, run_probe};
use crate::probe::Reached;
use row::{Aim, Make, Row, Twin};
use stage::Stage;

/// How long an attempt waits for an answer that should not come, and for one that should. What
/// arrived is counted in both cases; neither time decides.
const WAIT_FORBIDDEN_MS: u32 = 200;
const WAIT_ALLOWED_MS: u32 = 5000;

/// One attempt of the matrix, before and after exeat came.
struct Attempt {
    row: Row,
    version: Version,
    start: Start,
}

/// Plays the whole matrix; `progress` is told of each step.
pub fn play(progress: impl Fn(&str)) -> Result<Vec<Finding>> {
    progress("making a node, four pods and an internet");
    let mut stage = Stage::new()?;
    let attempts: Vec<Attempt> = rows::all().into_iter().flat_map(attempts_of).collect();
    progress("trying every way without exeat");
    let mut open = Vec::new();
    for attempt in &attempts {
        let aim = stage.forbidden(&attempt.row, attempt.version)?;
        open.push(attempt.make(&stage, &aim, WAIT_FORBIDDEN_MS)?);
    }
    progress("starting exeat");
    stage.start_agent()?;
    progress("trying every way against exeat, and its twin");
    let mut findings = Vec::new();
    for (attempt, open) in attempts.iter().zip(open) {
        let aim = stage.forbidden(&attempt.row, attempt.version)?;
        let forbidden = attempt.make(&stage, &aim, WAIT_FORBIDDEN_MS)?;
        let twin = attempt.make_twin(&stage)?;
        findings.push(Finding::new(attempt, open, forbidden, twin));
    }
    stage.agent.take().context("the agent was started")?.stop()?;
    stage.files.clean_up(&stage.world.node)?;
    ensure!(!findings.is_empty(), "the matrix has no rows");
    Ok(findings)
}

fn attempts_of(row: Row) -> Vec<Attempt> {
    let pairs = row.versions.iter().flat_map(|version| {
        row.starts.iter().map(move |start| Attempt { row, version: *version, start: *start })
    });
    pairs.collect()
}

impl Attempt {
    fn make(&self, stage: &Stage, aim: &Aim, wait_ms: u32) -> Result<Tried> {
        self.try_with(stage, aim, self.row.bytes, self.row.seen, wait_ms)
    }

    fn make_twin(&self, stage: &Stage) -> Result<TwinTried> {
        let aim = stage.allowed(&self.row, self.version)?;
        let seen = self.row.twin_seen.unwrap_or(self.row.seen);
        let bytes = match self.row.twin {
            Twin::None(why) => return Ok(TwinTried::None(why)),
            Twin::Same => self.row.bytes,
            Twin::Instead(bytes) => Some(bytes),
        };
        self.try_with(stage, &aim, bytes, seen, WAIT_ALLOWED_MS).map(TwinTried::Tried)
    }

    fn try_with(
        &self,
        stage: &Stage,
        aim: &Aim,
        bytes: Option<Make>,
        seen: fn(&crate::capture::Seen, &Aim) -> bool,
        wait_ms: u32,
    ) -> Result<Tried> {
        let row = &self.row;
        if row.program == "join-mptcp" {
            stage.announce(aim.to.ip())?;
        }
        let mark = stage.mark(row);
        let home = stage.home(row, self.start);
        let command = stage.pod(row).netns.command(&probe_binary()?, &home)?;
        let mut args: Vec<String> = ["leak", row.program].map(str::to_owned).to_vec();
        args.extend(["--to".to_owned(), aim.to.to_string()]);
        args.extend(["--via".to_owned(), aim.via.to_string()]);
        args.extend(["--wait-ms".to_owned(), wait_ms.to_string()]);
        args.extend(["--protocol".to_owned(), aim.protocol.to_string()]);
        if let Some(cgroup) = stage.next(row, self.start) {
            args.extend(["--cgroup".to_owned(), path(&cgroup)?]);
        }
        for bytes in bytes.map(|bytes| bytes(aim)).unwrap_or_default() {
            args.extend(["--bytes".to_owned(), hexadecimal(&bytes)]);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let reached: Reached = run_probe(command, &args)?;
        let arrived = stage.count(row, mark, |frame| seen(frame, aim))?;
        Ok(Tried { result: reached.result, arrived })
    }
}

fn path(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).context("a cgroup's path is text")
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

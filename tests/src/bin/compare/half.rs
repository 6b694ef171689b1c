//! The other half of a measurement: a process elsewhere that answers each line it is given by a line.

use std::io::{BufRead as _, BufReader, Write as _, stdin, stdout};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A half that runs. It ends when this is dropped.
pub(crate) struct Half {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Half {
    /// Starts it, and waits until it says that it is ready.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the other half")?;
        let orders = child.stdin.take().context("its standard input")?;
        let answers = BufReader::new(child.stdout.take().context("its standard output")?);
        let mut half = Self { child, orders, answers };
        let ready: bool = half.hear()?;
        ensure!(ready, "the other half is not ready");
        Ok(half)
    }

    /// Orders something and waits for what comes of it.
    pub(crate) fn ask<T: DeserializeOwned>(&mut self, order: &impl Serialize) -> Result<T> {
        writeln!(self.orders, "{}", serde_json::to_string(order)?)
            .context("tell the other half")?;
        self.hear()
    }

    fn hear<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context("hear the other half")?;
        ensure!(!line.is_empty(), "the other half has ended");
        serde_json::from_str(&line).with_context(|| format!("the other half said {line}"))
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        // It has ended by itself, or the end of the run ends it.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Answers orders until there are no more.
pub(crate) fn serve<Order: DeserializeOwned, Answer: Serialize>(
    answer: impl Fn(&Order) -> Result<Answer>,
) -> Result<()> {
    say(&true)?;
    for line in stdin().lock().lines() {
        say(&answer(&serde_json::from_str(&line?)?)?)?;
    }
    Ok(())
}

fn say(answer: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(answer)?);
    Ok(stdout().flush()?)
}

//! The table the demo prints, row by row as things happen.

use std::io::{IsTerminal, Write};
use std::time::Duration;

/// What should become of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// It goes through and arrives.
    Reached,
    /// The name does not exist for this pod, and the question does not leave the node.
    NxDomain,
    /// It fails at once, and nothing arrives.
    Refused,
}

impl Expected {
    fn word(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::NxDomain => "NXDOMAIN",
            Self::Refused => "refused",
        }
    }
}

/// What became of it, at the client and at the receiver.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) got: String,
    pub(crate) as_expected: bool,
    /// Why it was denied, in the agent's words.
    pub(crate) reason: String,
}

#[derive(Debug)]
pub(crate) struct Table {
    colours: bool,
    rows: u32,
    wrong: u32,
}

const GREEN: &str = "\u{1b}[32m";
const RED: &str = "\u{1b}[1;31m";
const DIM: &str = "\u{1b}[2m";
const PLAIN: &str = "\u{1b}[0m";

impl Table {
    pub(crate) fn new() -> Self {
        Self { colours: std::io::stdout().is_terminal(), rows: 0, wrong: 0 }
    }

    pub(crate) fn head(&self) {
        println!();
        self.line("", DIM, ["who", "what", "expected", "got", "reason"]);
    }

    pub(crate) fn row(&mut self, who: &str, what: &str, expected: Expected, outcome: &Outcome) {
        self.rows += 1;
        let (mark, colour) = if outcome.as_expected { ("ok", GREEN) } else { ("WRONG", RED) };
        self.wrong += u32::from(!outcome.as_expected);
        self.line(mark, colour, [who, what, expected.word(), &outcome.got, &outcome.reason]);
    }

    /// Something the demo does between two rows.
    pub(crate) fn event(&self, text: &str) {
        println!("{}       -- {text}{}", self.paint(DIM), self.paint(PLAIN));
    }

    /// The last line; whether all rows came out as expected.
    pub(crate) fn end(&self, took: Duration) -> bool {
        let seconds = took.as_secs_f64();
        let (rows, wrong) = (self.rows, self.wrong);
        let (colour, words) = if wrong == 0 && rows > 0 {
            (GREEN, format!("All {rows} came out as expected"))
        } else {
            (RED, format!("{wrong} of {rows} did not come out as expected"))
        };
        println!("\n{}{words}{}, in {seconds:.1} s.", self.paint(colour), self.paint(PLAIN));
        wrong == 0 && rows > 0
    }

    fn line(&self, mark: &str, colour: &str, [who, what, expected, got, reason]: [&str; 5]) {
        let (colour, plain) = (self.paint(colour), self.paint(PLAIN));
        let row = format!("{who:<12} {what:<44} {expected:<9} {got:<38} {reason}");
        println!("{colour}{mark:<6}{plain} {}", row.trim_end());
    }

    fn paint<'a>(&self, colour: &'a str) -> &'a str {
        if self.colours { colour } else { "" }
    }
}

/// Says what is being made, and how long that took.
pub(crate) fn progress<T>(
    what: &str,
    make: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    print!("{what} … ");
    std::io::stdout().flush()?;
    let start = std::time::Instant::now();
    let outcome = make();
    match &outcome {
        Ok(_) => println!("{:.1} s", start.elapsed().as_secs_f64()),
        Err(_) => println!("failed"),
    }
    outcome
}

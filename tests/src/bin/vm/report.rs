//! What the machine tells the outside: a line for each step and each finding. `cargo xtask
//! vm-test` reads them.
//!
//! ```text
//! step NAME
//! note TEXT
//! pass NAME MILLISECONDS
//! fail NAME MILLISECONDS TEXT
//! end
//! ```

use std::any::Any;
use std::fs::File;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use anyhow::Result;

/// Writes the report. Whoever reads it takes one without `end` for a failure.
pub(crate) struct Report {
    port: File,
}

impl Report {
    pub(crate) fn new(port: File) -> Self {
        Self { port }
    }

    /// Runs a step; its assertions fail it like its errors do. `None` if it failed.
    pub(crate) fn step<T>(
        &mut self,
        name: &str,
        step: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Option<T> {
        self.line(&format!("step {name}"));
        let started = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| step(self)));
        let milliseconds = started.elapsed().as_millis();
        let failure = match outcome {
            Ok(Ok(value)) => {
                self.line(&format!("pass {name} {milliseconds}"));
                return Some(value);
            }
            Ok(Err(error)) => format!("{error:#}"),
            Err(panic) => words(panic.as_ref()),
        };
        // All of it for the console, its two ends for the report: a verifier says much, and what
        // matters last.
        eprintln!("exeat-vm: step {name}: {failure}");
        self.line(&format!("fail {name} {milliseconds} {}", ends(&failure)));
        None
    }

    /// Something worth knowing about the step that runs.
    pub(crate) fn note(&mut self, text: &str) {
        self.line(&format!("note {text}"));
    }

    pub(crate) fn end(&mut self) {
        self.line("end");
    }

    fn line(&mut self, text: &str) {
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Err(error) = writeln!(self.port, "{line}") {
            eprintln!("exeat-vm: cannot report `{line}`: {error}");
        }
    }
}

/// The beginning and the end of a text that is too long for a line.
fn ends(text: &str) -> String {
    const LETTERS: usize = 400;
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= 2 * LETTERS {
        return text.to_owned();
    }
    let (head, tail) = (&letters[..LETTERS], &letters[letters.len() - LETTERS..]);
    let (head, tail): (String, String) = (head.iter().collect(), tail.iter().collect());
    format!("{head} […] {tail}")
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

#[cfg(test)]
mod tests {
    use super::ends;

    #[test]
    fn a_long_text_keeps_both_ends() {
        assert_eq!(ends("short"), "short");
        let long = format!("begin{}end", "x".repeat(5000));
        let kept = ends(&long);
        assert!(kept.starts_with("begin") && kept.ends_with("end") && kept.len() < 1000, "{kept}");
    }
}

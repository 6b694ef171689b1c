//! A sequence of named, timed stages that ends at the first failure and always ends in a summary.

use std::time::{Duration, Instant};

use anyhow::Result;

/// The stages that ran so far.
#[derive(Default)]
pub(crate) struct Stages {
    done: Vec<Stage>,
}

struct Stage {
    name: &'static str,
    took: Duration,
    /// What the stage says about itself, or that it failed.
    outcome: String,
}

impl Stages {
    /// Runs one stage under a heading. `alone` is the command that runs only this one again.
    pub(crate) fn run(
        &mut self,
        name: &'static str,
        alone: &str,
        stage: impl FnOnce() -> Result<String>,
    ) -> Result<()> {
        println!("\n== {name}");
        let started = Instant::now();
        let result = stage();
        let took = started.elapsed();
        let outcome = result.as_deref().unwrap_or("FAILED").to_owned();
        self.done.push(Stage { name, took, outcome });
        result.map(|_| ()).map_err(|error| {
            self.print();
            error.context(format!("stage `{name}` failed; to run it alone: {alone}"))
        })
    }

    /// Prints a line for each stage that ran.
    pub(crate) fn print(&self) {
        println!("\n== summary");
        for Stage { name, took, outcome } in &self.done {
            println!("{name:<18} {:>7.1} s  {outcome}", took.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_stage_is_named_with_the_command_to_repeat_it() {
        let mut stages = Stages::default();
        stages.run("first", "cargo first", || Ok("ok".to_owned())).unwrap();
        let error = stages.run("second", "cargo second", || anyhow::bail!("no")).unwrap_err();
        assert_eq!(error.to_string(), "stage `second` failed; to run it alone: cargo second");
        assert_eq!(error.root_cause().to_string(), "no");
        assert_eq!(stages.done.len(), 2);
        assert_eq!(stages.done[1].outcome, "FAILED");
    }
}

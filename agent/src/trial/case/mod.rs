//! Policy unit tests: a registry, and flows with the verdict each must get. Their format is
//! described in `tests/conformance/README.md`.

mod file;
mod flows;
mod judge;
mod raw;
mod settings;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub use self::{
    file::{CaseFile, InvalidCaseFile, read},
    flows::{CompiledCase, JudgedFlow},
};

/// One case, as it was written.
#[derive(Debug)]
pub struct Case(raw::Case);

/// How the flows of a case, or of several, went.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CaseResult {
    /// Flows that are judged as expected, in every respect that was asked for.
    pub passed: usize,
    /// Flows that are not, and each refusal or report that is not as expected.
    pub failed: usize,
    /// Flows that need a part which is not built.
    pub skipped: usize,
    pub mismatches: Vec<Mismatch>,
}

/// One thing that is not as expected. A flow may have several.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Mismatch {
    /// Title of the case.
    pub case: String,
    /// Place of the flow in `expect`, from 0 on; none for `reject` and `report`.
    pub flow: Option<usize>,
    /// The key that is not as expected, for example `verdict`.
    pub what: &'static str,
    pub expected: String,
    pub got: String,
    /// What the case says about it.
    pub why: String,
    /// Who, what it asked for, and where to; none for `reject` and `report`.
    #[serde(flatten)]
    pub about: Option<FlowWords>,
}

/// A flow in words.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct FlowWords {
    pub client: String,
    pub dns: Option<String>,
    pub dest: String,
}

impl CaseFile {
    /// Runs every case of the file.
    pub fn run(&self) -> CaseResult {
        let mut all = CaseResult::default();
        for case in &self.cases {
            all.add(case.run());
        }
        all
    }
}

impl Case {
    pub fn title(&self) -> &str {
        &self.0.title
    }
}

impl CaseResult {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.mismatches.extend(other.mismatches);
    }
}

//! What is found while one object is checked: reports about it, and whether it stands.

use std::collections::BTreeMap;

use super::report::{Code, ObjectRef, Report};

/// An object that was looked at: the value if it is valid, and what there is to say.
#[derive(Clone, Debug)]
pub struct Checked<T> {
    pub value: Option<T>,
    pub reports: Vec<Report>,
}

impl<T> Checked<T> {
    /// An object that could not be read at all.
    pub(super) fn refused(report: Report) -> Self {
        Self { value: None, reports: vec![report] }
    }
}

/// Collects what there is to say about one object.
pub(super) struct Findings<'a> {
    object: &'a ObjectRef,
    reports: Vec<Report>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(object: &'a ObjectRef, warnings: Vec<Report>) -> Self {
        Self { object, reports: warnings }
    }

    pub(super) fn add(&mut self, code: Code, path: impl Into<String>, message: impl Into<String>) {
        self.reports.push(Report::new(code, self.object, path, message));
    }

    /// Whether the object breaks a rule, so that it is ignored whole.
    pub(super) fn refuse(&self) -> bool {
        self.reports.iter().any(|report| report.code.refuses())
    }

    pub(super) fn bound(&mut self, path: &str, length: usize, most: usize) {
        if length > most {
            let message = format!("{length} items; there may be {most}");
            self.add(Code::TooMany, path, message);
        }
    }

    /// `value`, unless the object breaks a rule.
    pub(super) fn finish<T>(self, value: T) -> Checked<T> {
        Checked { value: (!self.refuse()).then_some(value), reports: self.reports }
    }
}

/// Labels of a selector: no empty key, no star, values of at most 63 bytes.
pub(super) fn check_selector(
    labels: &BTreeMap<String, String>,
    path: &str,
    found: &mut Findings<'_>,
) {
    found.bound(path, labels.len(), 256);
    for (key, value) in labels {
        if key.is_empty() || key.contains('*') || value.contains('*') || value.len() > 63 {
            let message = format!(
                "`{key}: {value}` must have a key, no star, and a value of at most 63 bytes"
            );
            found.add(Code::SelectorSyntax, path, message);
        }
    }
}

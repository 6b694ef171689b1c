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

/// Reports about one object, at most: who breaks a thousand rules can be told the rest later, and a
/// file of nothing but mistakes would take a hundred times its size otherwise.
pub(super) const REPORTS: usize = 1000;

/// Collects what there is to say about one object.
pub(super) struct Findings<'a> {
    object: &'a ObjectRef,
    reports: Vec<Report>,
    /// Whether one of the reports refuses the object. That one is never left out.
    refuses: bool,
}

impl<'a> Findings<'a> {
    pub(super) fn new(object: &'a ObjectRef, warnings: Vec<Report>) -> Self {
        let refuses = warnings.iter().any(|report| report.code.refuses());
        Self { object, reports: warnings, refuses }
    }

    pub(super) fn add(&mut self, code: Code, path: impl Into<String>, message: impl Into<String>) {
        let is_first_refusal = code.refuses() && !self.refuses;
        if self.reports.len() < REPORTS || is_first_refusal {
            self.refuses |= code.refuses();
            self.reports.push(Report::new(code, self.object, path, message));
        }
    }

    /// Whether the object breaks a rule, so that it is ignored whole.
    pub(super) fn refuse(&self) -> bool {
        self.refuses
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

//! What the tests of every kind need: an object from its text, and the codes it gives.

use serde_yaml::Value;

use super::{findings::Checked, meta::Meta};

/// Name and namespace of the objects.
pub(super) const METADATA: &str = "name: n, namespace: v";

/// An object of version and kind (`v1 Pod`), with further `metadata`, each after a comma, and the
/// other fields of its document, likewise.
pub(super) fn object(version_and_kind: &str, metadata: &str, rest: &str) -> (Meta, Value) {
    let (version, kind) = version_and_kind.split_once(' ').expect("version and kind");
    let text = format!(
        "{{apiVersion: {version}, kind: {kind}, metadata: {{{METADATA}{metadata}}}{rest}}}"
    );
    let document: Value = serde_yaml::from_str(&text).unwrap_or_else(|it| panic!("{text}: {it}"));
    (Meta::read(&document).expect("metadata"), document)
}

/// Asserts whether an object is valid, and exactly which codes it gives at which paths
/// (`E-HOST-SYNTAX spec.hosts[0]`), in any order.
#[track_caller]
pub(super) fn check<T>(checked: &Checked<T>, text: &str, expected: &[&str]) {
    let mut got: Vec<String> =
        checked.reports.iter().map(|it| format!("{} {}", it.code, it.path)).collect();
    got.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(got, expected, "{text} {:?}", checked.reports);
    let is_valid = !expected.iter().any(|it| it.starts_with("E-"));
    assert_eq!(checked.value.is_some(), is_valid, "{text}");
}

/// Asserts whether an object is valid, and exactly which codes it gives, in any order.
#[track_caller]
pub(super) fn check_codes<T>(checked: &Checked<T>, text: &str, valid: bool, codes: &[&str]) {
    let mut got: Vec<&str> = checked.reports.iter().map(|it| it.code.as_str()).collect();
    got.sort_unstable();
    let mut codes = codes.to_vec();
    codes.sort_unstable();
    assert_eq!(got, codes, "{text} {:?}", checked.reports);
    assert_eq!(checked.value.is_some(), valid, "{text}");
}

/// The value of a valid object.
#[track_caller]
pub(super) fn value<T>(checked: Checked<T>, text: &str) -> T {
    let Checked { value, reports } = checked;
    value.unwrap_or_else(|| panic!("{text} {reports:?}"))
}

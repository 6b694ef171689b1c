//! A `Namespace`, for its labels.

use serde_yaml::Value;

use super::{
    super::{
        findings::{Checked, Findings},
        header::Header,
        meta::Meta,
    },
    mode_label,
};

/// The label that the API server gives each namespace; it cannot be another.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A namespace. Its `header.object.namespace` has no meaning.
///
/// Source: <https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/namespace-v1/>.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Namespace {
    pub header: Header,
}

impl Namespace {
    /// Checks a document whose metadata were read. The label `kubernetes.io/metadata.name` is
    /// added, as the API server does. `W-MODE-LABEL` for a mode that is none.
    pub fn check(meta: &Meta, _document: &Value) -> Checked<Self> {
        let mut header = Header::new(meta);
        header.labels.insert(NAME_LABEL.to_owned(), meta.object.name.clone());
        let mut found = Findings::new(&meta.object, Vec::new());
        mode_label::check(&header.labels, &mut found);
        found.finish(Self { header })
    }
}

#[cfg(test)]
mod tests {
    use super::Namespace;
    use crate::registry::testing::object;

    #[track_caller]
    fn check(metadata: &str, expected: &[(&str, &str)]) {
        let (meta, document) = object("v1 Namespace", metadata, "");
        let checked = Namespace::check(&meta, &document);
        assert_eq!(checked.reports.len(), usize::from(metadata.contains("'off'")), "{metadata}");
        let namespace = checked.value.expect("always valid");
        let labels = namespace.header.labels.iter();
        let got: Vec<_> = labels.map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(got, expected, "{metadata}");
    }

    #[test]
    fn labels() {
        check("", &[("kubernetes.io/metadata.name", "n")]);
        check(", labels: {a: b}", &[("a", "b"), ("kubernetes.io/metadata.name", "n")]);
        check(
            ", labels: {kubernetes.io/metadata.name: other}",
            &[("kubernetes.io/metadata.name", "n")],
        );
        for mode in ["registry-only", "allow-any", "off"] {
            check(
                &format!(", labels: {{exeat.dev/mode: {mode}}}").replace(": off", ": 'off'"),
                &[("exeat.dev/mode", mode), ("kubernetes.io/metadata.name", "n")],
            );
        }
    }
}

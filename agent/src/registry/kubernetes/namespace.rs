//! A `Namespace`, for its labels.

use serde_yaml::Value;

use super::super::{findings::Checked, header::Header, meta::Meta};

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
    /// added, as the API server does.
    pub fn check(meta: &Meta, _document: &Value) -> Checked<Self> {
        let mut header = Header::new(meta);
        header.labels.insert(NAME_LABEL.to_owned(), meta.object.name.clone());
        Checked { value: Some(Self { header }), reports: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::Namespace;
    use crate::registry::testing::object;

    #[track_caller]
    fn check(metadata: &str, expected: &[(&str, &str)]) {
        let (meta, document) = object("v1 Namespace", metadata, "");
        let namespace = Namespace::check(&meta, &document).value.expect("always valid");
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
    }
}

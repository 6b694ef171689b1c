//! Labels and the two ways to select by them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{findings::Findings, host::is_dns_label, report::Code, shape::or_default};

/// Keys and values.
pub type Labels = BTreeMap<String, String>;

/// Whether `labels` have everything that `selector` asks for. An empty selector selects all.
pub fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// A Kubernetes `LabelSelector`: labels and expressions, all of which must hold.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LabelSelector {
    pub(super) labels: Labels,
    pub(super) expressions: Vec<Expression>,
}

/// One line of `matchExpressions`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Expression {
    pub(super) key: String,
    pub(super) operator: Operator,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Operator {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    DoesNotExist,
}

/// A `LabelSelector` as it was written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RawSelector {
    #[serde(deserialize_with = "or_default")]
    match_labels: Labels,
    #[serde(deserialize_with = "or_default")]
    match_expressions: Vec<RawExpression>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct RawExpression {
    #[serde(deserialize_with = "or_default")]
    key: String,
    #[serde(deserialize_with = "or_default")]
    operator: String,
    #[serde(deserialize_with = "or_default")]
    values: Vec<String>,
}

impl LabelSelector {
    /// Checks what was written at `path`; faults are reported as `code`.
    ///
    /// Source: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/label-selector/>.
    pub(super) fn check(
        raw: &RawSelector,
        path: &str,
        code: Code,
        found: &mut Findings<'_>,
    ) -> Self {
        for (key, value) in &raw.match_labels {
            if !is_key(key) || !is_value(value) {
                let message = format!("`{key}: {value}` is not a Kubernetes label");
                found.add(code, format!("{path}.matchLabels"), message);
            }
        }
        let mut expressions = Vec::new();
        for (index, raw) in raw.match_expressions.iter().enumerate() {
            let path = format!("{path}.matchExpressions[{index}]");
            if !is_key(&raw.key) {
                let message = format!("`{}` is not the key of a label", raw.key);
                found.add(code, format!("{path}.key"), message);
            }
            if let Some(operator) = Operator::check(raw, &path, code, found) {
                expressions.push(Expression { key: raw.key.clone(), operator });
            }
        }
        Self { labels: raw.match_labels.clone(), expressions }
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        selects(&self.labels, labels) && self.expressions.iter().all(|it| it.matches(labels))
    }
}

impl Operator {
    fn check(
        raw: &RawExpression,
        path: &str,
        code: Code,
        found: &mut Findings<'_>,
    ) -> Option<Self> {
        let values: BTreeSet<String> = raw.values.iter().cloned().collect();
        let (operator, takes_values) = match raw.operator.as_str() {
            "In" => (Self::In(values), true),
            "NotIn" => (Self::NotIn(values), true),
            "Exists" => (Self::Exists, false),
            "DoesNotExist" => (Self::DoesNotExist, false),
            other => {
                let message = format!("`{other}` is not one of In, NotIn, Exists, DoesNotExist");
                found.add(code, format!("{path}.operator"), message);
                return None;
            }
        };
        if takes_values == raw.values.is_empty() {
            let needs = if takes_values { "needs values" } else { "takes no values" };
            found.add(code, format!("{path}.values"), format!("{} {needs}", raw.operator));
        }
        if let Some(value) = raw.values.iter().find(|value| !is_value(value)) {
            let message = format!("`{value}` is not the value of a label");
            found.add(code, format!("{path}.values"), message);
        }
        Some(operator)
    }
}

impl Expression {
    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

/// Whether a text can be the key of a label: a name, after a DNS subdomain and a slash or alone.
pub(super) fn is_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').unwrap_or(("", key));
    (!key.contains('/') || (prefix.len() <= 253 && prefix.split('.').all(is_dns_label)))
        && !name.is_empty()
        && is_value(name)
}

/// Letters, digits, and `-_.` inside; at most 63 bytes; may be empty.
pub(super) fn is_value(value: &str) -> bool {
    let bytes = value.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let outer = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    bytes.len() <= 63 && bytes.iter().all(inner) && outer(bytes.first()) && outer(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::{LabelSelector, Labels, RawSelector};
    use crate::registry::{
        findings::Findings,
        report::{Code, ObjectRef},
    };

    fn read(text: &str) -> (LabelSelector, Vec<String>) {
        let raw: RawSelector = serde_yaml::from_str(text).expect("a selector");
        let object = ObjectRef { kind: "A".into(), namespace: "default".into(), name: "n".into() };
        let mut found = Findings::new(&object, Vec::new());
        let selector = LabelSelector::check(&raw, "at", Code::Mesh, &mut found);
        let paths = found.finish(()).reports.into_iter().map(|it| it.path).collect();
        (selector, paths)
    }

    /// Which of `{}`, `{env: prod}` and `{env: test, team: a}` are selected.
    #[track_caller]
    fn check(text: &str, expected: [bool; 3]) {
        let labels = |items: &[(&str, &str)]| -> Labels {
            items.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let (selector, faults) = read(text);
        assert!(faults.is_empty(), "{faults:?}");
        let got =
            [labels(&[]), labels(&[("env", "prod")]), labels(&[("env", "test"), ("team", "a")])]
                .map(|it| selector.matches(&it));
        assert_eq!(got, expected, "{text}");
    }

    #[track_caller]
    fn refused(text: &str, path: &str) {
        assert_eq!(read(text).1, [path], "{text}");
    }

    #[test]
    fn selection() {
        check("{}", [true, true, true]);
        check("{matchLabels: {env: prod}}", [false, true, false]);
        check(
            "{matchExpressions: [{key: env, operator: In, values: [prod, test]}]}",
            [false, true, true],
        );
        check(
            "{matchExpressions: [{key: env, operator: NotIn, values: [prod]}]}",
            [true, false, true],
        );
        check("{matchExpressions: [{key: team, operator: Exists}]}", [false, false, true]);
        check(
            "{matchExpressions: [{key: team, operator: DoesNotExist, values: null}]}",
            [true, true, false],
        );
        check(
            "{matchLabels: {team: a}, matchExpressions: [{key: env, operator: In, values: [prod]}]}",
            [false, false, false],
        );
    }

    #[test]
    fn faults() {
        refused("{matchLabels: {'a b': c}}", "at.matchLabels");
        refused("{matchLabels: {a: 'b c'}}", "at.matchLabels");
        refused("{matchExpressions: [{operator: Exists}]}", "at.matchExpressions[0].key");
        refused(
            "{matchExpressions: [{key: a, operator: Gt, values: ['1']}]}",
            "at.matchExpressions[0].operator",
        );
        refused("{matchExpressions: [{key: a}]}", "at.matchExpressions[0].operator");
        refused("{matchExpressions: [{key: a, operator: In}]}", "at.matchExpressions[0].values");
        refused(
            "{matchExpressions: [{key: a, operator: Exists, values: [b]}]}",
            "at.matchExpressions[0].values",
        );
        refused(
            "{matchExpressions: [{key: a, operator: In, values: ['*']}]}",
            "at.matchExpressions[0].values",
        );
    }
}

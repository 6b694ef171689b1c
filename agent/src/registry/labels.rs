//! Labels and the two ways to select by them.

use std::collections::{BTreeMap, BTreeSet};

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

impl LabelSelector {
    pub fn matches(&self, labels: &Labels) -> bool {
        selects(&self.labels, labels) && self.expressions.iter().all(|it| it.matches(labels))
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

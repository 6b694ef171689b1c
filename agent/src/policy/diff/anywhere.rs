//! Rules that hold for every address. A flow looks at one of them at most, after prefix and names
//! and before the mode.

use std::collections::BTreeSet;

use exeat_common::{
    abi::RuleKey,
    id::{PolicyId, SubjectId},
};

use super::way::Way;
use crate::policy::image::rules_at;

/// Writes what is desired.
pub(super) fn write(way: &mut Way<'_>, policies: &BTreeSet<PolicyId>) {
    let to = way.to;
    for policy in policies {
        for (key, rule) in to.rules.range(rules_at(*policy, SubjectId::ANYWHERE)) {
            way.set_rule(*key, *rule);
        }
    }
}

/// Removes what is not.
pub(super) fn remove(way: &mut Way<'_>, policies: &BTreeSet<PolicyId>) {
    for policy in policies {
        let now = way.now.rules.range(rules_at(*policy, SubjectId::ANYWHERE));
        let extra: Vec<RuleKey> =
            now.map(|(key, _)| *key).filter(|key| !way.to.rules.contains_key(key)).collect();
        for key in extra {
            way.remove_rule(key);
        }
    }
}

//! The dashboard's expressions as rules, so that the checker of rules reads them.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

/// What Grafana puts in for its variables, as far as a parser cares.
const VARIABLES: [(&str, &str); 4] =
    [("$__rate_interval", "5m"), ("$__range", "1h"), ("$instance", ".*"), ("$namespace", ".*")];

/// A rule file with a rule for each expression.
pub(super) fn as_rules(dashboard: &str) -> Result<String> {
    let dashboard: Value = serde_json::from_str(dashboard).context("the dashboard is no JSON")?;
    let panels = dashboard["panels"].as_array().context("the dashboard has no panels")?;
    let mut rules = Vec::new();
    for target in panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten())
    {
        let expression = target["expr"].as_str().context("a panel without an expression")?;
        let expression = VARIABLES
            .iter()
            .fold(expression.to_owned(), |text, (variable, value)| text.replace(variable, value));
        ensure!(!expression.contains('$'), "an unknown variable in {expression}");
        rules.push(json!({ "record": format!("panel:{}", rules.len()), "expr": expression }));
    }
    ensure!(!rules.is_empty(), "the dashboard asks for nothing");
    // JSON is YAML.
    Ok(json!({ "groups": [{ "name": "dashboard", "rules": rules }] }).to_string())
}

#[cfg(test)]
mod tests {
    use super::as_rules;

    #[test]
    fn variables_are_filled_in_and_unknown_ones_are_a_fault() {
        let of = |expression: &str| {
            as_rules(&format!(r#"{{"panels": [{{"targets": [{{"expr": "{expression}"}}]}}]}}"#))
        };
        assert!(of("rate(a[$__rate_interval])").unwrap().contains("rate(a[5m])"));
        assert!(of("rate(a[$__interval])").is_err());
        assert!(as_rules(r#"{"panels": []}"#).is_err());
    }
}

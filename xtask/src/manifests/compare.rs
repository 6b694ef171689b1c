//! Two renderings side by side: where they differ, in words.

use anyhow::{Result, bail};
use serde_yaml::Value;

use super::render::Rendered;

/// Two renderings have the same objects.
pub(super) fn same(left: &str, one: &Rendered, right: &str, other: &Rendered) -> Result<()> {
    within(left, one, right, other)?;
    within(right, other, left, one)
}

/// Every object of one rendering is in the other, and the same.
pub(super) fn within(left: &str, one: &Rendered, right: &str, other: &Rendered) -> Result<()> {
    let mut complaints = Vec::new();
    let others = other.meaning()?;
    for (key, object) in one.meaning()? {
        let (kind, namespace, name) = &key;
        let label = format!("{kind} {namespace}/{name}");
        match others.get(&key) {
            Some(twin) => differences(&label, &object, twin, &mut complaints),
            None => complaints.push(format!("{label}: not there")),
        }
    }
    if !complaints.is_empty() {
        bail!("{left} (first) and {right} (second) differ:\n{}", complaints.join("\n"));
    }
    Ok(())
}

fn differences(path: &str, one: &Value, other: &Value, complaints: &mut Vec<String>) {
    match (one, other) {
        (Value::Mapping(one), Value::Mapping(other)) => {
            for (key, value) in one {
                let path = format!("{path}.{}", plain(key));
                match other.get(key) {
                    Some(twin) => differences(&path, value, twin, complaints),
                    None => complaints.push(format!("{path}: only the first has it")),
                }
            }
            for key in other.keys().filter(|key| !one.contains_key(*key)) {
                complaints.push(format!("{path}.{}: only the second has it", plain(key)));
            }
        }
        (Value::Sequence(one), Value::Sequence(other)) if one.len() == other.len() => {
            for (index, (value, twin)) in one.iter().zip(other).enumerate() {
                differences(&format!("{path}[{index}]"), value, twin, complaints);
            }
        }
        _ if one == other => {}
        _ => complaints.push(format!("{path}: {} and {}", plain(one), plain(other))),
    }
}

fn plain(value: &Value) -> String {
    serde_yaml::to_string(value).unwrap_or_default().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Rendered, same, within};

    #[test]
    fn differences_are_named_by_their_path() {
        let object = |spec| format!("kind: A\nmetadata: {{name: a}}\nspec: {spec}\n");
        let rendered = |spec| Rendered::parse(&object(spec)).unwrap();
        let (one, other) = (rendered("{x: [1, 2], y: 3}"), rendered("{x: [1, 4], z: 3}"));
        let error = same("l", &one, "r", &other).unwrap_err().to_string();
        for part in ["A /a.spec.x[1]: 2 and 4", "A /a.spec.y: only the first", "spec.z: only the"] {
            assert!(error.contains(part), "{part} is not in {error}");
        }
        assert!(same("l", &one, "r", &one).is_ok());
    }

    #[test]
    fn what_is_there_besides_matters_only_where_all_must_be_the_same() {
        let one = Rendered::parse("kind: A\nmetadata: {name: a}\n").unwrap();
        let two = "kind: A\nmetadata: {name: a}\n---\nkind: B\nmetadata: {name: b}\n";
        let two = Rendered::parse(two).unwrap();
        assert!(within("l", &one, "r", &two).is_ok());
        assert!(within("r", &two, "l", &one).is_err());
        assert!(same("l", &one, "r", &two).is_err());
    }
}

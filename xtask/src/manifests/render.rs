//! What was rendered: Kubernetes objects, freed of what may differ from one renderer to the next.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize as _;
use serde_yaml::Value;

/// Groups of kinds that come with their own definitions, for which there are no schemas here.
const CUSTOM: [&str; 1] = ["monitoring.coreos.com/"];
/// What Helm alone writes.
const OF_HELM: [&str; 3] =
    ["app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart"];

/// Kind, namespace and name.
type Key = (String, String, String);

/// The objects of one rendering.
pub(super) struct Rendered {
    objects: BTreeMap<Key, Value>,
}

impl Rendered {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut objects = BTreeMap::new();
        for document in serde_yaml::Deserializer::from_str(text) {
            let object = Value::deserialize(document)?;
            if object.is_null() {
                continue;
            }
            let key = key(&object)?;
            ensure!(objects.insert(key.clone(), object).is_none(), "{key:?} was rendered twice");
        }
        ensure!(!objects.is_empty(), "nothing was rendered");
        Ok(Self { objects })
    }

    /// A stream of the objects for which there are schemas.
    pub(super) fn built_in(&self) -> Result<String> {
        let mut text = String::new();
        for object in self.objects.values().filter(|object| !is_custom(object)) {
            text.push_str("---\n");
            text.push_str(&serde_yaml::to_string(object)?);
        }
        Ok(text)
    }

    pub(super) fn built_in_count(&self) -> usize {
        self.objects.values().filter(|object| !is_custom(object)).count()
    }

    /// The kinds of the other objects.
    pub(super) fn others(&self) -> Option<String> {
        let custom = self.objects.iter().filter(|(_, object)| is_custom(object));
        let kinds: BTreeSet<&str> = custom.map(|((kind, ..), _)| kind.as_str()).collect();
        (!kinds.is_empty()).then(|| kinds.into_iter().collect::<Vec<_>>().join(", "))
    }

    /// What the objects mean. The namespace itself is left out: Helm is told to make it.
    pub(super) fn meaning(&self) -> Result<BTreeMap<Key, Value>> {
        let mut meaning = BTreeMap::new();
        for object in self.objects.values().filter(|object| object["kind"] != "Namespace") {
            let object = normal(object.clone())?;
            meaning.insert(key(&object)?, object);
        }
        Ok(meaning)
    }
}

fn key(object: &Value) -> Result<Key> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let metadata = &object["metadata"];
    let kind = text(&object["kind"]).context("an object without a kind")?;
    let name = text(&metadata["name"]).with_context(|| format!("a {kind} without a name"))?;
    Ok((kind, text(&metadata["namespace"]).unwrap_or_default(), name))
}

fn is_custom(object: &Value) -> bool {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    CUSTOM.iter().any(|group| version.starts_with(group))
}

/// Takes out what only says who rendered it, and reads what is a file in a string.
fn normal(mut object: Value) -> Result<Value> {
    if object["kind"] == "ConfigMap" {
        cut_hash(&mut object["metadata"]["name"]);
        for file in object["data"].as_mapping_mut().into_iter().flat_map(|it| it.values_mut()) {
            let text = file.as_str().context("a ConfigMap with something else than text")?;
            *file = serde_yaml::from_str(text).context("a file in a ConfigMap")?;
        }
    }
    clean(&mut object);
    Ok(object)
}

fn cut_hash(name: &mut Value) {
    if let Value::String(text) = name {
        text.truncate(without_hash(text).len());
    }
}

/// Kustomize ends the name of a generated `ConfigMap` with a hash of its content.
fn without_hash(name: &str) -> &str {
    let is_hash = |end: &str| end.len() == 10 && end.bytes().all(|it| it.is_ascii_alphanumeric());
    name.rsplit_once('-').filter(|(_, end)| is_hash(end)).map_or(name, |(name, _)| name)
}

fn clean(value: &mut Value) {
    match value {
        Value::Mapping(mapping) => {
            for label in OF_HELM {
                mapping.remove(label);
            }
            mapping.remove("checksum/config");
            // The volume names the ConfigMap.
            if let Some(Value::Mapping(map)) = mapping.get_mut("configMap")
                && let Some(name) = map.get_mut("name")
            {
                cut_hash(name);
            }
            mapping.values_mut().for_each(clean);
        }
        Value::Sequence(items) => items.iter_mut().for_each(clean),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Tagged(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{Rendered, without_hash};

    #[test]
    fn a_name_loses_a_hash_and_nothing_else() {
        assert_eq!(without_hash("exeat-6ht8g665h4"), "exeat");
        assert_eq!(without_hash("exeat-dashboard"), "exeat-dashboard");
        assert_eq!(without_hash("exeat"), "exeat");
    }

    #[test]
    fn who_rendered_does_not_matter() {
        let kustomize = "kind: ConfigMap\nmetadata: {name: a-6ht8g665h4, labels: {x: y}}\n\
                         data: {f: '{b: 1, a: 2}'}\n---\nkind: Namespace\nmetadata: {name: n}\n";
        let helm = "---\n---\nkind: ConfigMap\n\
                    metadata: {name: a, labels: {x: y, helm.sh/chart: c}}\n\
                    data: {f: \"a: 2\\nb: 1\"}\n";
        let meaning = |text| Rendered::parse(text).unwrap().meaning().unwrap();
        assert_eq!(meaning(kustomize), meaning(helm));
        assert_ne!(meaning(kustomize), meaning(&helm.replace("a: 2", "a: 3")));
    }

    #[test]
    fn nothing_and_twice_the_same_are_faults() {
        let object = "kind: A\nmetadata: {name: a}\n";
        assert!(Rendered::parse("---\n").is_err());
        assert!(Rendered::parse(object).is_ok());
        assert!(Rendered::parse(&format!("{object}---\n{object}")).is_err());
    }
}

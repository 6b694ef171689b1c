//! Text to objects: YAML streams, JSON, lists. Bounded, because a file may be anything.

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_yaml::Value;

use super::nesting;

/// Largest file that is read.
pub const FILE_BYTES: u64 = 4 << 20;
/// Values that a text may hold once its aliases are followed. A value takes some 150 bytes of memory
/// at worst, and manifests have one for eight bytes or more of a file.
const TEXT_VALUES: usize = 512 << 10;
/// Bytes of keys and texts that it may hold then: an alias repeats them all.
const TEXT_BYTES: usize = 8 << 20;

/// How a file is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// Any number of documents.
    Yaml,
    /// One document.
    Json,
}

/// Why a text holds no objects. Line and column are in the text, where the parser knows them.
#[derive(Debug, thiserror::Error)]
pub enum InvalidDocument {
    #[error("not valid YAML: {0} (was the file written in full?)")]
    Yaml(#[from] serde_yaml::Error),
    #[error("not valid JSON: {0} (was the file written in full?)")]
    Json(#[from] serde_json::Error),
    #[error("its brackets stand in each other too deep for any object (is one not closed?)")]
    TooDeep,
}

/// Splits a text into objects; lists are taken apart, empty documents left out.
pub fn parse(text: &str, format: Format) -> Result<Vec<Value>, InvalidDocument> {
    let mut objects = Vec::new();
    match format {
        Format::Yaml if nesting::is_too_deep(text) => return Err(InvalidDocument::TooDeep),
        Format::Yaml => {
            let mut left = Left { values: TEXT_VALUES, bytes: TEXT_BYTES };
            for document in serde_yaml::Deserializer::from_str(text) {
                Budget(&mut left).deserialize(document)?;
            }
            for document in serde_yaml::Deserializer::from_str(text) {
                unfold(Value::deserialize(document)?, &mut objects);
            }
        }
        Format::Json => {
            let mut left = Left { values: TEXT_VALUES, bytes: TEXT_BYTES };
            let mut document = serde_json::Deserializer::from_str(text);
            Budget(&mut left).deserialize(&mut document)?;
            unfold(serde_json::from_str(text)?, &mut objects);
        }
    }
    Ok(objects)
}

/// Appends an object, or the items of a list of objects. The items of a `ServiceEntryList` need
/// not repeat version and kind.
pub(crate) fn unfold(document: Value, objects: &mut Vec<Value>) {
    let Value::Mapping(mut fields) = document else {
        if !document.is_null() {
            objects.push(document);
        }
        return;
    };
    let kind = fields.get("kind").and_then(Value::as_str).unwrap_or_default();
    let Some(item_kind) = kind.strip_suffix("List").map(str::to_owned) else {
        objects.push(Value::Mapping(fields));
        return;
    };
    let Some(Value::Sequence(items)) = fields.remove("items") else {
        objects.push(Value::Mapping(fields));
        return;
    };
    for mut item in items {
        if let Value::Mapping(item) = &mut item
            && !item_kind.is_empty()
        {
            let version = fields.get("apiVersion").cloned().unwrap_or(Value::Null);
            item.entry("kind".into()).or_insert_with(|| item_kind.clone().into());
            item.entry("apiVersion".into()).or_insert(version);
        }
        objects.push(item);
    }
}

/// What a text may still unfold to.
struct Left {
    values: usize,
    bytes: usize,
}

/// Walks a document without keeping it, and refuses one that unfolds to too much.
struct Budget<'a>(&'a mut Left);

impl<'de> DeserializeSeed<'de> for Budget<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Budget<'_> {
    fn spend<E: Error>(&mut self) -> Result<(), E> {
        self.0.values = self.0.values.checked_sub(1).ok_or_else(|| {
            E::custom(
                "the file unfolds to too many values (are there aliases of aliases?); split it",
            )
        })?;
        Ok(())
    }

    fn spend_bytes<E: Error>(&mut self, text: &str) -> Result<(), E> {
        self.0.bytes = self.0.bytes.checked_sub(text.len()).ok_or_else(|| {
            E::custom("the file unfolds to too long a text (is a long one repeated by aliases?)")
        })?;
        self.spend()
    }
}

impl<'de> Visitor<'de> for Budget<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_bool<E: Error>(mut self, _: bool) -> Result<(), E> {
        self.spend()
    }

    fn visit_i64<E: Error>(mut self, _: i64) -> Result<(), E> {
        self.spend()
    }

    fn visit_u64<E: Error>(mut self, _: u64) -> Result<(), E> {
        self.spend()
    }

    fn visit_f64<E: Error>(mut self, _: f64) -> Result<(), E> {
        self.spend()
    }

    fn visit_str<E: Error>(mut self, text: &str) -> Result<(), E> {
        self.spend_bytes(text)
    }

    fn visit_unit<E: Error>(mut self) -> Result<(), E> {
        self.spend()
    }

    fn visit_none<E: Error>(mut self) -> Result<(), E> {
        self.spend()
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.spend()?;
        while items.next_element_seed(Budget(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<(), A::Error> {
        self.spend()?;
        while fields.next_key_seed(Budget(self.0))?.is_some() {
            fields.next_value_seed(Budget(self.0))?;
        }
        Ok(())
    }

    /// A value with a tag: no object of ours has one, so its content does not matter.
    fn visit_enum<A: serde::de::EnumAccess<'de>>(mut self, data: A) -> Result<(), A::Error> {
        use serde::de::VariantAccess;
        self.spend()?;
        let (_, content): (IgnoredAny, _) = data.variant()?;
        content.newtype_variant_seed(Budget(self.0))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::{Format, parse};

    #[track_caller]
    fn check(text: &str, format: Format, expected: usize) {
        assert_eq!(parse(text, format).expect("valid").len(), expected, "{text}");
    }

    #[track_caller]
    fn check_refused(text: &str, format: Format, part: &str) {
        let error = parse(text, format).expect_err("refused").to_string();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn streams_lists_and_json() {
        check("", Format::Yaml, 0);
        check("---\n---\n# nothing\n", Format::Yaml, 0);
        check("kind: A\n---\nkind: B\n---\n", Format::Yaml, 2);
        check("{kind: List, items: [{kind: A}, {kind: B}]}", Format::Yaml, 2);
        check("{kind: List}", Format::Yaml, 1);
        check("just text", Format::Yaml, 1);
        check("[1, 2]", Format::Yaml, 1);
        check("!tagged {a: 1}", Format::Yaml, 1);
        check("a: &x 1\nb: *x\n", Format::Yaml, 1);
        check("{\"kind\":\t\"A\"}", Format::Json, 1);
        check("null", Format::Json, 0);
    }

    #[test]
    fn items_of_a_typed_list_inherit_its_kind() {
        let text =
            "{kind: FooList, apiVersion: a/v1, items: [{x: 1}, {kind: B, apiVersion: b/v1}]}";
        let got = parse(text, Format::Yaml).expect("valid");
        let head: Vec<(&str, &str)> = got
            .iter()
            .map(|it| {
                (it["kind"].as_str().expect("kind"), it["apiVersion"].as_str().expect("version"))
            })
            .collect();
        assert_eq!(head, [("Foo", "a/v1"), ("B", "b/v1")]);
    }

    #[test]
    fn errors_name_the_place() {
        check_refused("kind: A\nspec: [1, 2", Format::Yaml, "line 2");
        check_refused("kind: A\n---\nspec:\n - a\n b: c\n", Format::Yaml, "line 5");
        check_refused("{\"kind\": ", Format::Json, "line 1 column 9");
        check_refused("{} {}", Format::Json, "trailing");
        check_refused("a: 1\na: 2\n", Format::Yaml, "duplicate");
    }

    #[test]
    fn deep_and_unfolding_documents_are_refused() {
        let depth = "[".repeat(5000) + &"]".repeat(5000);
        check_refused(&depth, Format::Yaml, "too deep");
        let depth = "[".repeat(200) + &"]".repeat(200);
        check_refused(&depth, Format::Yaml, "recursion");
        check_refused(&depth, Format::Json, "recursion");
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let item = format!("*a{}", level - 1);
            writeln!(bomb, "a{level}: &a{level} [{}]", [item.as_str(); 9].join(", "))
                .expect("a string");
        }
        check_refused(&bomb, Format::Yaml, "");
        // One large value, repeated: linear, so the parser itself does not mind.
        let mut wide = format!("a: &a [{}]\nb: [", "1,".repeat(50_000));
        wide.push_str(&"*a,".repeat(100));
        wide.push(']');
        check_refused(&wide, Format::Yaml, "too many values");
        // The same, a little in each of many documents.
        let small = format!("--- {{a: &a [{}], b: [{}]}}\n", "1,".repeat(100), "*a,".repeat(200));
        check(&small, Format::Yaml, 1);
        check_refused(&small.repeat(100), Format::Yaml, "too many values");
        // Few values, but a long text in each.
        let mut long = format!("a: &a {}\nb: [", "x".repeat(100_000));
        long.push_str(&"*a,".repeat(100));
        long.push(']');
        check_refused(&long, Format::Yaml, "too long a text");
        check_refused(&format!("[{}1]", "1,".repeat(600_000)), Format::Json, "too many values");
    }
}

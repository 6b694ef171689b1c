//! The part every Kubernetes object has: version, kind and metadata.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use serde::Deserialize;
use serde_yaml::Value;

use super::{
    host::is_dns_label,
    report::{Code, ObjectRef, Report},
};

/// Namespace of objects that name none.
const DEFAULT_NAMESPACE: &str = "default";

/// Version, kind and metadata of an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Meta {
    pub api_version: String,
    pub object: Arc<ObjectRef>,
    pub labels: BTreeMap<String, String>,
    /// Missing sorts first: the object is older than any that has a time.
    pub created: Option<SystemTime>,
}

impl Meta {
    /// Reads them from a document.
    ///
    /// # Errors
    ///
    /// `E-OBJECT` with as much of the object's name as could be read.
    pub fn read(document: &Value) -> Result<Self, Box<Report>> {
        let text = |field: &str| document.get(field).and_then(Value::as_str).unwrap_or_default();
        let mut object = ObjectRef {
            kind: text("kind").to_owned(),
            namespace: DEFAULT_NAMESPACE.to_owned(),
            name: String::new(),
        };
        let refuse = |object: &ObjectRef, path: &str, message: String| {
            Err(Box::new(Report::new(Code::Object, object, path, message)))
        };
        let raw = match document.get("metadata") {
            Some(metadata) => RawMeta::deserialize(metadata),
            None => Ok(RawMeta::default()),
        };
        let raw = match raw {
            Ok(raw) => raw,
            Err(error) => return refuse(&object, "metadata", error.to_string()),
        };
        if let Some(namespace) = raw.namespace.filter(|it| !it.is_empty()) {
            object.namespace = namespace;
        }
        object.name = raw.name.unwrap_or_default();
        for field in ["apiVersion", "kind"] {
            if text(field).is_empty() {
                let message = format!("`{field}` is missing: this is not a Kubernetes object");
                return refuse(&object, field, message);
            }
        }
        if object.name.is_empty() {
            return refuse(&object, "metadata.name", "the object has no name".to_owned());
        }
        for (path, name) in
            [("metadata.name", &object.name), ("metadata.namespace", &object.namespace)]
        {
            if !is_object_name(name) {
                let message = format!("`{name}` is not a Kubernetes name");
                return refuse(&object, path, message);
            }
        }
        let created = match raw.creation_timestamp.as_deref().map(humantime::parse_rfc3339) {
            None => None,
            Some(Ok(time)) => Some(time),
            Some(Err(error)) => {
                return refuse(&object, "metadata.creationTimestamp", error.to_string());
            }
        };
        Ok(Self {
            api_version: text("apiVersion").to_owned(),
            object: Arc::new(object),
            labels: raw.labels.unwrap_or_default(),
            created,
        })
    }

    /// The part of `apiVersion` before the slash; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// The part of `apiVersion` after the slash.
    pub fn version(&self) -> &str {
        self.api_version.split_once('/').map_or(&self.api_version, |(_, version)| version)
    }
}

/// A DNS subdomain in lower case (RFC 1123), as the API server wants names.
fn is_object_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(is_dns_label)
        && !name.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// What was written. Other fields of metadata are of no concern.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMeta {
    name: Option<String>,
    namespace: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::Meta;

    fn read(text: &str) -> Result<Meta, String> {
        let document = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        Meta::read(&document).map_err(|report| format!("{} {}", report.code, report.path))
    }

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let got = read(text).map(|meta| meta.object.to_string());
        assert_eq!(got.as_deref().map_err(String::as_str), expected, "{text}");
    }

    #[test]
    fn identity() {
        check("{apiVersion: v1, kind: A, metadata: {name: n}}", Ok("A/default/n"));
        check("{apiVersion: v1, kind: A, metadata: {name: n, namespace: x}}", Ok("A/x/n"));
        check("{apiVersion: v1, kind: A, metadata: {name: n.m}}", Ok("A/default/n.m"));
        check("{apiVersion: v1, kind: A}", Err("E-OBJECT metadata.name"));
        check("{kind: A, metadata: {name: n}}", Err("E-OBJECT apiVersion"));
        check("{apiVersion: v1, metadata: {name: n}}", Err("E-OBJECT kind"));
        check("just text", Err("E-OBJECT apiVersion"));
        check("[1]", Err("E-OBJECT apiVersion"));
        check("{apiVersion: v1, kind: A, metadata: 3}", Err("E-OBJECT metadata"));
        check("{apiVersion: v1, kind: A, metadata: {name: N}}", Err("E-OBJECT metadata.name"));
        check(
            "{apiVersion: v1, kind: A, metadata: {name: n, namespace: a/b}}",
            Err("E-OBJECT metadata.namespace"),
        );
        check(
            "{apiVersion: v1, kind: A, metadata: {name: n, creationTimestamp: yesterday}}",
            Err("E-OBJECT metadata.creationTimestamp"),
        );
    }

    #[test]
    fn a_missing_time_sorts_first() {
        let created = |time: &str| {
            read(&format!(
                "{{apiVersion: a/v1, kind: A, metadata: {{name: n, creationTimestamp: {time}}}}}"
            ))
            .expect("valid")
            .created
        };
        assert!(created("null") < created("\"1970-01-02T00:00:00Z\""));
        assert!(created("\"2026-01-01T00:00:00Z\"") < created("\"2026-01-01T00:00:01Z\""));
    }
}

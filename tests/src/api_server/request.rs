//! What is asked for: path and query of a request.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{kinds::Kind, status::Status, store::Drawer};

/// What a path means.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Path {
    Version,
    CoreVersions,
    Groups,
    /// Group and version.
    Kinds(String, String),
    Objects(Target),
}

/// Objects of one kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Target {
    pub(super) drawer: Drawer,
    pub(super) version: String,
    /// None: of all namespaces, or the kind has none.
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) is_status: bool,
}

impl Path {
    /// Reads a path. None: nothing is there.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["version"] => return Some(Self::Version),
            ["api"] => return Some(Self::CoreVersions),
            ["apis"] => return Some(Self::Groups),
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            [] => return Some(Self::Kinds(group.to_owned(), version.to_owned())),
            ["namespaces", namespace, plural, rest @ ..] if *plural != "status" => {
                (Some((*namespace).to_owned()), [&[*plural], rest].concat())
            }
            rest => (None, rest.to_vec()),
        };
        let (plural, name, is_status) = match rest.as_slice() {
            [plural] => (plural, None, false),
            [plural, name] => (plural, Some((*name).to_owned()), false),
            [plural, name, "status"] => (plural, Some((*name).to_owned()), true),
            _ => return None,
        };
        Some(Self::Objects(Target {
            drawer: (group.to_owned(), (*plural).to_owned()),
            version: version.to_owned(),
            namespace,
            name,
            is_status,
        }))
    }
}

impl Target {
    pub(super) fn api_version(&self) -> String {
        match self.drawer.0.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }
}

/// The parameters of a request.
#[derive(Debug, Default)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self(pairs.map(|(key, value)| (decode(key), decode(value))).collect())
    }

    pub(super) fn text(&self, key: &str) -> &str {
        self.0.get(key).map(String::as_str).unwrap_or_default()
    }

    pub(super) fn is_set(&self, key: &str) -> bool {
        matches!(self.text(key), "true" | "1")
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, Status> {
        match self.text(key) {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| Status::bad_request(&format!("{key}: `{text}` is not a number"))),
        }
    }

    /// Which objects are asked for.
    pub(super) fn selection(&self, kind: &Kind) -> Result<Selection, Status> {
        let fields = pairs(self.text("fieldSelector"));
        for (field, _) in &fields {
            let is_known = ["metadata.name", "metadata.namespace"].contains(&field.as_str())
                || (kind.name == "Pod"
                    && ["spec.nodeName", "status.phase"].contains(&field.as_str()));
            if !is_known {
                return Err(Status::bad_request(&format!("field label not supported: {field}")));
            }
        }
        Ok(Selection { fields, labels: pairs(self.text("labelSelector")) })
    }
}

fn pairs(selector: &str) -> Vec<(String, String)> {
    let terms = selector.split(',').filter(|term| !term.is_empty());
    let terms = terms.filter_map(|term| term.split_once('='));
    terms.map(|(key, value)| (key.to_owned(), value.trim_start_matches('=').to_owned())).collect()
}

/// Which objects are asked for: every term must fit.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    fields: Vec<(String, String)>,
    labels: Vec<(String, String)>,
}

impl Selection {
    pub(super) fn fits(&self, object: &Value) -> bool {
        let field = |path: &str| {
            let value = path.split('.').try_fold(object, |value, part| value.get(part));
            value.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let label = |key: &str| object["metadata"]["labels"][key].as_str().map(str::to_owned);
        self.fields.iter().all(|(path, wanted)| field(path) == *wanted)
            && self.labels.iter().all(|(key, wanted)| label(key).as_ref() == Some(wanted))
    }

    pub(super) fn is_everything(&self) -> bool {
        self.fields.is_empty() && self.labels.is_empty()
    }
}

/// Percent-decoding (RFC 3986, section 2.1), and `+` for a blank as forms have it.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..2).filter(|_| *first == b'%');
        let escaped = escaped
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        rest = if escaped.is_some() { &tail[2..] } else { tail };
        bytes.push(escaped.unwrap_or(if *first == b'+' { b' ' } else { *first }));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Path, Query, Target};
    use crate::api_server::kinds::Kinds;

    fn target(path: &str) -> Target {
        match Path::parse(path) {
            Some(Path::Objects(target)) => target,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn paths() {
        let all = target("/api/v1/pods");
        assert_eq!(all.drawer, (String::new(), "pods".to_owned()));
        assert_eq!((all.namespace, all.name), (None, None));
        let one = target("/apis/networking.istio.io/v1/namespaces/shop/serviceentries/a/status");
        assert_eq!(one.drawer.1, "serviceentries");
        assert_eq!(one.namespace.as_deref(), Some("shop"));
        assert!(one.name.as_deref() == Some("a") && one.is_status);
        let namespace = target("/api/v1/namespaces/shop");
        assert_eq!((namespace.namespace, namespace.name.as_deref()), (None, Some("shop")));
        assert!(target("/api/v1/namespaces/shop/status").is_status);
        assert_eq!(Path::parse("/apis/a.b/v1"), Some(Path::Kinds("a.b".into(), "v1".into())));
        assert_eq!(Path::parse("/metrics"), None);
    }

    #[test]
    fn selectors() {
        let kinds = Kinds::built_in();
        let pod = kinds.find(&(String::new(), "pods".into()), "v1").expect("pods");
        let query = Query::parse("fieldSelector=spec.nodeName%3Dn1&labelSelector=app%3D%3Dweb");
        let selection = query.selection(pod).expect("supported");
        let object = |node: &str, app: &str| json!({"metadata": {"labels": {"app": app}}, "spec": {"nodeName": node}});
        assert!(selection.fits(&object("n1", "web")));
        assert!(!selection.fits(&object("n2", "web")) && !selection.fits(&object("n1", "db")));
        assert!(Query::parse("fieldSelector=spec.x%3D1").selection(pod).is_err());
    }
}

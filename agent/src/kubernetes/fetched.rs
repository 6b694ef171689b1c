//! An object as the API server sends it, of whatever kind.

use std::{borrow::Cow, fmt};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Resource,
    core::{ApiResource, DynamicResourceScope, PartialObjectMeta},
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_yaml::{Mapping, Value};

/// An object on its way in: it is read, and what was read of it is kept.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    pub(super) metadata: ObjectMeta,
    /// All but version, kind and metadata.
    fields: Mapping,
}

impl Fetched {
    /// The object in the form that manifests have. Version and kind are those that were asked for:
    /// in lists of built-in kinds the items do not say.
    pub(super) fn document(self, resource: &ApiResource) -> Value {
        let mut document = self.fields;
        document.insert("apiVersion".into(), resource.api_version.as_str().into());
        document.insert("kind".into(), resource.kind.as_str().into());
        // Metadata came as JSON, which YAML holds.
        let metadata = serde_yaml::to_value(self.metadata).unwrap_or_default();
        document.insert("metadata".into(), metadata);
        Value::Mapping(document)
    }

    fn new(mut metadata: ObjectMeta, fields: Mapping) -> Self {
        metadata.managed_fields = None;
        Self { metadata, fields }
    }
}

impl From<PartialObjectMeta<Self>> for Fetched {
    fn from(object: PartialObjectMeta<Self>) -> Self {
        Self::new(object.metadata, Mapping::new())
    }
}

impl<'de> Deserialize<'de> for Fetched {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FetchedVisitor)
    }
}

struct FetchedVisitor;

impl<'de> Visitor<'de> for FetchedVisitor {
    type Value = Fetched;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a Kubernetes object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fetched, A::Error> {
        let mut metadata = ObjectMeta::default();
        let mut fields = Mapping::new();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match &*key {
                "metadata" => metadata = map.next_value()?,
                "apiVersion" | "kind" => drop(map.next_value::<serde::de::IgnoredAny>()?),
                _ => drop(fields.insert(key.into_owned().into(), map.next_value()?)),
            }
        }
        Ok(Fetched::new(metadata, fields))
    }
}

impl Resource for Fetched {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use kube::core::ApiResource;

    use super::Fetched;
    use crate::registry::object::{Content, read};

    fn resource(group: &str, kind: &str, plural: &str) -> ApiResource {
        let api_version = if group.is_empty() { "v1".into() } else { format!("{group}/v1") };
        let (group, version) = (group.to_owned(), "v1".to_owned());
        ApiResource { group, version, api_version, kind: kind.into(), plural: plural.into() }
    }

    #[test]
    fn an_item_of_a_list_is_of_the_kind_that_was_asked_for() {
        let json = r#"{"metadata": {"name": "s", "namespace": "shop", "uid": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"a": "b"},
            "managedFields": [{"manager": "kubectl", "operation": "Update"}]},
            "spec": {"clusterIP": "10.96.0.7", "ports": [{"port": 80, "protocol": "TCP"}]}}"#;
        let fetched: Fetched = serde_json::from_str(json).expect("an object");
        assert!(fetched.metadata.managed_fields.is_none());
        let document = fetched.document(&resource("", "Service", "services"));
        let read = read(&document);
        assert!(read.reports.is_empty(), "{:?}", read.reports);
        let Some(Content::Service(service)) = read.content else { panic!("{document:?}") };
        assert_eq!(service.header.object.to_string(), "Service/shop/s");
        assert_eq!(service.header.labels["a"], "b");
        assert!(service.header.created.is_some());
    }

    #[test]
    fn an_entry_reads_as_from_a_file() {
        let json = r#"{"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
            "metadata": {"name": "e", "namespace": "shop"},
            "spec": {"hosts": ["a.example"], "ports": [{"number": 443, "name": "tls", "protocol": "TLS"}]},
            "status": {"conditions": []}}"#;
        let fetched: Fetched = serde_json::from_str(json).expect("an object");
        let resource = resource("networking.istio.io", "ServiceEntry", "serviceentries");
        let by_api = read(&fetched.document(&resource));
        let by_file = read(&serde_yaml::from_str(json).expect("JSON is YAML"));
        assert_eq!(by_api, by_file);
        assert!(by_api.content.is_some());
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        for text in ["[]", "3", "{\"metadata\": 3}"] {
            assert!(serde_json::from_str::<Fetched>(text).is_err(), "{text}");
        }
    }
}

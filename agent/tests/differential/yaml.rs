//! Objects to manifests and back. Knows the layout of documents and nothing of their meaning.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};
use serde_json::{Map, Value};

use super::manifest::{Body, Object};

/// Keys that mean something although nothing is in them.
const MEANT_WHEN_EMPTY: [&str; 3] = ["workloadSelector", "outboundTrafficPolicy", "labels"];

/// The manifest of an object.
pub(crate) fn document(object: &Object) -> Value {
    let body = match &object.body {
        Body::ServiceEntry(it) => serde_json::to_value(it),
        Body::WorkloadEntry(it) => serde_json::to_value(it),
        Body::VirtualService(it) => serde_json::to_value(it),
        Body::Gateway(it) => serde_json::to_value(it),
        Body::DestinationRule(it) => serde_json::to_value(it),
        Body::Sidecar(it) => serde_json::to_value(it),
        Body::ExternalService(it) => serde_json::to_value(it),
        Body::ExternalEndpoint(it) => serde_json::to_value(it),
        Body::Service(it) => serde_json::to_value(it),
        Body::Endpoints(it) => serde_json::to_value(it),
        Body::EndpointSlice(it) => serde_json::to_value(it),
        Body::Pod(it) => serde_json::to_value(it),
        Body::Namespace(it) => serde_json::to_value(it),
        Body::EgressPolicy(it) => serde_json::to_value(it),
    };
    let mut document = Map::new();
    document.insert("apiVersion".to_owned(), object.api_version.clone().into());
    document.insert("kind".to_owned(), object.kind().into());
    document.insert("metadata".to_owned(), serde_json::to_value(&object.meta).expect("plain data"));
    if let Value::Object(fields) = body.expect("plain data") {
        document.extend(fields);
    }
    let mut document = Value::Object(document);
    prune(&mut document, 0);
    document
}

/// Takes out what says nothing: an absent field and an empty one are written alike.
fn prune(value: &mut Value, depth: usize) {
    match value {
        Value::Object(fields) => {
            for (_, field) in fields.iter_mut() {
                prune(field, depth + 1);
            }
            fields.retain(|key, field| {
                let is_meant =
                    depth >= 1 && MEANT_WHEN_EMPTY.contains(&key.as_str()) && field.is_object();
                let is_spec = depth == 0 && key == "spec";
                match field {
                    Value::Null => false,
                    Value::String(text) => !text.is_empty(),
                    Value::Array(items) => !items.is_empty(),
                    Value::Object(fields) => !fields.is_empty() || is_meant || is_spec,
                    Value::Bool(_) | Value::Number(_) => true,
                }
            });
        }
        Value::Array(items) => items.iter_mut().for_each(|item| prune(item, depth + 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The object of a manifest; none of a kind that the model does not have.
pub(crate) fn object(document: &Value) -> Result<Option<Object>, serde_json::Error> {
    let text = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
    let body = document.clone();
    let body = match text("kind").as_str() {
        "ServiceEntry" => Body::ServiceEntry(serde_json::from_value(body)?),
        "WorkloadEntry" => Body::WorkloadEntry(serde_json::from_value(body)?),
        "VirtualService" => Body::VirtualService(serde_json::from_value(body)?),
        "Gateway" => Body::Gateway(serde_json::from_value(body)?),
        "DestinationRule" => Body::DestinationRule(serde_json::from_value(body)?),
        "Sidecar" => Body::Sidecar(serde_json::from_value(body)?),
        "ExternalService" => Body::ExternalService(serde_json::from_value(body)?),
        "ExternalEndpoint" => Body::ExternalEndpoint(serde_json::from_value(body)?),
        "Service" => Body::Service(serde_json::from_value(body)?),
        "Endpoints" => Body::Endpoints(serde_json::from_value(body)?),
        "EndpointSlice" => Body::EndpointSlice(serde_json::from_value(body)?),
        "Pod" => Body::Pod(serde_json::from_value(body)?),
        "Namespace" => Body::Namespace(serde_json::from_value(body)?),
        "ASMEgressTrafficPolicy" => Body::EgressPolicy(serde_json::from_value(body)?),
        _ => return Ok(None),
    };
    let mut meta: super::manifest::Meta = serde_json::from_value(document["metadata"].clone())?;
    if meta.namespace.is_empty() {
        "default".clone_into(&mut meta.namespace);
    }
    Ok(Some(Object { api_version: text("apiVersion"), meta, body }))
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::to_value(document(self)).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let document = Value::deserialize(deserializer)?;
        object(&document)
            .map_err(D::Error::custom)?
            .ok_or_else(|| D::Error::custom(format!("no kind of the model: {}", document["kind"])))
    }
}

/// A world as a case file.
pub(crate) fn case(world: &super::world::World) -> String {
    let mut value = serde_json::to_value(world).expect("plain data");
    prune_case(&mut value);
    serde_yaml::to_string(&value).expect("plain data")
}

fn prune_case(value: &mut Value) {
    let Value::Object(fields) = value else { return };
    for (key, field) in fields.iter_mut() {
        match (key.as_str(), field) {
            ("registry", _) => {}
            ("expect", Value::Array(flows)) => flows.iter_mut().for_each(|it| prune(it, 0)),
            (_, field) => prune(field, 0),
        }
    }
    fields.retain(|_, field| match field {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    });
}

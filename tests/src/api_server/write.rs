//! Writing: create, replace, patch, delete, and what an API server adds to it.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::{
    kinds::Kind,
    request::Target,
    status::Status,
    store::{Place, Store},
};

const DEFINITIONS: &str = "customresourcedefinitions";

/// Creates an object.
pub(super) fn create(
    store: &mut Store,
    target: &Target,
    kind: &Kind,
    mut object: Value,
) -> Result<Value, Status> {
    let name =
        match (object["metadata"]["name"].as_str(), object["metadata"]["generateName"].as_str()) {
            (Some(name), _) if !name.is_empty() => name.to_owned(),
            (_, Some(prefix)) => format!("{prefix}{:05x}", store.revision()),
            _ => return Err(Status::invalid("metadata.name: Required value: name is required")),
        };
    let place = place(target, kind, &name)?;
    if store.object(&place).is_some() {
        return Err(Status::exists(&format!("{} \"{name}\"", target.drawer.1)));
    }
    if kind.is_namespaced && store.object(&namespace(&place.namespace)).is_none() {
        return Err(Status::not_found(&format!("namespaces \"{}\"", place.namespace)));
    }
    let metadata = &mut object["metadata"];
    metadata["name"] = name.as_str().into();
    metadata["uid"] = uid(store.revision()).into();
    metadata["creationTimestamp"] = now().into();
    metadata["generation"] = 1.into();
    if kind.is_namespaced {
        metadata["namespace"] = place.namespace.as_str().into();
    }
    if target.drawer.1 == "namespaces" {
        metadata["labels"]["kubernetes.io/metadata.name"] = name.as_str().into();
    }
    if target.drawer.1 == DEFINITIONS {
        store.kinds.define(&object).ok_or_else(|| Status::invalid("spec: Required value"))?;
        object["status"] = json!({"conditions": [{"type": "Established", "status": "True"}]});
    }
    Ok(store.put(&place, Some(object)).unwrap_or_default())
}

/// Replaces an object, or its status alone.
pub(super) fn replace(
    store: &mut Store,
    target: &Target,
    kind: &Kind,
    object: &Value,
) -> Result<Value, Status> {
    let (place, before) = existing(store, target, kind)?;
    let version = &object["metadata"]["resourceVersion"];
    let is_stale = version.as_str().is_some_and(|it| !it.is_empty())
        && *version != before["metadata"]["resourceVersion"];
    if is_stale {
        return Err(Status::conflict(&place.name));
    }
    let mut after = before.clone();
    if target.is_status {
        after["status"] = object["status"].clone();
    } else {
        after = object.clone();
        keep_identity(&mut after, &before);
    }
    Ok(settle(store, &place, &before, after))
}

/// Merges a patch into an object (RFC 7386), or into its status alone.
pub(super) fn patch(
    store: &mut Store,
    target: &Target,
    kind: &Kind,
    patch: &Value,
) -> Result<Value, Status> {
    let (place, before) = existing(store, target, kind)?;
    let mut after = before.clone();
    if target.is_status {
        merge(&mut after["status"], &patch["status"]);
    } else {
        merge(&mut after, patch);
        keep_identity(&mut after, &before);
    }
    Ok(settle(store, &place, &before, after))
}

/// Deletes an object, and with a definition or a namespace what is in it.
pub(super) fn delete(store: &mut Store, target: &Target, kind: &Kind) -> Result<Value, Status> {
    let (place, object) = existing(store, target, kind)?;
    if target.drawer.1 == DEFINITIONS
        && let Some(drawer) = store.kinds.undefine(&object)
    {
        for place in store.places(&drawer) {
            store.put(&place, None);
        }
    }
    if target.drawer.1 == "namespaces" {
        for place in store.places_in(&place.name) {
            store.put(&place, None);
        }
    }
    Ok(store.put(&place, None).unwrap_or_default())
}

fn existing(store: &Store, target: &Target, kind: &Kind) -> Result<(Place, Value), Status> {
    let name = target.name.as_deref().unwrap_or_default();
    let place = place(target, kind, name)?;
    let object = store.object(&place).cloned();
    let object =
        object.ok_or_else(|| Status::not_found(&format!("{} \"{name}\"", target.drawer.1)))?;
    Ok((place, object))
}

/// Where an object of this target is.
pub(super) fn place(target: &Target, kind: &Kind, name: &str) -> Result<Place, Status> {
    let namespace = match (&target.namespace, kind.is_namespaced) {
        (Some(namespace), true) => namespace.clone(),
        (None, false) => String::new(),
        _ => return Err(Status::no_such_path()),
    };
    Ok(Place { drawer: target.drawer.clone(), namespace, name: name.to_owned() })
}

fn namespace(name: &str) -> Place {
    let drawer = (String::new(), "namespaces".to_owned());
    Place { drawer, namespace: String::new(), name: name.to_owned() }
}

/// What a write cannot change.
fn keep_identity(after: &mut Value, before: &Value) {
    for field in ["name", "namespace", "uid", "creationTimestamp", "generation"] {
        if let Some(value) = before["metadata"].get(field) {
            after["metadata"][field] = value.clone();
        }
    }
}

/// Writes what is different: a write that changes nothing makes no revision.
fn settle(store: &mut Store, place: &Place, before: &Value, mut after: Value) -> Value {
    after["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
    if after == *before {
        return after;
    }
    if after["spec"] != before["spec"] {
        let generation = before["metadata"]["generation"].as_u64().unwrap_or(1);
        after["metadata"]["generation"] = (generation + 1).into();
    }
    store.put(place, Some(after)).unwrap_or_default()
}

fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in fields {
        if value.is_null() {
            if let Some(object) = into.as_object_mut() {
                object.remove(key);
            }
        } else {
            merge(&mut into[key], value);
        }
    }
}

fn uid(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

/// In seconds, as API servers write it.
fn now() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let time =
        k8s_openapi::jiff::Timestamp::from_second(i64::try_from(since.as_secs()).unwrap_or(0));
    time.map(|it| it.to_string()).unwrap_or_default()
}

//! Lists, whole or in pages, now or as they were.

use serde_json::{Value, json};

use super::{
    kinds::Kind,
    request::{Query, Target},
    status::Status,
    store::{Place, Store},
};

/// Answers a list.
pub(super) fn list(
    store: &Store,
    target: &Target,
    kind: &Kind,
    query: &Query,
    is_metadata: bool,
) -> Result<Value, Status> {
    let selection = query.selection(kind)?;
    let limit = query.number("limit")?.filter(|limit| *limit > 0);
    let (revision, after) = begin(store, query)?;
    let gone = |_| {
        if after.is_some() {
            Status::continue_expired()
        } else {
            Status::expired(revision, store.revision())
        }
    };
    let all = store.at(&target.drawer, revision).map_err(gone)?;
    let mut fitting = all
        .into_iter()
        .filter(|(place, _)| target.namespace.as_ref().is_none_or(|it| *it == place.namespace))
        .filter(|(place, _)| {
            after.as_ref().is_none_or(|it| (&place.namespace, &place.name) > (&it.0, &it.1))
        })
        .filter(|(_, object)| selection.fits(object));
    let most = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let page: Vec<(Place, Value)> = fitting.by_ref().take(most).collect();
    let left = fitting.count();
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if let (Some((last, _)), true) = (page.last(), left > 0) {
        metadata["continue"] = format!("{revision}/{}/{}", last.namespace, last.name).into();
        if selection.is_everything() {
            metadata["remainingItemCount"] = left.into();
        }
    }
    let items: Vec<Value> = page
        .into_iter()
        .map(|(_, object)| shown(object, target, kind, is_metadata, true))
        .collect();
    let (version, list) = if is_metadata {
        ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadataList".to_owned())
    } else {
        (target.api_version(), format!("{}List", kind.name))
    };
    Ok(json!({"kind": list, "apiVersion": version, "metadata": metadata, "items": items}))
}

/// The revision that is listed, and what the pages before ended with.
fn begin(store: &Store, query: &Query) -> Result<(u64, Option<(String, String)>), Status> {
    let token = query.text("continue");
    if !token.is_empty() {
        let parts: Vec<&str> = token.splitn(3, '/').collect();
        let [revision, namespace, name] = parts.as_slice() else {
            return Err(Status::bad_request("continue key is not valid"));
        };
        let revision =
            revision.parse().map_err(|_| Status::bad_request("continue key is not valid"))?;
        return Ok((revision, Some(((*namespace).to_owned(), (*name).to_owned()))));
    }
    let asked = query.number("resourceVersion")?;
    match (query.text("resourceVersionMatch"), asked) {
        ("Exact", Some(revision)) => Ok((revision, None)),
        ("", _) | ("NotOlderThan", Some(_)) => Ok((store.revision(), None)),
        _ => Err(Status::invalid("resourceVersionMatch: Forbidden: it takes a resourceVersion")),
    }
}

/// An object as it is shown: items of lists of built-in kinds do not say what they are.
pub(super) fn shown(
    mut object: Value,
    target: &Target,
    kind: &Kind,
    is_metadata: bool,
    is_item: bool,
) -> Value {
    if is_metadata {
        return json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": object["metadata"],
        });
    }
    let is_custom = target.drawer.0.contains('.') && !target.drawer.0.ends_with(".k8s.io");
    if is_item && !is_custom {
        if let Some(fields) = object.as_object_mut() {
            fields.remove("apiVersion");
            fields.remove("kind");
        }
    } else {
        object["apiVersion"] = target.api_version().into();
        object["kind"] = kind.name.as_str().into();
    }
    object
}

//! What the hosts of an egress listener import: `namespace/host`.

use std::collections::BTreeMap;

use super::{Import, ImportNamespace};
use crate::registry::{
    findings::Findings,
    host::{HostPattern, is_dns_label},
    report::Code,
};

/// Reads a list into what it imports, and what it takes away from that (`~`).
pub(super) fn check(
    list: &[String],
    path: &str,
    own: &str,
    found: &mut Findings<'_>,
) -> (Vec<Import>, Vec<Import>) {
    let path = format!("{path}.hosts");
    if list.is_empty() {
        found.add(Code::SidecarHost, path.as_str(), "a listener needs at least one host");
    }
    let (mut imports, mut except) = (Vec::new(), Vec::new());
    // Where each item stands in the list.
    let (mut at_imports, mut at_except) = (Vec::new(), Vec::new());
    for (index, text) in list.iter().enumerate() {
        match import(text) {
            Ok((import, false)) => {
                imports.push(import);
                at_imports.push(index);
            }
            Ok((import, true)) => {
                except.push(import);
                at_except.push(index);
            }
            Err(why) => found.add(Code::SidecarHost, format!("{path}[{index}]"), why),
        }
    }
    for (items, places) in [(&imports, at_imports), (&except, at_except)] {
        for redundant in redundant(items, own) {
            let index = places[redundant];
            let message = format!("`{}` is in another item of the list already", list[index]);
            found.add(Code::SidecarDuplicate, format!("{path}[{index}]"), message);
        }
    }
    (imports, except)
}

/// Reads one item, and whether it takes away.
fn import(text: &str) -> Result<(Import, bool), String> {
    let Some((namespace, host)) = text.split_once('/') else {
        return Err(format!("`{text}` must be `namespace/host`"));
    };
    let (namespace, takes_away) = match namespace.strip_prefix('~') {
        // `~` alone takes away from all namespaces.
        Some("") => ("*", true),
        Some(namespace) => (namespace, true),
        None => (namespace, false),
    };
    let namespace = match namespace {
        "." => ImportNamespace::Own,
        "*" => ImportNamespace::All,
        name if is_dns_label(name) => ImportNamespace::Named(name.to_owned()),
        name => return Err(format!("`{name}` is neither `.`, `*`, `~` nor a namespace")),
    };
    if host == "*" {
        return Ok((Import { namespace, host: None }, takes_away));
    }
    match HostPattern::parse(host) {
        Ok(_) if !host.contains('.') => {
            Err(format!("`{host}` is a short name; write the whole one, or `*`"))
        }
        Ok(host) => Ok((Import { namespace, host: Some(host) }, takes_away)),
        Err(error) => Err(format!("`{host}`: {error}")),
    }
}

/// Items that add nothing, by index: they stand twice, or beside `namespace/*` or `*/*`.
fn redundant(items: &[Import], own: &str) -> Vec<usize> {
    let key = |import: &Import| match &import.namespace {
        ImportNamespace::Own => own.to_owned(),
        ImportNamespace::All => "*".to_owned(),
        ImportNamespace::Named(name) => name.clone(),
    };
    let mut first: BTreeMap<(String, Option<&HostPattern>), usize> = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        first.entry((key(item), item.host.as_ref())).or_insert(index);
    }
    let stands = |namespace: &str, but: usize| {
        first.get(&(namespace.to_owned(), None)).is_some_and(|at| *at != but)
    };
    let is_redundant = |(index, item): (usize, &Import)| {
        let namespace = key(item);
        let repeats = first.get(&(namespace.clone(), item.host.as_ref())) != Some(&index);
        let is_within = stands("*", index) || stands(&namespace, index);
        (repeats || is_within).then_some(index)
    };
    items.iter().enumerate().filter_map(is_redundant).collect()
}

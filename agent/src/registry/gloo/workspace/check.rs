//! The rules of `Workspace` and `WorkspaceSettings`.

use super::{
    Exchange, Glob, NamespaceSelector, ResourceSelector, Workspace, WorkspaceSelector,
    WorkspaceSettings, raw,
};
use crate::registry::{
    findings::{Checked, Findings, check_selector},
    header::Header,
    labels::Labels,
    meta::Meta,
    report::{Code, Report},
};

/// Kinds of resources that workspaces share; the first means all of them.
const KINDS: [&str; 11] = [
    "ALL",
    "EXTERNAL_SERVICE",
    "ROUTE_TABLE",
    "SERVICE",
    "VIRTUAL_DESTINATION",
    "API_DOC",
    "API_SCHEMA",
    "GRAPHQL_RESOLVER_MAP",
    "GRAPHQL_SCHEMA",
    "GRAPHQL_STITCHED_SCHEMA",
    "EXTERNAL_WORKLOAD",
];

pub(super) fn workspace(
    meta: &Meta,
    spec: &raw::Workspace,
    warnings: Vec<Report>,
) -> Checked<Workspace> {
    let mut found = Findings::new(&meta.object, warnings);
    let mut namespaces = Vec::new();
    let clusters = &spec.workload_clusters;
    // Once it is said of one, what is not said of the others is no.
    let cluster_default = clusters.iter().all(|it| it.config_enabled.is_none());
    for (index, cluster) in clusters.iter().enumerate() {
        let path = format!("spec.workloadClusters[{index}].namespaces");
        if cluster.namespaces.is_empty() {
            let message = "no namespaces are selected, so that the workspace is empty (write `name: '*'` for all)";
            found.add(Code::Workspace, path.as_str(), message);
        }
        let cluster_reads = cluster.config_enabled.unwrap_or(cluster_default);
        let default = cluster.namespaces.iter().all(|it| it.config_enabled.is_none());
        for (index, it) in cluster.namespaces.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if it.name.is_empty() && it.labels.is_empty() {
                let message = "this selects nothing: give a name (`*` for all) or labels";
                found.add(Code::Workspace, path.as_str(), message);
            }
            check_selector(&it.labels, &format!("{path}.labels"), &mut found);
            namespaces.push(NamespaceSelector {
                name: some(&it.name).map(Glob::new),
                labels: it.labels.clone(),
                reads_config: cluster_reads && it.config_enabled.unwrap_or(default),
            });
        }
    }
    found.finish(Workspace { header: Header::new(meta), namespaces })
}

pub(super) fn settings(
    meta: &Meta,
    spec: &raw::Settings,
    warnings: Vec<Report>,
) -> Checked<WorkspaceSettings> {
    let mut found = Findings::new(&meta.object, warnings);
    let exports = exchanges(&spec.export_to, "spec.exportTo", &mut found);
    let imports = exchanges(&spec.import_from, "spec.importFrom", &mut found);
    found.finish(WorkspaceSettings { header: Header::new(meta), exports, imports })
}

fn exchanges(list: &[raw::Exchange], path: &str, found: &mut Findings<'_>) -> Vec<Exchange> {
    let mut exchanges = Vec::new();
    for (index, exchange) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let workspaces = workspaces(&exchange.workspaces, &path, found);
        let resources = resources(&exchange.resources, &path, found);
        if !resources.is_empty() {
            exchanges.push(Exchange { workspaces, resources });
        }
    }
    exchanges
}

/// No list at all means every workspace.
fn workspaces(
    list: &[raw::WorkspaceSelector],
    path: &str,
    found: &mut Findings<'_>,
) -> Vec<WorkspaceSelector> {
    let mut workspaces = Vec::new();
    for (index, it) in list.iter().enumerate() {
        check_selector(&it.selector, &format!("{path}.workspaces[{index}].selector"), found);
        let name = some(&it.name).map(Glob::new);
        workspaces.push(WorkspaceSelector { name, labels: it.selector.clone() });
    }
    if workspaces.is_empty() {
        workspaces.push(WorkspaceSelector { name: None, labels: Labels::new() });
    }
    workspaces
}

/// Those that can be external services. No list at all means every resource.
fn resources(
    list: &[raw::Resource],
    path: &str,
    found: &mut Findings<'_>,
) -> Vec<ResourceSelector> {
    if list.is_empty() {
        return vec![ResourceSelector::default()];
    }
    let mut resources = Vec::new();
    for (index, it) in list.iter().enumerate() {
        let path = format!("{path}.resources[{index}]");
        check_selector(&it.labels, &format!("{path}.labels"), found);
        let kind = it.kind.to_ascii_uppercase();
        if !kind.is_empty() && !KINDS.contains(&kind.as_str()) {
            let message = format!("`{}` is not one of {}", it.kind, KINDS.join(", "));
            found.add(Code::Workspace, format!("{path}.kind"), message);
        }
        // The kind that is left out is the first of its type, all of them.
        if matches!(kind.as_str(), "" | "ALL" | "EXTERNAL_SERVICE") {
            resources.push(ResourceSelector {
                name: some(&it.name),
                namespace: some(&it.namespace),
                labels: it.labels.clone(),
            });
        }
    }
    resources
}

/// An empty text says nothing.
fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

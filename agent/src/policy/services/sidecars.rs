//! Sidecar objects: which one is for a client, and what it imports.

use std::{collections::BTreeSet, sync::Arc};

use super::Services;
use crate::registry::{
    host::HostPattern,
    istio::sidecar::{Import, ImportNamespace, Listener, Sidecar},
    labels::{Labels, selects},
    report::{Code, Report},
};

impl Services {
    /// The Sidecar of a client: the oldest of its namespace that selects it, else the oldest of
    /// its namespace without a selector, else that of the root namespace.
    pub(in crate::policy) fn sidecar(
        &self,
        namespace: &str,
        labels: &Labels,
        reports: &mut BTreeSet<Report>,
    ) -> Option<&Arc<Sidecar>> {
        let of = |namespace: &str| self.sidecars.get(namespace).map_or(&[][..], Vec::as_slice);
        let own = of(namespace);
        let selecting = |it: &&Arc<Sidecar>| {
            it.selector.as_ref().is_some_and(|selector| selects(selector, labels))
        };
        let plain = |it: &&Arc<Sidecar>| it.selector.is_none();
        let root = of(&self.settings.root_namespace);
        oldest(own.iter().filter(selecting), reports)
            .or_else(|| oldest(own.iter().filter(plain), reports))
            .or_else(|| oldest(root.iter().filter(plain), reports))
    }
}

fn oldest<'a>(
    mut candidates: impl Iterator<Item = &'a Arc<Sidecar>>,
    reports: &mut BTreeSet<Report>,
) -> Option<&'a Arc<Sidecar>> {
    let first = candidates.next()?;
    for other in candidates {
        let message =
            format!("{} is for the same workloads and older: it counts", first.header.object);
        let code = Code::SidecarAmbiguous;
        reports.insert(Report::new(code, &other.header.object, "spec.workloadSelector", message));
    }
    Some(first)
}

/// Whether a client in `client` imports `port` of the service `host` in `namespace`.
pub(in crate::policy) fn imports(
    sidecar: &Sidecar,
    client: &str,
    namespace: &str,
    host: &HostPattern,
    port: u16,
) -> bool {
    if sidecar.egress.is_empty() {
        return true;
    }
    let mut listeners = sidecar.egress.iter().filter(|it| !it.is_local);
    // The listener of a port is the only one that can add anything on it.
    let own = listeners.clone().find(|it| it.port == Some(port));
    own.or_else(|| listeners.find(|it| it.port.is_none()))
        .is_some_and(|listener| covers(listener, client, namespace, |item| item.covers(host)))
}

/// Whether a client in `client` imports routes in `namespace` for any of `hosts`.
pub(in crate::policy) fn imports_routes(
    sidecar: &Sidecar,
    client: &str,
    namespace: &str,
    hosts: &[HostPattern],
) -> bool {
    let meets =
        |item: &HostPattern| hosts.iter().any(|host| item.covers(host) || host.covers(item));
    let mut listeners = sidecar.egress.iter().filter(|it| !it.is_local);
    sidecar.egress.is_empty() || listeners.any(|it| covers(it, client, namespace, meets))
}

fn covers(
    listener: &Listener,
    client: &str,
    namespace: &str,
    fits: impl Fn(&HostPattern) -> bool,
) -> bool {
    let item_fits = |item: &Import| {
        let in_namespace = match &item.namespace {
            ImportNamespace::Own => namespace == client,
            ImportNamespace::All => true,
            ImportNamespace::Named(name) => namespace == name,
        };
        in_namespace && item.host.as_ref().is_none_or(&fits)
    };
    listener.imports.iter().any(item_fits) && !listener.except.iter().any(item_fits)
}

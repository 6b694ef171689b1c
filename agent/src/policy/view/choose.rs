//! Which declarations of a host count for a client, and what they come to together.

use std::{collections::BTreeSet, sync::Arc};

use super::sight::Sight;
use crate::{
    policy::{
        services::{
            declaration::{Audience, Declaration, Port},
            sidecars,
        },
        target::Backend,
    },
    registry::{
        export_to::ExportTo,
        host::HostPattern,
        istio::service_entry::Resolution,
        report::{Code, Report},
    },
};

/// Declarations of one host, taken together.
pub(super) struct Chosen<'a> {
    pub(super) host: &'a HostPattern,
    /// The oldest, which says how the service is resolved.
    pub(super) first: &'a Arc<Declaration>,
    /// The ports that the client imports, each with who declared it.
    pub(super) ports: Vec<(&'a Port, &'a Arc<Declaration>)>,
    /// All whose addresses and endpoints count.
    pub(super) parts: Vec<&'a Arc<Declaration>>,
}

impl<'a> Sight<'a> {
    /// The service that `host` is for the client.
    pub(super) fn choose(
        &self,
        host: &'a HostPattern,
        reports: &mut BTreeSet<Report>,
    ) -> Option<Chosen<'a>> {
        let declared = self.services.declared(host).iter();
        let visible: Vec<&Arc<Declaration>> = declared.filter(|it| self.sees(it, host)).collect();
        let owner = self.owner(&visible)?;
        let is_at_home = |it: &&Arc<Declaration>| {
            it.home == owner.home
                && (it.namespace() == owner.namespace()
                    || it.home != crate::policy::services::declaration::Home::Namespace)
        };
        for hidden in visible.iter().filter(|it| !is_at_home(it)) {
            let message = format!(
                "for workloads in namespace {}, {host} belongs to {}; this object adds nothing there, on no port",
                self.client.namespace, owner.entry
            );
            reports.insert(Report::new(Code::Shadowed, &hidden.entry, "spec.hosts", message));
        }
        let mut parts = visible.into_iter().filter(|it| is_at_home(it)).collect::<Vec<_>>();
        if let Some(service) = parts.iter().find(|it| it.is_kubernetes()).copied() {
            for other in parts.iter().filter(|it| !it.is_kubernetes()) {
                let message = format!(
                    "{host} is the Kubernetes Service {}, which alone says how it is reached",
                    service.entry
                );
                reports.insert(Report::new(Code::Decorator, &other.entry, "spec.hosts", message));
            }
            parts = vec![service];
        }
        let mut parts = parts.into_iter();
        let mut chosen = Chosen::new(host, parts.next()?);
        for other in parts {
            chosen.unite(other, reports);
        }
        chosen.ports.retain(|(port, owner)| self.imports(owner, host, port.number));
        Some(chosen)
    }

    /// Whether the client sees a declaration of `host` and imports any port of it.
    fn sees(&self, declaration: &Declaration, host: &HostPattern) -> bool {
        let Self { services, client, .. } = self;
        let mut ports = declaration.ports.iter().map(|port| port.number);
        services.is_seen(declaration, client.namespace, client.is_ambient)
            && (ports.any(|port| self.imports(declaration, host, port))
                || (declaration.ports.is_empty() && self.imports(declaration, host, 0)))
    }

    fn imports(&self, declaration: &Declaration, host: &HostPattern, port: u16) -> bool {
        let namespace = self.client.namespace;
        self.sidecar.is_none_or(|sidecar| {
            sidecars::imports(sidecar, namespace, declaration.namespace(), host, port)
        })
    }

    /// Whose the host is: those exported to the client by name come first, then public ones, each
    /// by age. A later one of the client's own replaces what was found, and a later Kubernetes
    /// Service replaces an entry that is not the client's own.
    fn owner(&self, visible: &[&'a Arc<Declaration>]) -> Option<&'a Arc<Declaration>> {
        let is_public = |it: &&&Arc<Declaration>| {
            matches!(it.audience, Audience::Exported { to: ExportTo::All, .. })
        };
        let is_own = |it: &Declaration| self.services.is_own(it, self.client.namespace);
        let explicit = visible.iter().filter(|it| !is_public(it));
        let mut order = explicit.chain(visible.iter().filter(is_public));
        let first = *order.next()?;
        Some(order.fold(first, |found, later| {
            let takes_over = later.is_kubernetes() && !found.is_kubernetes() && !is_own(found);
            if is_own(later) || takes_over { later } else { found }
        }))
    }
}

impl<'a> Chosen<'a> {
    fn new(host: &'a HostPattern, first: &'a Arc<Declaration>) -> Self {
        let ports = first.ports.iter().map(|port| (port, first)).collect();
        Self { host, first, ports, parts: vec![first] }
    }

    /// Adds a younger declaration of the same home, or reports that it cannot be.
    fn unite(&mut self, other: &'a Arc<Declaration>, reports: &mut BTreeSet<Report>) {
        let first = self.first;
        let is_alike = first.resolution == other.resolution && first.likeness == other.likeness;
        if !has_equal_ports(first, other) && !is_alike {
            let message = format!(
                "{} is declared by the older {} with other ports; to be united, both need the same resolution, labels, workloadSelector and exportTo. This object adds nothing to that host",
                self.host, first.entry
            );
            reports.insert(Report::new(Code::NotMerged, &other.entry, "spec.hosts", message));
            return;
        }
        for port in &other.ports {
            match self.ports.iter().find(|(it, _)| it.number == port.number) {
                None => self.ports.push((port, other)),
                Some((older, owner)) if older.protocol != port.protocol => {
                    let message = format!(
                        "port {} of {} is declared by the older {} with another protocol, which counts",
                        port.number, self.host, owner.entry
                    );
                    let code = Code::ProtocolConflict;
                    reports.insert(Report::new(code, &other.entry, "spec.ports", message));
                }
                Some(_) => {}
            }
        }
        self.parts.push(other);
    }

    /// Whether flows go to the address that was dialled, and not to endpoints.
    pub(super) fn is_direct(&self) -> bool {
        match self.first.resolution {
            Resolution::None | Resolution::DynamicDns => true,
            Resolution::Static => false,
            Resolution::Dns | Resolution::DnsRoundRobin => {
                !self.parts.iter().any(|it| it.has_endpoints)
            }
        }
    }

    /// Whether ports that carry no name are matched by address alone.
    pub(super) fn has_addresses(&self) -> bool {
        self.parts.iter().any(|it| !it.addresses.is_empty())
    }

    /// The endpoints of a port: those of its owner, and of every part with the same ports.
    pub(super) fn backends(&self, port: &Port, owner: &Declaration) -> Vec<Backend> {
        let alike = self.alike(port, owner);
        let mut backends: Vec<Backend> = alike.flat_map(|it| it.backends.iter().copied()).collect();
        if self.first.resolution == Resolution::DnsRoundRobin {
            backends.truncate(1);
        }
        backends.sort_unstable();
        backends.dedup();
        backends
    }

    pub(super) fn has_unix(&self, port: &Port, owner: &Declaration) -> bool {
        self.alike(port, owner).any(|it| it.has_unix)
    }

    fn alike(&self, port: &Port, owner: &Declaration) -> impl Iterator<Item = &Port> {
        let parts = self.parts.iter().filter(|it| has_equal_ports(it, owner));
        parts.flat_map(|it| &it.ports).filter(|it| it.is_like(port))
    }
}

fn has_equal_ports(a: &Declaration, b: &Declaration) -> bool {
    a.ports.len() == b.ports.len() && a.ports.iter().zip(&b.ports).all(|(a, b)| a.is_like(b))
}

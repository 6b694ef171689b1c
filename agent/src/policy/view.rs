//! Views: what of the registry a workload may use, before patterns and
//! prefixes are closed over each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use exeat_common::reason::Reason;
use ipnet::IpNet;

use super::{answers::Answers, target::Target};
use crate::{
    config::{Config, Mode},
    registry::{
        Registry,
        endpoint::Endpoint,
        export_to::ExportTo,
        host::HostPattern,
        istio::service_entry::{Resolution, ServiceEntry},
        labels::Labels,
        port::{Class, ServicePort},
        report::{Code, ObjectRef, Report},
    },
};

/// Port and IP protocol number.
pub type PortKey = (u16, u8);

/// What the ports of one pattern or prefix rest on.
pub type Ports = BTreeMap<PortKey, Granted>;

/// What of the registry may be used.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct View {
    pub names: BTreeMap<HostPattern, Ports>,
    pub prefixes: BTreeMap<IpNet, Ports>,
    /// Ports that are open to every address (`match: istio-compat`). They rank below all else.
    pub anywhere: Ports,
    pub unmatched: Unmatched,
}

/// What happens to flows that nothing declares.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Unmatched {
    #[default]
    Deny,
    Allow,
    /// Allowed through a gateway (`egressProxy` of a Sidecar).
    To(Arc<Target>),
}

/// One port of one pattern or prefix.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Granted {
    /// What decided.
    pub entry: Arc<ObjectRef>,
    pub action: Action,
}

/// What happens to a flow that is declared.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// It goes where it was dialled.
    Allow,
    Deny(Denial),
    To(Arc<Target>),
}

/// Why a flow is denied although it is declared: the reason in the kernel and the code for people.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Denial {
    pub reason: Reason,
    pub code: Code,
}

/// Who a view is for.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    pub namespace: &'a str,
    pub labels: &'a Labels,
    /// A proxy of its own takes its TCP flows.
    pub has_sidecar: bool,
    /// Enrolled in an ambient mesh.
    pub is_ambient: bool,
}

/// Clients of one profile have one view.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Profile {
    namespace: String,
}

/// The registry by host, so that each view is one walk over it.
pub struct Services<'a> {
    /// Entries of each host, oldest first.
    hosts: BTreeMap<&'a HostPattern, Vec<&'a Arc<ServiceEntry>>>,
    /// Age of each entry: its place in the registry.
    ages: BTreeMap<&'a ObjectRef, usize>,
    unmatched: Unmatched,
}

impl<'a> Services<'a> {
    pub fn link(
        registry: &'a Registry,
        config: &Config,
        _answers: &'a Answers,
        _reports: &mut BTreeSet<Report>,
    ) -> Self {
        let mut hosts: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut ages = BTreeMap::new();
        for (age, entry) in registry.service_entries().iter().enumerate() {
            ages.insert(&*entry.header.object, age);
            for host in &entry.hosts {
                hosts.entry(host).or_default().push(entry);
            }
        }
        let unmatched = match config.mode {
            Mode::RegistryOnly => Unmatched::Deny,
            Mode::AllowAny => Unmatched::Allow,
        };
        Self { hosts, ages, unmatched }
    }

    /// What decides the view of `client`.
    pub fn profile(&self, client: &Client<'_>) -> Profile {
        Profile { namespace: client.namespace.to_owned() }
    }

    /// The view of `client`; reports are added to `reports`.
    pub fn view(&self, client: &Client<'_>, reports: &mut BTreeSet<Report>) -> View {
        let namespace = client.namespace;
        let mut view = View { unmatched: self.unmatched.clone(), ..View::default() };
        let mut by_address = Vec::new();
        for (host, entries) in &self.hosts {
            let Some(service) = choose(host, entries, namespace, reports) else {
                continue;
            };
            for (port, entry) in &service.ports {
                let key = (port.number, port.protocol.transport());
                let by_name = service.addresses.is_empty() || port.protocol.class() == Class::Http;
                if by_name {
                    let granted = Granted {
                        entry: Arc::clone(&entry.header.object),
                        action: service.action(port, false),
                    };
                    view.names.entry((*host).clone()).or_default().insert(key, granted);
                }
                let action = service.action(port, true);
                for (net, owner) in &service.addresses {
                    by_address.push((
                        self.ages[&*owner.header.object],
                        *net,
                        key,
                        Granted { entry: Arc::clone(&owner.header.object), action: action.clone() },
                    ));
                }
            }
        }
        // Oldest first; the sort is stable, so hosts of one age stay in order.
        by_address.sort_by_key(|(age, ..)| *age);
        for (_, net, key, granted) in by_address {
            add_address(&mut view, net, key, granted, reports);
        }
        view
    }
}

/// Entries of one host and namespace, taken together.
struct Service<'a> {
    host: &'a HostPattern,
    /// The oldest, which says how the service is resolved.
    first: &'a Arc<ServiceEntry>,
    ports: Vec<(&'a ServicePort, &'a Arc<ServiceEntry>)>,
    addresses: Vec<(IpNet, &'a Arc<ServiceEntry>)>,
    /// All whose endpoints are pooled.
    parts: Vec<&'a Arc<ServiceEntry>>,
}

/// Finds which namespace owns `host` for clients in `namespace`, and unites its entries.
fn choose<'a>(
    host: &'a HostPattern,
    entries: &[&'a Arc<ServiceEntry>],
    namespace: &str,
    reports: &mut BTreeSet<Report>,
) -> Option<Service<'a>> {
    let visible: Vec<_> = entries
        .iter()
        .filter(|entry| entry.export_to.as_ref().is_none_or(|it| it.includes(namespace)))
        .collect();
    let own = visible.iter().find(|entry| entry.header.object.namespace == namespace);
    let explicit =
        visible.iter().find(|entry| !entry.export_to.as_ref().is_none_or(ExportTo::is_public));
    let winner = own.or(explicit).or(visible.first())?;
    let owner = &winner.header.object.namespace;
    for hidden in visible.iter().filter(|it| it.header.object.namespace != *owner) {
        let message = format!(
            "for workloads in namespace {namespace}, {host} belongs to {}; this entry adds nothing there, on no port",
            winner.header.object
        );
        reports.insert(Report::new(Code::Shadowed, &hidden.header.object, "spec.hosts", message));
    }
    let mut parts = visible.iter().filter(|it| it.header.object.namespace == *owner);
    let first = **parts.next()?;
    let mut service = Service {
        host,
        first,
        ports: first.ports.iter().map(|port| (port, first)).collect(),
        addresses: first.addresses.iter().map(|net| (*net, first)).collect(),
        parts: vec![first],
    };
    for entry in parts {
        service.unite(entry, reports);
    }
    Some(service)
}

impl<'a> Service<'a> {
    /// Adds a younger entry of the same host and namespace, or reports that it cannot be.
    fn unite(&mut self, entry: &'a Arc<ServiceEntry>, reports: &mut BTreeSet<Report>) {
        let first = self.first;
        let is_alike = first.resolution == entry.resolution
            && first.header.labels == entry.header.labels
            && first.selector == entry.selector
            && first.export_to == entry.export_to;
        if first.ports != entry.ports && !is_alike {
            let message = format!(
                "{} is declared by the older {} with other ports; to be united, both need the same resolution, labels, workloadSelector and exportTo. This entry adds nothing to that host",
                self.host, first.header.object
            );
            reports.insert(Report::new(
                Code::NotMerged,
                &entry.header.object,
                "spec.hosts",
                message,
            ));
            return;
        }
        for port in &entry.ports {
            match self.ports.iter().find(|(it, _)| it.number == port.number) {
                None => self.ports.push((port, entry)),
                Some((older, owner)) if older.protocol != port.protocol => {
                    let message = format!(
                        "port {} of {} is declared by the older {} with another protocol, which counts",
                        port.number, self.host, owner.header.object
                    );
                    let report = Report::new(
                        Code::ProtocolConflict,
                        &entry.header.object,
                        "spec.ports",
                        message,
                    );
                    reports.insert(report);
                }
                Some(_) => {}
            }
        }
        for net in &entry.addresses {
            if !self.addresses.iter().any(|(it, _)| it == net) {
                self.addresses.push((*net, entry));
            }
        }
        self.parts.push(entry);
    }

    /// Why a flow to `port` is denied although it is declared. `by_address`: the declared address
    /// was dialled, not a learned one.
    fn action(&self, port: &ServicePort, by_address: bool) -> Action {
        let denial = self.denial(port, by_address);
        denial.map_or(Action::Allow, |(reason, code)| Action::Deny(Denial { reason, code }))
    }

    fn denial(&self, port: &ServicePort, by_address: bool) -> Option<(Reason, Code)> {
        let any = |test: fn(&ServiceEntry) -> bool| self.parts.iter().any(|entry| test(entry));
        let has_endpoints = any(|entry| !entry.endpoints.is_empty() || entry.selector.is_some());
        let is_virtual = by_address && self.first.resolution != Resolution::None;
        if any(|entry| entry.waypoint == Some(true)) {
            Some((Reason::Unsupported, Code::Waypoint))
        } else if any(|entry| entry.endpoints.iter().any(Endpoint::is_unix)) {
            Some((Reason::Unsupported, Code::Uds))
        } else if self.first.resolution == Resolution::Static && !has_endpoints {
            Some((Reason::NoUpstream, Code::NoUpstream))
        } else if !any_direct(&self.parts) || port.rewrites() || is_virtual {
            Some((Reason::Unsupported, Code::Redirect))
        } else {
            None
        }
    }
}

/// Whether no part sends flows elsewhere than where they were dialled.
fn any_direct(parts: &[&Arc<ServiceEntry>]) -> bool {
    parts.iter().all(|entry| entry.is_direct())
}

/// Adds one port of one address, unless an older entry has it.
fn add_address(
    view: &mut View,
    net: IpNet,
    key: PortKey,
    granted: Granted,
    reports: &mut BTreeSet<Report>,
) {
    let ports = view.prefixes.entry(net).or_default();
    match ports.get(&key) {
        None => {
            ports.insert(key, granted);
        }
        Some(older) if older.entry != granted.entry => {
            let message = format!("{net} port {} belongs to the older {}", key.0, older.entry);
            let report = Report::new(Code::VipConflict, &granted.entry, "spec.addresses", message);
            reports.insert(report);
        }
        // Another host of the same entry: what denies one of them denies the address.
        Some(_) if granted.action != Action::Allow => {
            ports.insert(key, granted);
        }
        Some(_) => {}
    }
}

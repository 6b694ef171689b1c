//! Gloo's external services to declarations, and the workspaces that share them.

use std::{
    collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
    hash::{Hash as _, Hasher as _},
    net::IpAddr,
    sync::Arc,
};

use super::{
    Linking,
    declaration::{Audience, Carrier, Declaration, Home, Likeness, Port},
};
use crate::{
    policy::{answers::Found, target::Backend},
    registry::{
        endpoint::EndpointAddress,
        export_to::ExportTo,
        gloo::{
            external_endpoint::ExternalEndpoint,
            external_service::{ExternalPort, ExternalService, TargetPort},
            workspace::{Exchange, Workspace},
        },
        header::Header,
        host::HostPattern,
        istio::{mesh::Cap, service_entry::Resolution},
        labels::selects,
        report::{Code, Report},
    },
};

/// Declares a service; several times if its hosts are found in different ways. None if an
/// endpoint that it selects lacks a port.
pub(super) fn declare(
    service: &ExternalService,
    linking: &Linking<'_>,
    reports: &mut BTreeSet<Report>,
) -> Vec<Declaration> {
    let home = linking.workspaces.of(service.header.namespace()).map(|it| &**it);
    let endpoints = endpoints(service, home, linking);
    let mut is_whole = true;
    for (index, port) in service.ports.iter().enumerate() {
        for endpoint in &endpoints {
            if endpoint_port(endpoint, port).is_none() {
                let message = format!(
                    "the endpoint {} has no port that fits port {} (name it there, or change targetPort)",
                    endpoint.header.object, port.port.number
                );
                let path = format!("spec.ports[{index}].targetPort");
                let object = &service.header.object;
                reports.insert(Report::new(Code::GlooTargetPort, object, path, message));
                is_whole = false;
            }
        }
    }
    if !is_whole {
        return Vec::new();
    }
    let found =
        endpoints.iter().map(|it| linking.addresses(&it.address, |ip| is_listed(&endpoints, ip)));
    let found = found.collect();
    let form = Form { service, home, endpoints, found, linking };
    let (wild, exact): (Vec<HostPattern>, Vec<HostPattern>) =
        service.hosts.iter().cloned().partition(HostPattern::is_wildcard);
    let mut declarations = Vec::new();
    if !exact.is_empty() {
        declarations.push(form.declare(exact, false));
    }
    if !wild.is_empty() {
        if form.endpoints.is_empty() {
            let message =
                "a wildcard without endpoints goes to whatever address a name below it resolves to";
            let object = &service.header.object;
            let code = Code::GlooWildcardNoEndpoint;
            reports.insert(Report::new(code, object, "spec.hosts", message));
        }
        declarations.push(form.declare(wild, true));
    }
    if !service.addresses.is_empty() {
        declarations.push(form.declare(Vec::new(), false));
    }
    declarations
}

/// One service while it is declared.
struct Form<'a> {
    service: &'a ExternalService,
    home: Option<&'a Workspace>,
    endpoints: Vec<&'a ExternalEndpoint>,
    /// Their addresses, in the same order.
    found: Vec<Found>,
    linking: &'a Linking<'a>,
}

impl Form<'_> {
    fn declare(&self, hosts: Vec<HostPattern>, is_wild: bool) -> Declaration {
        let header = &self.service.header;
        let by_name = !hosts.is_empty();
        let has_names =
            self.endpoints.iter().any(|it| matches!(it.address, EndpointAddress::Name(_)));
        let resolution = match (self.endpoints.is_empty(), has_names) {
            (true, _) if is_wild || !by_name => Resolution::None,
            (true, _) | (false, true) => Resolution::Dns,
            (false, false) => Resolution::Static,
        };
        let mut virtual_addresses = BTreeMap::new();
        self.linking.add_own_virtual_addresses(&hosts, &mut virtual_addresses);
        let hosts = if by_name { hosts } else { vec![stand_in(self.service)] };
        let ports = self.service.ports.iter().map(|port| self.port(port, is_wild));
        let guarded: BTreeSet<IpAddr> =
            self.found.iter().flat_map(|it| it.guarded.iter().copied()).collect();
        Declaration {
            entry: Arc::clone(&header.object),
            created: header.created,
            home: match self.home {
                Some(workspace) => Home::Workspace(workspace.header.name().to_owned()),
                None => Home::Mesh,
            },
            audience: self.linking.shared_with(header, self.home),
            carrier: self.linking.carrier(&hosts),
            hosts,
            by_name,
            addresses: self.service.addresses.clone(),
            virtual_addresses,
            ports: ports.collect(),
            resolution,
            has_endpoints: !self.endpoints.is_empty(),
            guarded: guarded.into_iter().collect(),
            likeness: Likeness::default(),
            service: None,
            alias_of: None,
        }
    }

    fn port(&self, port: &ExternalPort, is_wild: bool) -> Port {
        let mut backends = Vec::new();
        for (endpoint, found) in self.endpoints.iter().zip(&self.found) {
            let Some(number) = endpoint_port(endpoint, port) else {
                continue;
            };
            for address in &found.usable {
                backends.push(Backend { address: Some(*address), port: number, weight: 1 });
            }
        }
        Port {
            number: port.port.number,
            name: port.port.name.clone(),
            protocol: port.port.protocol,
            target: match port.target {
                Some(TargetPort::Number(number)) if !is_wild => Some(number),
                _ => None,
            },
            backends,
            has_unix: self
                .endpoints
                .iter()
                .any(|it| matches!(it.address, EndpointAddress::Unix(_))),
            instances: Vec::new(),
            originates_tls: port.originates_tls,
            is_routed_in_gloo: port.gateway.is_some(),
        }
    }
}

/// The endpoints in the same workspace that a service selects; an empty selector selects none.
fn endpoints<'a>(
    service: &ExternalService,
    home: Option<&Workspace>,
    linking: &Linking<'a>,
) -> Vec<&'a ExternalEndpoint> {
    let all = linking.registry.external_endpoints().iter();
    all.map(|endpoint| &**endpoint)
        .filter(|it| !service.selector.is_empty() && selects(&service.selector, &it.header.labels))
        .filter(|it| linking.namespaces.counts(it.header.namespace()))
        .filter(|it| linking.workspaces.reads_config(it.header.namespace()))
        .filter(|it| home.is_none_or(|home| linking.workspaces.is_in(home, it.header.namespace())))
        .collect()
}

/// Whether one of them is this very address.
fn is_listed(endpoints: &[&ExternalEndpoint], address: IpAddr) -> bool {
    endpoints.iter().any(|it| it.address == EndpointAddress::Ip(address))
}

/// Which port of `endpoint` is meant; none if it has no such port. An endpoint that lists no ports
/// takes any number.
fn endpoint_port(endpoint: &ExternalEndpoint, port: &ExternalPort) -> Option<u16> {
    match &port.target {
        Some(TargetPort::Name(name)) => {
            endpoint.ports.iter().find(|(it, _)| it == name).map(|(_, number)| *number)
        }
        target => {
            let number = match target {
                Some(TargetPort::Number(number)) => *number,
                _ => port.port.number,
            };
            let has_it = endpoint.ports.iter().any(|(_, it)| *it == number);
            (has_it || endpoint.ports.is_empty()).then_some(number)
        }
    }
}

/// A name nobody can ask for, for a service that has addresses only (RFC 2606 §2: `.invalid`).
fn stand_in(service: &ExternalService) -> HostPattern {
    let object = &service.header.object;
    let text = format!("{}.{}.invalid", object.name, object.namespace);
    HostPattern::parse(&text).unwrap_or_else(|_| {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let short = format!("a{:x}.invalid", hasher.finish());
        HostPattern::parse(&short).expect("invariant: hexadecimal digits make a label")
    })
}

impl<'a> Linking<'a> {
    /// Who sees an external service.
    fn shared_with(&self, service: &Header, home: Option<&Workspace>) -> Audience {
        let workspaces = self.workspaces.list();
        if workspaces.is_empty() {
            return Audience::Exported { to: ExportTo::All, cap: Cap::Public };
        }
        let Some(home) = home else {
            let namespace = service.namespace();
            tracing::debug!(namespace, "no workspace holds this namespace");
            return Audience::Workspaces(Vec::new());
        };
        let others = workspaces.iter().filter(|other| {
            let offered = self.exchanges(home, |it| it.0).any(|it| it.selects(other, service));
            let taken = self.exchanges(other, |it| it.1).any(|it| it.selects(home, service));
            other.header.object == home.header.object || (offered && taken)
        });
        Audience::Workspaces(others.map(|it| it.header.name().to_owned()).collect())
    }

    /// What the settings of `workspace` offer (0) or take (1).
    fn exchanges<'b>(
        &'b self,
        workspace: &'b Workspace,
        side: impl Fn(&(&'a [Exchange], &'a [Exchange])) -> &'a [Exchange] + 'b,
    ) -> impl Iterator<Item = &'a Exchange> + 'b {
        let settings = self.registry.workspace_settings().iter();
        settings
            .filter(|it| self.workspaces.is_in(workspace, it.header.namespace()))
            .flat_map(move |it| side(&(it.exports.as_slice(), it.imports.as_slice())))
    }

    /// Adds the virtual addresses that this agent's own responder gives.
    pub(super) fn add_own_virtual_addresses(
        &self,
        hosts: &[HostPattern],
        addresses: &mut BTreeMap<HostPattern, Vec<IpAddr>>,
    ) {
        if self.answers.virtual_addresses.is_empty() {
            return;
        }
        for host in hosts {
            for address in self.answers.virtual_addresses.get(host).into_iter().flatten() {
                let own = addresses.entry(host.clone()).or_default();
                if !own.contains(address) {
                    own.push(*address);
                }
            }
        }
    }

    fn carrier(&self, hosts: &[HostPattern]) -> Carrier {
        let is_routed = self.registry.route_tables().iter().any(|table| {
            let meets = |host: &HostPattern| {
                table.hosts.iter().any(|it| it.covers(host) || host.covers(it))
            };
            table.all_hosts || hosts.iter().any(meets)
        });
        if is_routed { Carrier::RouteTable } else { Carrier::Nobody }
    }
}

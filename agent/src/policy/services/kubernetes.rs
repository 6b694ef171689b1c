//! Kubernetes Services to declarations: cluster addresses, headless endpoints, aliases.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use exeat_common::limits::PREFIXES_ENTRIES;

use super::{
    Linking,
    declaration::{Audience, Declaration, Home, Likeness, Port},
};
use crate::{
    config::ExternalName,
    policy::answers::Found,
    registry::{
        cidr,
        endpoint::EndpointAddress,
        host::HostPattern,
        istio::{mesh::Cap, service_entry::Resolution},
        kubernetes::{
            endpoints::Endpoints,
            service::{Kind, Port as ServicePort, Service},
        },
        report::{Code, Report},
    },
};

/// The name of a Service in the cluster's DNS.
pub(super) fn host(name: &str, namespace: &str) -> Option<HostPattern> {
    HostPattern::parse(&format!("{name}.{namespace}.svc.cluster.local")).ok()
}

/// Declares a Service; none if its name is too long for DNS.
pub(super) fn declare(
    service: &Arc<Service>,
    linking: &Linking<'_>,
    reports: &mut BTreeSet<Report>,
) -> Option<Declaration> {
    let header = &service.header;
    let host = host(header.name(), header.namespace())?;
    let (addresses, alias_of) = match &service.kind {
        Kind::ClusterIp(addresses) => (addresses.as_slice(), None),
        Kind::Headless => (&[][..], None),
        Kind::ExternalName(target) => (&[][..], Some(target.clone())),
    };
    let is_declared = alias_of.is_none() || linking.config.external_name == ExternalName::Declare;
    let mut endpoints = linking.endpoints_of(header.namespace(), header.name());
    if service.kind == Kind::Headless && !may_be_held(service, &endpoints) {
        let message = format!(
            "its ports times its endpoints are more than the {PREFIXES_ENTRIES} addresses that there is room for; none of the endpoints is opened"
        );
        reports.insert(Report::new(Code::TooMany, &header.object, "spec.ports", message));
        endpoints.clear();
    }
    let ports = service.ports.iter().filter(|_| is_declared).map(|port| Port {
        number: port.number,
        name: port.name.clone(),
        protocol: port.protocol,
        target: None,
        backends: Vec::new(),
        has_unix: false,
        instances: instances(service, port, &endpoints),
        originates_tls: false,
        is_routed_in_gloo: false,
    });
    Some(Declaration {
        entry: Arc::clone(&header.object),
        created: header.created,
        home: Home::Namespace,
        audience: Audience::Exported {
            to: linking.exported(service.export_to.as_ref(), header.namespace()),
            cap: Cap::Public,
        },
        hosts: vec![host],
        by_name: alias_of.is_some(),
        addresses: addresses.iter().map(|ip| cidr::normalize((*ip).into())).collect(),
        virtual_addresses: BTreeMap::new(),
        ports: ports.collect(),
        resolution: Resolution::None,
        has_endpoints: false,
        guarded: Vec::new(),
        likeness: Likeness::default(),
        carrier: linking.namespaces.carrier(service.waypoint, header.namespace()),
        service: Some(Arc::clone(service)),
        alias_of,
    })
}

/// Whether the kernel has room for every port of every endpoint. If not, they are not even counted
/// out: the product of two long lists is longer than any file.
fn may_be_held(service: &Service, endpoints: &[&Endpoints]) -> bool {
    let addresses: usize =
        endpoints.iter().flat_map(|it| &it.subsets).map(|subset| subset.addresses.len()).sum();
    service.ports.len().saturating_mul(addresses) <= PREFIXES_ENTRIES
}

/// The endpoints of a headless Service, each with its own port, found by the name of the port.
fn instances(service: &Service, port: &ServicePort, endpoints: &[&Endpoints]) -> Vec<SocketAddr> {
    if service.kind != Kind::Headless {
        return Vec::new();
    }
    let mut found = BTreeSet::new();
    for subset in endpoints.iter().flat_map(|it| &it.subsets) {
        let transport = port.protocol.transport();
        let own = subset.ports.iter().find(|it| it.name == port.name && it.transport == transport);
        let Some(own) = own else {
            continue;
        };
        for (address, is_ready) in &subset.addresses {
            if *is_ready || service.publishes_not_ready {
                found.insert(SocketAddr::new(address.to_canonical(), own.number));
            }
        }
    }
    found.into_iter().collect()
}

/// Names of Services whose alias leads back to itself. They stand for nothing.
pub(super) fn loops<'a>(
    services: impl Iterator<Item = &'a Arc<Service>>,
    reports: &mut BTreeSet<Report>,
) -> BTreeSet<HostPattern> {
    let mut aliases = BTreeMap::new();
    for service in services {
        let header = &service.header;
        if let (Kind::ExternalName(target), Some(host)) =
            (&service.kind, host(header.name(), header.namespace()))
        {
            aliases.insert(host, (target.clone(), Arc::clone(service)));
        }
    }
    let mut looping = BTreeSet::new();
    // A name that was walked before leads where it led then.
    let mut walked: BTreeSet<&HostPattern> = BTreeSet::new();
    for start in aliases.keys() {
        let mut path = Vec::new();
        let mut next = Some(start);
        while let Some((name, (target, _))) = next.and_then(|name| aliases.get_key_value(name)) {
            if !walked.insert(name) {
                let begin = path.iter().position(|it| *it == name);
                looping.extend(begin.into_iter().flat_map(|at| &path[at..]).copied().cloned());
                break;
            }
            path.push(name);
            next = Some(target);
        }
    }
    for host in &looping {
        if let Some((target, service)) = aliases.get(host) {
            let message =
                format!("the alias {host} leads to {target} and back to itself: it is ignored");
            let object = &service.header.object;
            reports.insert(Report::new(
                Code::ExternalNameLoop,
                object,
                "spec.externalName",
                message,
            ));
        }
    }
    looping
}

impl Linking<'_> {
    /// Addresses of an endpoint: its own, or those its name was resolved to.
    pub(super) fn addresses(
        &self,
        endpoint: &EndpointAddress,
        is_declared: impl Fn(IpAddr) -> bool,
    ) -> Found {
        match endpoint {
            EndpointAddress::Ip(ip) => Found { usable: vec![*ip], guarded: Vec::new() },
            EndpointAddress::Name(name) => {
                self.answers.find(name, &self.config.cluster_cidrs, is_declared)
            }
            EndpointAddress::Unix(_) | EndpointAddress::Network(_) => Found::default(),
        }
    }
}

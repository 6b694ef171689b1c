//! What the objects of a registry mean together, whatever their kinds: declarations by host and by
//! address, and the routes, rules and scopes that change what a client may do with them.

pub mod declaration;
mod gateways;
mod gloo;
mod istio;
mod kubernetes;
mod namespaces;
pub(super) mod routes;
pub(super) mod rules;
pub(super) mod sidecars;
pub mod update;
mod workspaces;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ipnet::IpNet;

use super::answers::{Answers, Found};
use crate::{
    config::{Config, GatewayTransport, LabelsMayRelax, Matching, Mode},
    registry::{
        Registry,
        asm::egress_policy::EgressPolicy,
        cidr,
        export_to::ExportTo,
        host::HostPattern,
        istio::{
            destination_rule::DestinationRule, gateway::Gateway, mesh::Mesh, sidecar::Sidecar,
            virtual_service::VirtualService,
        },
        kubernetes::{endpoints::Endpoints, mode_label::mode, namespace::Namespace},
        report::{ObjectRef, Report},
    },
};
use declaration::{Audience, Declaration, Home};
use namespaces::Namespaces;
use workspaces::Workspaces;

/// Everything that is declared, indexed for views.
#[derive(Clone, Debug, Default)]
pub struct Services {
    /// By host, oldest first.
    hosts: BTreeMap<HostPattern, Vec<Arc<Declaration>>>,
    /// By declared or virtual address, oldest first.
    nets: BTreeMap<IpNet, Vec<Claim>>,
    /// Names that Services stand for.
    aliases: BTreeSet<HostPattern>,
    /// Routes by host; names that only routes and policies mention are in here too.
    pub(super) routes: BTreeMap<HostPattern, Vec<routes::Routes>>,
    /// Server names of TLS routes.
    pub(super) server_names: BTreeSet<HostPattern>,
    pub(super) rules: BTreeMap<Option<HostPattern>, Vec<Arc<Exported<DestinationRule>>>>,
    pub(super) policies: BTreeMap<HostPattern, Vec<Arc<EgressPolicy>>>,
    pub(super) gateways: Vec<Arc<Gateway>>,
    pub(super) sidecars: BTreeMap<String, Vec<Arc<Sidecar>>>,
    workspaces: Workspaces,
    pub(super) settings: Settings,
    pub(super) answers: Answers,
}

/// A declaration that claims an address for a host.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) declaration: Arc<Declaration>,
    pub(super) host: HostPattern,
    pub(super) is_virtual: bool,
    /// It is an endpoint that is dialled itself, not an address of the whole.
    pub(super) is_instance: bool,
}

/// An object, and who sees it.
#[derive(Clone, Debug)]
pub(super) struct Exported<T> {
    pub(super) object: Arc<T>,
    pub(super) to: ExportTo,
}

/// What of the configuration and the mesh settings views depend on.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) mode: Mode,
    pub(super) root_namespace: String,
    pub(super) caps_apply_to_all: bool,
    pub(super) sidecar_may_relax: bool,
    pub(super) labels_may_relax: LabelsMayRelax,
    /// Of namespaces whose labels ask for one.
    pub(super) namespace_modes: BTreeMap<String, Mode>,
    pub(super) gateway_transport: GatewayTransport,
    pub(super) matching: Matching,
    /// The client is our own gateway, which begins no TLS.
    pub(super) is_plain_gateway: bool,
    pub(super) cluster_cidrs: Vec<IpNet>,
}

/// What declarations are made from.
pub(super) struct Linking<'a> {
    registry: &'a Registry,
    config: &'a Config,
    answers: &'a Answers,
    mesh: &'a Mesh,
    namespaces: Namespaces<'a>,
    workspaces: Workspaces,
    /// Of Services, by namespace and name.
    endpoints: BTreeMap<(&'a str, &'a str), Vec<&'a Endpoints>>,
}

impl Services {
    /// Joins the objects of `registry`. What is wrong between them is added to `reports`.
    pub fn link(
        registry: &Registry,
        config: &Config,
        answers: &Answers,
        reports: &mut BTreeSet<Report>,
    ) -> Self {
        let standard = Mesh::default();
        let mesh = registry.meshes().first().map_or(&standard, |mesh| &**mesh);
        let linking = Linking::new(registry, config, answers, mesh);
        let mut services = Self {
            settings: settings(config, mesh, registry),
            answers: answers.clone(),
            workspaces: linking.workspaces.clone(),
            ..Self::default()
        };
        for declaration in linking.declarations(reports) {
            services.add(&Arc::new(declaration));
        }
        services.sort();
        services.add_policies(&linking);
        services.report_gateways(reports);
        services
    }

    fn add(&mut self, declaration: &Arc<Declaration>) {
        self.aliases.extend(declaration.alias_of.clone());
        for host in &declaration.hosts {
            self.hosts.entry(host.clone()).or_default().push(Arc::clone(declaration));
            let addresses = declaration.virtual_addresses.get(host).into_iter().flatten();
            let declared = declaration.addresses.iter().map(|net| (*net, (false, false)));
            let instances = declaration.ports.iter().flat_map(|port| &port.instances);
            let instances = instances.map(|it| (cidr::normalize(it.ip().into()), (false, true)));
            // Of an address that is several of these, the last counts.
            let own: BTreeMap<IpNet, (bool, bool)> = instances
                .chain(addresses.map(|ip| (cidr::normalize((*ip).into()), (true, false))))
                .chain(declared)
                .collect();
            for (net, (is_virtual, is_instance)) in own {
                self.nets.entry(net).or_default().push(Claim {
                    declaration: Arc::clone(declaration),
                    host: host.clone(),
                    is_virtual,
                    is_instance,
                });
            }
        }
    }

    fn sort(&mut self) {
        self.hosts.values_mut().for_each(|declared| sort_declared(declared));
        self.nets.values_mut().for_each(|claims| sort_claims(claims));
    }

    fn add_policies(&mut self, linking: &Linking<'_>) {
        let (registry, mesh) = (linking.registry, linking.mesh);
        let counts = |namespace: &str| linking.namespaces.counts(namespace);
        for object in registry.virtual_services() {
            let namespace = object.header.namespace();
            if counts(namespace) {
                let default = &mesh.virtual_service_export_to;
                let to = exported(object.export_to.as_ref(), default, namespace);
                self.add_routes(&Arc::new(Exported { object: Arc::clone(object), to }));
            }
        }
        for object in registry.destination_rules() {
            let namespace = object.header.namespace();
            if counts(namespace) {
                let default = &mesh.destination_rule_export_to;
                let to = exported(object.export_to.as_ref(), default, namespace);
                let rules = self.rules.entry(object.host.clone()).or_default();
                rules.push(Arc::new(Exported { object: Arc::clone(object), to }));
            }
        }
        for policy in registry.egress_policies() {
            let to = policy.rules.iter().flat_map(|rule| &rule.to);
            let hosts: BTreeSet<&HostPattern> = to.flat_map(|to| &to.hosts).collect();
            for host in hosts.into_iter().filter(|_| counts(policy.header.namespace())) {
                self.policies.entry(host.clone()).or_default().push(Arc::clone(policy));
            }
        }
        let gateways = registry.gateways().iter();
        self.gateways = gateways.filter(|it| counts(it.header.namespace())).cloned().collect();
        for sidecar in registry.sidecars() {
            let namespace = sidecar.header.namespace();
            if counts(namespace) {
                let sidecars = self.sidecars.entry(namespace.to_owned()).or_default();
                sidecars.push(Arc::clone(sidecar));
            }
        }
    }

    fn add_routes(&mut self, routes: &Arc<Exported<VirtualService>>) {
        for host in &routes.object.hosts {
            self.routes.entry(host.clone()).or_default().push(Arc::clone(routes));
        }
        let matches = routes.object.tls.iter().flat_map(|rule| &rule.matches);
        self.server_names.extend(matches.flat_map(|it| it.sni_hosts.iter().cloned()));
    }

    /// Declarations of exactly `host`, oldest first.
    pub(super) fn declared(&self, host: &HostPattern) -> &[Arc<Declaration>] {
        self.hosts.get(host).map_or(&[], Vec::as_slice)
    }

    /// Claims to exactly `net`, oldest first.
    pub(super) fn claims(&self, net: &IpNet) -> &[Claim] {
        self.nets.get(net).map_or(&[], Vec::as_slice)
    }

    /// The addresses that a host was resolved to, where flows for an entry with these `addresses` may
    /// be sent there.
    pub(super) fn resolved(&self, host: &HostPattern, addresses: &[IpNet]) -> Found {
        let is_declared = |ip| addresses.iter().any(|net| net.contains(&ip));
        self.answers.find(host, &self.settings.cluster_cidrs, is_declared)
    }

    /// Every host that is declared, and by whom first.
    pub fn hosts(&self) -> impl Iterator<Item = (&HostPattern, &Arc<ObjectRef>)> {
        self.hosts.keys().filter_map(|host| self.declarer(host).map(|by| (host, by)))
    }

    /// Who declares `host` first, by name.
    pub fn declarer(&self, host: &HostPattern) -> Option<&Arc<ObjectRef>> {
        self.declared(host).iter().find(|it| it.by_name).map(|first| &first.entry)
    }

    /// Every declaration, once for each of its hosts.
    pub(super) fn declarations(&self) -> impl Iterator<Item = (&HostPattern, &Arc<Declaration>)> {
        self.hosts.iter().flat_map(|(host, by)| by.iter().map(move |it| (host, it)))
    }

    /// Every name a view may speak of.
    pub(super) fn names(&self) -> BTreeSet<&HostPattern> {
        let declared = self.hosts.keys();
        declared
            .chain(self.routes.keys())
            .chain(&self.server_names)
            .chain(self.policies.keys())
            .collect()
    }

    /// The host itself as it is kept here, if anything declares it.
    pub(super) fn known_host(&self, host: &HostPattern) -> Option<&HostPattern> {
        self.hosts.get_key_value(host).map(|(host, _)| host)
    }

    /// The name itself as it is kept here, if a view may speak of it.
    pub(super) fn known_name(&self, name: &HostPattern) -> Option<&HostPattern> {
        self.known_host(name)
            .or_else(|| self.routes.get_key_value(name).map(|(name, _)| name))
            .or_else(|| self.server_names.get(name))
            .or_else(|| self.policies.get_key_value(name).map(|(name, _)| name))
    }

    /// Every prefix a view may speak of.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = &IpNet> {
        self.nets.keys()
    }

    /// Name of the Gloo workspace that holds `namespace`.
    pub(super) fn workspace_of(&self, namespace: &str) -> Option<&str> {
        self.workspaces.of(namespace).map(|it| it.header.name())
    }

    /// Whether a client in `namespace` sees `declaration`, before any Sidecar.
    pub(super) fn is_seen(
        &self,
        declaration: &Declaration,
        namespace: &str,
        is_ambient: bool,
    ) -> bool {
        use crate::registry::istio::mesh::Cap;
        match &declaration.audience {
            Audience::Workspaces(names) => {
                let own = self.workspace_of(namespace);
                own.is_some_and(|own| names.iter().any(|name| name == own))
            }
            Audience::Exported { to, cap } => {
                let is_capped = self.settings.caps_apply_to_all || is_ambient;
                let is_within = match cap {
                    _ if !is_capped => true,
                    Cap::Nobody => false,
                    Cap::OwnNamespace => declaration.namespace() == namespace,
                    Cap::Public => true,
                };
                is_within && to.includes(namespace)
            }
        }
    }

    /// Whether `declaration` is of the client's own namespace, workspace or mesh.
    pub(super) fn is_own(&self, declaration: &Declaration, namespace: &str) -> bool {
        match &declaration.home {
            Home::Namespace => declaration.namespace() == namespace,
            Home::Workspace(name) => self.workspace_of(namespace) == Some(name),
            Home::Mesh => true,
        }
    }
}

impl<'a> Linking<'a> {
    fn new(
        registry: &'a Registry,
        config: &'a Config,
        answers: &'a Answers,
        mesh: &'a Mesh,
    ) -> Self {
        let namespaces = Namespaces::new(registry, mesh);
        let workspaces = Workspaces::new(registry);
        let endpoints = endpoints(registry);
        Self { registry, config, answers, mesh, namespaces, workspaces, endpoints }
    }

    /// Declarations of all kinds, in no order.
    fn declarations(&self, reports: &mut BTreeSet<Report>) -> Vec<Declaration> {
        let registry = self.registry;
        let counts = |namespace: &str| self.namespaces.counts(namespace);
        let entries = registry.service_entries().iter();
        let mut all: Vec<Declaration> = entries
            .filter(|it| counts(it.header.namespace()))
            .map(|entry| istio::declare(entry, self))
            .collect();
        let services = registry.services().iter().filter(|it| counts(it.header.namespace()));
        let loops = kubernetes::loops(services.clone(), reports);
        let services = services.filter_map(|service| kubernetes::declare(service, self, reports));
        all.extend(services.filter(|it| it.hosts.iter().all(|host| !loops.contains(host))));
        let external = registry.external_services().iter();
        let external = external.filter(|it| counts(it.header.namespace()));
        let is_read = |namespace: &str| self.workspaces.reads_config(namespace);
        for service in external.filter(|it| is_read(it.header.namespace())) {
            all.extend(gloo::declare(service, self, reports));
        }
        all
    }

    /// Who sees a declared service in `namespace`.
    fn exported(&self, own: Option<&ExportTo>, namespace: &str) -> ExportTo {
        exported(own, &self.mesh.service_export_to, namespace)
    }

    fn endpoints_of(&self, namespace: &str, service: &str) -> Vec<&'a Endpoints> {
        self.endpoints.get(&(namespace, service)).cloned().unwrap_or_default()
    }
}

fn sort_declared(declared: &mut [Arc<Declaration>]) {
    declared.sort_by(|a, b| a.by_age(b));
}

/// An address that was declared counts before one that was handed out.
fn sort_claims(claims: &mut [Claim]) {
    claims.sort_by(|a, b| {
        (a.is_virtual.cmp(&b.is_virtual))
            .then_with(|| by_age_of_host((&a.host, &a.declaration), (&b.host, &b.declaration)))
    });
}

/// Declared hosts in order: the oldest first, of one second by the name of the host.
pub(super) fn by_age_of_host(
    a: (&HostPattern, &Declaration),
    b: (&HostPattern, &Declaration),
) -> Ordering {
    (a.1.created.cmp(&b.1.created))
        .then_with(
            || if a.0 == b.0 { Ordering::Equal } else { a.0.to_string().cmp(&b.0.to_string()) },
        )
        .then_with(|| a.1.by_age(b.1))
}

/// What an object says, else what the mesh says, else everybody.
fn exported(own: Option<&ExportTo>, default: &[String], namespace: &str) -> ExportTo {
    own.cloned().unwrap_or_else(|| match ExportTo::parse(default, namespace) {
        Ok(to) => to.unwrap_or(ExportTo::All),
        // In this namespace the mesh's list contradicts itself: nobody is the safe reading.
        Err(_) => ExportTo::Nobody,
    })
}

fn endpoints(registry: &Registry) -> BTreeMap<(&str, &str), Vec<&Endpoints>> {
    let mut by_service: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for endpoints in registry.endpoints() {
        let key = (endpoints.header.namespace(), endpoints.service.as_str());
        by_service.entry(key).or_default().push(&**endpoints);
    }
    by_service
}

/// The mesh may tighten the mode of the configuration, never relax it.
fn settings(config: &Config, mesh: &Mesh, registry: &Registry) -> Settings {
    let namespaces = registry.namespaces().iter();
    let labelled =
        |it: &Arc<Namespace>| Some((it.header.name().to_owned(), mode(&it.header.labels)?));
    Settings {
        labels_may_relax: config.labels_may_relax,
        namespace_modes: namespaces.filter_map(labelled).collect(),
        mode: match (config.mode, mesh.mode) {
            (Mode::AllowAny, None | Some(Mode::AllowAny)) => Mode::AllowAny,
            _ => Mode::RegistryOnly,
        },
        root_namespace: mesh.root_namespace.clone(),
        caps_apply_to_all: mesh.visibility.as_ref().is_some_and(|it| it.applies_to_sidecars),
        sidecar_may_relax: config.sidecar_may_relax,
        gateway_transport: config.gateway_transport,
        matching: config.matching,
        is_plain_gateway: config.is_plain_gateway,
        cluster_cidrs: config.cluster_cidrs.clone(),
    }
}

/// The Service of an ASM egress gateway.
pub(super) fn egress_gateway(name: &str) -> Option<HostPattern> {
    kubernetes::host(&format!("istio-{name}"), "istio-system")
}

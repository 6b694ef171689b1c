//! What an object declares, one service a host: ServiceEntries, Gloo's services, Kubernetes
//! Services. Ports carry the endpoints behind them, ready to be used.

use super::{
    super::{
        manifest::{self, Body, Object},
        world::{Labels, World},
    },
    names::{is_wildcard, number, plain, selects},
};

/// Who declared it, in the order in which the elder wins: time, host, namespace, name.
pub(crate) type Age = (String, String, String, String);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    Entry,
    Gloo,
    Kubernetes,
}

/// How bytes on a port are told apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Class {
    Http,
    Tls,
    Tcp,
    /// The protocol is not given.
    Sniffed,
    Udp,
}

#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    pub(crate) name: String,
    pub(crate) protocol: String,
    pub(crate) class: Class,
    pub(crate) target: Option<u16>,
    /// Endpoints with the port that each is called on: addresses, names, unix sockets.
    pub(crate) upstreams: Vec<(String, u16)>,
    /// Gloo's `clientsideTls` asks a proxy for TLS.
    pub(crate) originates_tls: bool,
}

#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are answers to separate questions")]
pub(crate) struct Service {
    pub(crate) source: Source,
    pub(crate) host: String,
    /// In the place of the namespace where entries are united: Gloo has one for the mesh.
    pub(crate) scope: String,
    pub(crate) namespace: String,
    pub(crate) age: Age,
    pub(crate) labels: Labels,
    pub(crate) selector: Option<Labels>,
    pub(crate) export_to: Vec<String>,
    pub(crate) has_default_export: bool,
    pub(crate) resolution: String,
    pub(crate) ports: Vec<Port>,
    pub(crate) addresses: Vec<(String, Age)>,
    pub(crate) auto_addresses: Vec<(String, Age)>,
    /// There is a list of endpoints, or a selector, even if nothing came of it.
    pub(crate) has_endpoints: bool,
    pub(crate) has_waypoint: bool,
    /// United from several namespaces.
    pub(crate) is_of_many: bool,
    /// Of a Kubernetes Service: address, port, protocol UDP, number of the Service port.
    pub(crate) fixed: Vec<(String, u16, bool, u16)>,
    pub(crate) is_external_name: bool,
    pub(crate) is_headless: bool,
    /// Something the text of the rules does not settle.
    pub(crate) vague: Option<&'static str>,
}

pub(crate) fn class(protocol: &str) -> Class {
    match protocol.to_uppercase().as_str() {
        "HTTP" | "HTTP2" | "GRPC" | "GRPC-WEB" => Class::Http,
        "HTTPS" | "TLS" => Class::Tls,
        "UDP" => Class::Udp,
        "" => Class::Sniffed,
        _ => Class::Tcp,
    }
}

/// All services of a world, in no order.
pub(crate) fn services(world: &World) -> Vec<Service> {
    let mut all = Vec::new();
    for object in world.objects() {
        match &object.body {
            Body::ServiceEntry(entry) => all.extend(of_entry(world, object, entry)),
            Body::ExternalService(service) => all.extend(of_gloo(world, object, service)),
            Body::Service(service) => all.push(of_kubernetes(world, object, service)),
            Body::WorkloadEntry(_)
            | Body::VirtualService(_)
            | Body::Gateway(_)
            | Body::DestinationRule(_)
            | Body::Sidecar(_)
            | Body::ExternalEndpoint(_)
            | Body::Endpoints(_)
            | Body::EndpointSlice(_)
            | Body::Pod(_)
            | Body::Namespace(_)
            | Body::EgressPolicy(_) => {}
        }
    }
    all
}

fn blank(source: Source, object: &Object, host: &str) -> Service {
    let namespace = object.meta.namespace.clone();
    let created = object.meta.creation_timestamp.clone().unwrap_or_default();
    Service {
        source,
        host: host.to_owned(),
        scope: namespace.clone(),
        age: (created, host.to_owned(), namespace.clone(), object.meta.name.clone()),
        namespace,
        labels: object.meta.labels.clone(),
        selector: None,
        export_to: vec!["*".to_owned()],
        has_default_export: true,
        resolution: "NONE".to_owned(),
        ports: Vec::new(),
        addresses: Vec::new(),
        auto_addresses: Vec::new(),
        has_endpoints: false,
        has_waypoint: false,
        is_of_many: false,
        fixed: Vec::new(),
        is_external_name: false,
        is_headless: false,
        vague: None,
    }
}

fn of_entry(world: &World, object: &Object, entry: &manifest::ServiceEntry) -> Vec<Service> {
    let spec = &entry.spec;
    let resolution = spec.resolution.clone().unwrap_or_else(|| "NONE".to_owned());
    let members = members(world, object, spec, &resolution);
    let ports: Vec<Port> = spec
        .ports
        .iter()
        .map(|port| Port {
            number: port.number,
            name: port.name.clone(),
            protocol: port.protocol.to_uppercase(),
            class: class(&port.protocol),
            target: port.target_port,
            upstreams: members
                .iter()
                .map(|member| {
                    let own = member.ports.get(&port.name).copied();
                    let target = own.or(port.target_port).unwrap_or(port.number);
                    (member.address.clone(), target)
                })
                .collect(),
            originates_tls: false,
        })
        .collect();
    let default_export = world.mesh.as_ref().map(|it| it.default_service_export_to.clone());
    let mut services = Vec::new();
    for host in &spec.hosts {
        let host = plain(host);
        if is_partial(&host) {
            continue;
        }
        let mut service = blank(Source::Entry, object, &host);
        service.has_default_export = spec.export_to.is_empty();
        if !spec.export_to.is_empty() {
            service.export_to.clone_from(&spec.export_to);
        } else if let Some(default) = default_export.as_ref().filter(|it| !it.is_empty()) {
            service.export_to.clone_from(default);
        }
        service.selector = spec.workload_selector.as_ref().map(|it| it.labels.clone());
        service.resolution.clone_from(&resolution);
        service.ports.clone_from(&ports);
        service.addresses =
            spec.addresses.iter().map(|it| (it.clone(), service.age.clone())).collect();
        service.auto_addresses = auto_addresses(object, entry, &host, &resolution)
            .into_iter()
            .map(|it| (it, service.age.clone()))
            .collect();
        service.has_endpoints = !spec.endpoints.is_empty() || spec.workload_selector.is_some();
        service.has_waypoint = has_waypoint(world, object);
        services.push(service);
    }
    services
}

/// `*-a.example.com` or `*example.com`: refused, and the other hosts of the entry work.
fn is_partial(host: &str) -> bool {
    is_wildcard(host) && !host.starts_with("*.")
}

/// The addresses that Istio allocated for a host, if the entry qualifies for them.
fn auto_addresses(
    object: &Object,
    entry: &manifest::ServiceEntry,
    host: &str,
    resolution: &str,
) -> Vec<String> {
    let switch = object.meta.labels.get("networking.istio.io/enable-autoallocate-ip");
    let is_off = switch.is_some_and(|it| it == "false");
    let is_unfit = is_wildcard(host) && resolution != "DYNAMIC_DNS";
    if resolution == "NONE" || !entry.spec.addresses.is_empty() || is_off || is_unfit {
        return Vec::new();
    }
    let of_host = entry.status.addresses.iter().filter(|it| plain(&it.host) == host);
    of_host.map(|it| it.value.clone()).collect()
}

fn has_waypoint(world: &World, object: &Object) -> bool {
    let own = object.meta.labels.get("istio.io/use-waypoint");
    let namespaces = world.namespace_labels(&object.meta.namespace);
    let label = own.or_else(|| namespaces.get("istio.io/use-waypoint"));
    label.is_some_and(|it| it != "none")
}

/// The endpoints of an entry: those listed, or those selected.
fn members(
    world: &World,
    entry: &Object,
    spec: &manifest::ServiceEntrySpec,
    resolution: &str,
) -> Vec<manifest::Endpoint> {
    let Some(selector) = &spec.workload_selector else {
        return spec.endpoints.clone();
    };
    let mut members = Vec::new();
    for object in world.objects() {
        if object.meta.namespace != entry.meta.namespace {
            continue;
        }
        if let Body::WorkloadEntry(workload) = &object.body {
            let mut labels = object.meta.labels.clone();
            labels.extend(workload.spec.labels.clone());
            let is_ip = number(&workload.spec.address).is_some();
            if selects(&selector.labels, &labels) && (is_ip || resolution.starts_with("DNS")) {
                members.push(workload.spec.clone());
            }
        }
        if let Body::Pod(pod) = &object.body
            && selects(&selector.labels, &object.meta.labels)
        {
            members.extend(of_pod(pod));
        }
    }
    members
}

/// A pod as an endpoint, if it is ready.
fn of_pod(pod: &manifest::Pod) -> Option<manifest::Endpoint> {
    let is_ready = pod.status.conditions.iter().any(|it| it.kind == "Ready" && it.status == "True");
    let address = pod.status.pod_ip.clone().filter(|_| is_ready)?;
    let mut endpoint = manifest::Endpoint { address, ..manifest::Endpoint::default() };
    for port in pod.spec.containers.iter().flat_map(|it| &it.ports) {
        if port.protocol.as_deref().unwrap_or("TCP") == "TCP" && !port.name.is_empty() {
            endpoint.ports.entry(port.name.clone()).or_insert(port.container_port);
        }
    }
    Some(endpoint)
}

fn of_gloo(world: &World, object: &Object, service: &manifest::ExternalService) -> Vec<Service> {
    let spec = &service.spec;
    let mut endpoints = Vec::new();
    for other in world.objects() {
        if let Body::ExternalEndpoint(endpoint) = &other.body
            && !spec.selector.is_empty()
            && selects(&spec.selector, &other.meta.labels)
        {
            endpoints.push(&endpoint.spec);
        }
    }
    let is_static = endpoints.iter().all(|it| number(&it.address).is_some());
    let synthetic = format!("{}.{}.external", object.meta.name, object.meta.namespace);
    let hosts = if spec.hosts.is_empty() { vec![synthetic] } else { spec.hosts.clone() };
    let mut services = Vec::new();
    for host in &hosts {
        let host = plain(host);
        let mut made = blank(Source::Gloo, object, &host);
        "the mesh".clone_into(&mut made.scope);
        made.resolution = if !endpoints.is_empty() {
            if is_static { "STATIC" } else { "DNS" }
        } else if is_wildcard(&host) || !spec.addresses.is_empty() {
            "NONE"
        } else {
            "DNS"
        }
        .to_owned();
        made.has_endpoints = !endpoints.is_empty();
        made.addresses = spec.addresses.iter().map(|it| (it.clone(), made.age.clone())).collect();
        for port in &spec.ports {
            let made_port = gloo_port(port, &endpoints, is_wildcard(&host));
            made.ports.push(made_port);
        }
        services.push(made);
    }
    services
}

fn gloo_port(
    port: &manifest::ExternalPort,
    endpoints: &[&manifest::ExternalEndpointSpec],
    is_wildcard: bool,
) -> Port {
    let target = port.target_port.clone().unwrap_or_default();
    let wanted = target.number.unwrap_or(port.number);
    let find = |it: &manifest::NamedPort| match &target.name {
        Some(name) => it.name == *name,
        None => it.number == wanted,
    };
    let upstreams = endpoints
        .iter()
        .filter_map(|endpoint| {
            let found = endpoint.ports.iter().find(|it| find(it))?;
            Some((endpoint.address.clone(), found.number))
        })
        .collect();
    let mode = port.clientside_tls.as_ref().map_or("DISABLE", |tls| tls.mode.as_str());
    Port {
        number: port.number,
        name: port.name.clone(),
        protocol: port.protocol.to_uppercase(),
        class: class(&port.protocol),
        target: target.number.filter(|_| !is_wildcard),
        upstreams,
        originates_tls: mode != "DISABLE",
    }
}

/// The name of a Kubernetes Service in DNS.
pub(crate) fn kubernetes_host(name: &str, namespace: &str) -> String {
    format!("{name}.{namespace}.svc.cluster.local")
}

fn of_kubernetes(world: &World, object: &Object, service: &manifest::Service) -> Service {
    let spec = &service.spec;
    let host = kubernetes_host(&object.meta.name, &object.meta.namespace);
    let mut made = blank(Source::Kubernetes, object, &host);
    if let Some(list) = object.meta.annotations.get("networking.istio.io/exportTo") {
        made.export_to = list.split(',').map(|it| it.trim().to_owned()).collect();
        made.has_default_export = false;
    } else if let Some(mesh) = &world.mesh
        && !mesh.default_service_export_to.is_empty()
    {
        made.export_to.clone_from(&mesh.default_service_export_to);
    }
    for port in &spec.ports {
        made.ports.push(kubernetes_port(port));
    }
    if spec.kind.as_deref() == Some("ExternalName") {
        if world.agent.external_name.as_deref() == Some("alias") {
            // Nothing of its own.
            made.ports.clear();
        }
        made.is_external_name = true;
        "DNS".clone_into(&mut made.resolution);
        return made;
    }
    match spec.cluster_ip.as_deref() {
        Some("None") => {
            made.is_headless = true;
            made.fixed = headless(world, object, &spec.ports);
        }
        Some(ip) => {
            let others = spec.cluster_ips.iter().map(String::as_str).filter(|it| *it != ip);
            for ip in std::iter::once(ip).chain(others) {
                for port in &spec.ports {
                    let is_udp = port.protocol.as_deref() == Some("UDP");
                    made.fixed.push((ip.to_owned(), port.port, is_udp, port.port));
                }
            }
        }
        None => made.vague = Some("a Service without an address"),
    }
    made
}

fn kubernetes_port(port: &manifest::ServicePort) -> Port {
    let prefix = port.name.split('-').next().unwrap_or_default();
    let protocol = match (port.protocol.as_deref(), class(prefix)) {
        (Some("UDP"), _) => "UDP".to_owned(),
        (_, Class::Http | Class::Tls) => prefix.to_uppercase(),
        (_, Class::Tcp) if prefix == "tcp" => "TCP".to_owned(),
        _ => String::new(),
    };
    Port {
        number: port.port,
        name: port.name.clone(),
        class: class(&protocol),
        protocol,
        target: None,
        upstreams: Vec::new(),
        originates_tls: false,
    }
}

/// The ready endpoints of a headless Service; their ports are found by name.
fn headless(
    world: &World,
    service: &Object,
    ports: &[manifest::ServicePort],
) -> Vec<(String, u16, bool, u16)> {
    let mut found = Vec::new();
    let mut add = |ips: Vec<&String>, theirs: &[manifest::ServicePort]| {
        for port in ports {
            for other in theirs.iter().filter(|it| it.name == port.name) {
                let is_udp = port.protocol.as_deref() == Some("UDP");
                for ip in &ips {
                    found.push(((*ip).clone(), other.port, is_udp, port.port));
                }
            }
        }
    };
    for object in world.objects() {
        if object.meta.namespace != service.meta.namespace {
            continue;
        }
        match &object.body {
            Body::Endpoints(endpoints) if object.meta.name == service.meta.name => {
                for subset in &endpoints.subsets {
                    add(subset.addresses.iter().map(|it| &it.ip).collect(), &subset.ports);
                }
            }
            Body::EndpointSlice(slice)
                if object.meta.labels.get("kubernetes.io/service-name")
                    == Some(&service.meta.name) =>
            {
                for endpoint in &slice.endpoints {
                    if endpoint.conditions.ready != Some(false) {
                        add(endpoint.addresses.iter().collect(), &slice.ports);
                    }
                }
            }
            _ => {}
        }
    }
    found
}

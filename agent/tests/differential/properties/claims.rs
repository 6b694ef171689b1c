//! What objects declare, read off their manifests: names and addresses, each with its ports.
//! Knows nothing of who sees it, of what hides it, and of where flows go.

use exeat_agent::registry::{cidr, host::HostPattern};
use ipnet::IpNet;

use super::super::{
    manifest::{Body, Object, ServicePort},
    world::{Client, Destination, Flow, World},
};

/// A port number, and whether it is of UDP.
pub(super) type PortKey = (u16, bool);

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Place {
    Host(HostPattern),
    Net(IpNet),
}

/// A place that an object speaks for.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) place: Place,
    pub(super) ports: Vec<PortKey>,
}

impl Place {
    /// Whether both may hold the same name or address.
    pub(super) fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Host(a), Self::Host(b)) => a == b || a.covers(b) || b.covers(a),
            (Self::Net(a), Self::Net(b)) => a.contains(b) || b.contains(a),
            (Self::Host(_), Self::Net(_)) | (Self::Net(_), Self::Host(_)) => false,
        }
    }

    pub(super) fn holds_name(&self, name: &HostPattern) -> bool {
        matches!(self, Self::Host(host) if host == name || host.covers(name))
    }
}

pub(super) fn host(text: &str) -> HostPattern {
    HostPattern::parse(text).expect("a host")
}

/// The name of a Service in the cluster.
pub(super) fn service_name(object: &Object) -> HostPattern {
    host(&format!("{}.{}.svc.cluster.local", object.meta.name, object.meta.namespace))
}

/// Whether a random world has it broken, so that it is refused.
pub(super) fn is_refused(object: &Object) -> bool {
    object.meta.name.starts_with("broken")
}

/// What one object declares by itself; nothing if it is refused. Routes and policies declare nothing, but see
/// [`spoken_of`].
pub(super) fn claims(object: &Object) -> Vec<Claim> {
    if is_refused(object) {
        return Vec::new();
    }
    let of = |places: Vec<Place>, ports: &[PortKey]| -> Vec<Claim> {
        places.into_iter().map(|place| Claim { place, ports: ports.to_vec() }).collect()
    };
    match &object.body {
        Body::ServiceEntry(entry) => {
            let spec = &entry.spec;
            let ports = spec.ports.iter();
            let ports: Vec<PortKey> =
                ports.map(|it| (it.number, it.protocol.eq_ignore_ascii_case("udp"))).collect();
            let handed_out = entry.status.addresses.iter().map(|it| &it.value);
            of(places(&spec.hosts, spec.addresses.iter().chain(handed_out)), &ports)
        }
        Body::ExternalService(service) => {
            let ports: Vec<PortKey> =
                service.spec.ports.iter().map(|it| (it.number, false)).collect();
            of(places(&service.spec.hosts, &service.spec.addresses), &ports)
        }
        Body::Service(service) => {
            let ips = service.spec.cluster_ip.iter().filter(|it| it.as_str() != "None");
            let mut places = places(&[], ips);
            places.push(Place::Host(service_name(object)));
            of(places, &ports(&service.spec.ports))
        }
        // Of headless Services, whose endpoints are dialled themselves.
        Body::Endpoints(endpoints) => endpoints
            .subsets
            .iter()
            .flat_map(|it| {
                let ips = it.addresses.iter().map(|it| &it.ip);
                of(places(&[], ips), &ports(&it.ports))
            })
            .collect(),
        Body::EndpointSlice(slice) => slice
            .endpoints
            .iter()
            .filter(|it| it.conditions.ready != Some(false))
            .flat_map(|it| of(places(&[], &it.addresses), &ports(&slice.ports)))
            .collect(),
        Body::WorkloadEntry(_)
        | Body::VirtualService(_)
        | Body::Gateway(_)
        | Body::DestinationRule(_)
        | Body::Sidecar(_)
        | Body::ExternalEndpoint(_)
        | Body::Pod(_)
        | Body::Namespace(_)
        | Body::EgressPolicy(_) => Vec::new(),
    }
}

/// What routes and policies say flows to a name may do although nothing declares it: HTTP to port
/// 80 along a `VirtualService`, and the ports of an ASM policy through its gateway.
pub(super) fn spoken_of(object: &Object) -> Vec<Claim> {
    match &object.body {
        _ if is_refused(object) => Vec::new(),
        Body::VirtualService(routes) if !routes.spec.http.is_empty() => {
            let places = places(&routes.spec.hosts, []);
            places.into_iter().map(|place| Claim { place, ports: vec![(80, false)] }).collect()
        }
        Body::EgressPolicy(policy) => {
            let to = policy.spec.egress_rules.iter().flat_map(|it| &it.to);
            to.flat_map(|to| {
                let is_udp = to.port.protocol.eq_ignore_ascii_case("udp");
                let ports = vec![(to.port.number, is_udp)];
                places(&to.hosts, [])
                    .into_iter()
                    .map(move |place| Claim { place, ports: ports.clone() })
            })
            .collect()
        }
        _ => Vec::new(),
    }
}

/// The name that an `ExternalName` Service is, and the one that it stands for.
pub(super) fn alias(object: &Object) -> Option<(HostPattern, HostPattern)> {
    let Body::Service(service) = &object.body else { return None };
    let target = service.spec.external_name.as_ref()?;
    Some((service_name(object), host(target)))
}

/// Flows to everything that a world declares, by every client of its own flows: on the ports that
/// are declared there, over both transports, and on one port that is not.
pub(super) fn probes(world: &World) -> Vec<Flow> {
    let mut probes = Vec::new();
    for client in super::setting::clients(&world.expect) {
        for object in &world.registry {
            for claim in claims(object).iter().chain(&spoken_of(object)) {
                let ports = claim.ports.iter().copied();
                for (port, is_udp) in ports.chain([(8081, false)]) {
                    probes.push(probe(&client, &claim.place, port, is_udp));
                }
            }
        }
    }
    probes
}

fn probe(client: &Client, place: &Place, port: u16, is_udp: bool) -> Flow {
    let (dns, ip) = match place {
        Place::Host(host) => {
            let name = host.to_string();
            // No object of the random worlds has this address.
            let ip = "192.0.2.177".to_owned();
            (Some(name.replace("*.", "any.")), ip)
        }
        Place::Net(net) => (None, net.broadcast().to_string()),
    };
    let proto = if is_udp { "udp" } else { "tcp" }.to_owned();
    let dest = Destination { ip, port, proto };
    Flow { client: client.clone(), dns, dest, ..Flow::default() }
}

fn places<'a>(hosts: &[String], nets: impl IntoIterator<Item = &'a String>) -> Vec<Place> {
    let nets = nets.into_iter().map(|it| Place::Net(cidr::parse(it).expect("a prefix")));
    hosts.iter().map(|it| Place::Host(host(it))).chain(nets).collect()
}

fn ports(ports: &[ServicePort]) -> Vec<PortKey> {
    ports.iter().map(|it| (it.port, it.protocol.as_deref() == Some("UDP"))).collect()
}

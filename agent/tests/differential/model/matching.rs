//! The entries that a flow matches, and the most specific of them: a single address, the longest
//! prefix, an exact name, the longest wildcard, and a port alone where that is wanted.

use super::{
    super::world::{Flow, World},
    disputed,
    names::{covers, is_wildcard, number, prefix_over},
    service::{Age, Class, Port, Service, Source},
};

/// How a service was matched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum By {
    Address,
    Name(String),
    /// The port alone.
    Port,
}

#[derive(Clone, Debug)]
pub(crate) struct Hit {
    pub(crate) service: Service,
    /// None: an address of a Kubernetes Service.
    pub(crate) port: Option<Port>,
    pub(crate) class: Class,
    pub(crate) by: By,
    pub(crate) age: Age,
}

fn is_udp(flow: &Flow) -> bool {
    flow.dest.proto == "udp"
}

fn is_port(port: &Port, flow: &Flow) -> bool {
    port.number == flow.dest.port && (port.class == Class::Udp) == is_udp(flow)
}

/// The best hits by address: several only if one object claims the address for several hosts.
pub(crate) fn by_address(view: &[Service], flow: &Flow) -> Result<Vec<Hit>, &'static str> {
    let mut hits: Vec<(u32, Hit)> = Vec::new();
    for service in view {
        for (ip, port, is_udp_port, service_port) in &service.fixed {
            let is_it = number(ip) == number(&flow.dest.ip)
                && *port == flow.dest.port
                && *is_udp_port == is_udp(flow);
            if is_it {
                let class = service.ports.iter().find(|it| it.number == *service_port);
                let class = class.map_or(Class::Tcp, |it| it.class);
                let hit = Hit {
                    service: service.clone(),
                    port: None,
                    class,
                    by: By::Address,
                    age: service.age.clone(),
                };
                hits.push((128, hit));
            }
        }
        for port in service.ports.iter().filter(|it| is_port(it, flow)) {
            let auto = service.auto_addresses.iter().filter(|_| !is_udp(flow));
            if is_udp(flow) {
                disputed::udp_by_auto_address(service, flow)?;
            }
            for (address, age) in service.addresses.iter().chain(auto) {
                if service.source == Source::Kubernetes {
                    continue;
                }
                if let Some(length) = prefix_over(address, &flow.dest.ip) {
                    let hit = Hit {
                        service: service.clone(),
                        port: Some(port.clone()),
                        class: port.class,
                        by: By::Address,
                        age: age.clone(),
                    };
                    hits.push((length, hit));
                }
            }
        }
    }
    let longest = hits.iter().map(|(length, _)| *length).max().unwrap_or(0);
    let hits: Vec<Hit> =
        hits.into_iter().filter(|(length, _)| *length == longest).map(|(_, hit)| hit).collect();
    Ok(of_the_eldest(hits))
}

/// The hits of the eldest object: several, if it claims the same for several hosts.
fn of_the_eldest(mut hits: Vec<Hit>) -> Vec<Hit> {
    let Some(eldest) = hits.iter().map(|it| it.age.clone()).min() else {
        return hits;
    };
    hits.retain(|it| (&it.age.0, &it.age.2, &it.age.3) == (&eldest.0, &eldest.2, &eldest.3));
    hits
}

/// The best hit by a name.
pub(crate) fn by_name(view: &[Service], flow: &Flow, name: &str) -> Option<Hit> {
    let mut best: Option<((bool, usize), Hit)> = None;
    for service in view {
        if !covers(&service.host, name) || !service.fixed.is_empty() || service.is_headless {
            continue;
        }
        for port in service.ports.iter().filter(|it| is_port(it, flow)) {
            if !service.addresses.is_empty() && port.class != Class::Http {
                continue;
            }
            let weight = (!is_wildcard(&service.host), service.host.len());
            if best.as_ref().is_none_or(|(other, _)| weight > *other) {
                let hit = Hit {
                    service: service.clone(),
                    port: Some(port.clone()),
                    class: port.class,
                    by: By::Name(name.to_owned()),
                    age: service.age.clone(),
                };
                best = Some((weight, hit));
            }
        }
    }
    best.map(|(_, hit)| hit)
}

/// The eldest TCP services without addresses on the port, where the port alone is enough.
pub(crate) fn by_port(
    world: &World,
    view: &[Service],
    flow: &Flow,
) -> Result<Vec<Hit>, &'static str> {
    if world.agent.matching.as_deref() != Some("istio-compat") || is_udp(flow) {
        return Ok(Vec::new());
    }
    let mut hits = Vec::new();
    for service in view {
        for port in service.ports.iter().filter(|it| is_port(it, flow)) {
            let is_meant = matches!(port.class, Class::Tcp | Class::Sniffed)
                && service.addresses.is_empty()
                && service.fixed.is_empty()
                && !service.is_headless;
            if !is_meant {
                continue;
            }
            if !service.auto_addresses.is_empty() || service.is_external_name {
                return Err("a port alone, of an entry with an address that Istio gave it");
            }
            hits.push(Hit {
                service: service.clone(),
                port: Some(port.clone()),
                class: port.class,
                by: By::Port,
                age: service.age.clone(),
            });
        }
    }
    Ok(of_the_eldest(hits))
}

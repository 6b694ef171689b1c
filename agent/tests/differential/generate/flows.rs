//! Flows that hit what a world declares, or just miss it.

use super::{
    super::{
        manifest::{Body, ServicePort},
        world::{Client, Destination, Flow, Labels, World},
    },
    ADDRESSES, Draft, EXACT_HOSTS, NAMESPACES, OTHER_NAMES, PORTS, VIRTUAL, labels,
};

const FLOWS: usize = 12;
/// Clients of one world: the compiler runs once for each.
const CLIENTS: usize = 2;

impl Draft {
    pub(super) fn flows(&mut self, world: &World) -> Vec<Flow> {
        let clients: Vec<Client> = (0..CLIENTS).map(|_| self.client()).collect();
        (0..FLOWS)
            .map(|index| {
                let client = clients[index % clients.len()].clone();
                self.flow(world, client)
            })
            .collect()
    }

    fn client(&mut self) -> Client {
        let mut client = Client {
            namespace: self.dice.word(&NAMESPACES[..3]),
            labels: labels(&[("app", self.dice.pick(&["web", "job"]))]),
            ..Client::default()
        };
        match self.dice.below(20) {
            0..=2 => client.sidecar = true,
            3 => client.ambient = true,
            4 => {
                client.labels = labels(&[("istio", "egress")]);
                if self.dice.percent(50) {
                    "istio-system".clone_into(&mut client.namespace);
                }
            }
            5 if self.dice.percent(20) => client.host_network = true,
            6 if self.dice.percent(30) => client.labels = Labels::new(),
            _ => {}
        }
        client
    }

    fn flow(&mut self, world: &World, client: Client) -> Flow {
        let aims = aims(world);
        let mut flow = Flow { client, ..Flow::default() };
        let port = PORTS[self.dice.below(PORTS.len())];
        flow.dest = Destination { ip: String::new(), port, proto: "tcp".to_owned() };
        if self.dice.percent(if port >= 5432 { 35 } else { 5 }) {
            "udp".clone_into(&mut flow.dest.proto);
        }
        match self.dice.below(100) {
            0..=64 => self.by_name(&mut flow, &aims),
            65..=92 => self.by_address(&mut flow, &aims),
            93..=95 => flow.dest.ip = self.dice.word(&["127.0.0.1", "::1", "::ffff:127.0.0.1"]),
            96..=97 => {
                flow.dest.ip = self.dice.word(&["10.96.0.10", "8.8.8.8"]);
                flow.dest.port = 53;
            }
            _ => flow.dest.ip = self.dice.word(&["10.244.3.3", "10.96.99.99"]),
        }
        flow
    }

    fn by_name(&mut self, flow: &mut Flow, aims: &[Aim]) {
        let aims: Vec<&Aim> = aims.iter().filter(|it| !it.is_address).collect();
        let name = if !aims.is_empty() && self.dice.percent(85) {
            let aim = self.dice.pick(&aims);
            self.aim_at_port(flow, aim);
            aim.at.clone()
        } else if self.dice.percent(50) {
            self.dice.word(&EXACT_HOSTS)
        } else {
            self.dice.word(&OTHER_NAMES)
        };
        let name = match name.strip_prefix("*.") {
            Some(suffix) => format!("{}.{suffix}", self.dice.pick(&["new", "a.b", "v1"])),
            None => name,
        };
        if name.ends_with("shop.platform.svc.cluster.local") {
            flow.dest.ip = "10.96.7.7".to_owned();
        } else {
            let ips = ["192.0.2.10", "192.0.2.11", "192.0.2.30", "2001:db8:9::1", "198.51.100.5"];
            let plain = self.dice.percent(92);
            flow.dest.ip = self.dice.word(if plain { &ips[..3] } else { &ips });
        }
        let mut name = if self.dice.percent(5) { name.to_uppercase() } else { name };
        if self.dice.percent(3) && !name.ends_with('.') {
            name.push('.');
        }
        flow.dns = Some(name);
        match self.dice.below(60) {
            0 => flow.resolver = Some("203.0.113.53".to_owned()),
            1 => flow.age = Some(600),
            2 => flow.age = Some(70),
            3 => flow.answers = Some(vec!["192.0.2.99".to_owned()]),
            4..=5 => flow.also = Some(self.dice.word(&EXACT_HOSTS)),
            _ => {}
        }
    }

    fn by_address(&mut self, flow: &mut Flow, aims: &[Aim]) {
        let aims: Vec<&Aim> = aims.iter().filter(|it| it.is_address).collect();
        if aims.is_empty() || self.dice.percent(10) {
            let more = [&ADDRESSES[..], &VIRTUAL[..], &["198.51.7.7", "192.0.2.200"]].concat();
            flow.dest.ip = self.dice.word(&more);
        } else {
            let aim = self.dice.pick(&aims);
            self.aim_at_port(flow, aim);
            flow.dest.ip = inside(&aim.at);
        }
        if self.dice.percent(3) && flow.dest.ip.parse::<std::net::Ipv4Addr>().is_ok() {
            flow.dest.ip = format!("::ffff:{}", flow.dest.ip);
        }
    }

    /// Mostly a port that goes with the name or address.
    fn aim_at_port(&mut self, flow: &mut Flow, aim: &Aim) {
        if aim.ports.is_empty() || self.dice.percent(12) {
            return;
        }
        let (port, is_udp) = &aim.ports[self.dice.below(aim.ports.len())];
        flow.dest.port = *port;
        let is_udp = *is_udp != self.dice.percent(4);
        flow.dest.proto = if is_udp { "udp" } else { "tcp" }.to_owned();
    }
}

/// A name or an address that a world speaks of, with the ports there.
struct Aim {
    at: String,
    is_address: bool,
    /// And whether it is a UDP port.
    ports: Vec<(u16, bool)>,
}

fn aims(world: &World) -> Vec<Aim> {
    let mut aims = Vec::new();
    for object in &world.registry {
        let mut add = |is_address: bool, at: &[String], ports: &[(u16, bool)]| {
            for at in at {
                aims.push(Aim { at: at.clone(), is_address, ports: ports.to_vec() });
            }
        };
        let of_service = |ports: &[ServicePort]| -> Vec<(u16, bool)> {
            ports.iter().map(|it| (it.port, it.protocol.as_deref() == Some("UDP"))).collect()
        };
        match &object.body {
            Body::ServiceEntry(it) => {
                let ports: Vec<(u16, bool)> = it
                    .spec
                    .ports
                    .iter()
                    .map(|it| (it.number, it.protocol.eq_ignore_ascii_case("udp")))
                    .collect();
                add(false, &it.spec.hosts, &ports);
                add(true, &it.spec.addresses, &ports);
                let auto: Vec<String> =
                    it.status.addresses.iter().map(|it| it.value.clone()).collect();
                add(true, &auto, &ports);
                if let Some(endpoint) = it.spec.endpoints.iter().find(|it| is_ip(&it.address)) {
                    add(true, std::slice::from_ref(&endpoint.address), &ports);
                }
            }
            Body::ExternalService(it) => {
                let ports: Vec<(u16, bool)> =
                    it.spec.ports.iter().map(|it| (it.number, false)).collect();
                add(false, &it.spec.hosts, &ports);
                add(true, &it.spec.addresses, &ports);
            }
            Body::VirtualService(it) => add(false, &it.spec.hosts, &[(80, false), (443, false)]),
            Body::EgressPolicy(it) => {
                for to in it.spec.egress_rules.iter().flat_map(|it| &it.to) {
                    add(false, &to.hosts, &[(to.port.number, false)]);
                }
            }
            Body::Service(it) => {
                let ports = of_service(&it.spec.ports);
                if it.spec.external_name.is_some() {
                    let meta = &object.meta;
                    let name = format!("{}.{}.svc.cluster.local", meta.name, meta.namespace);
                    add(false, &[name], &ports);
                }
                if let Some(ip) = it.spec.cluster_ip.clone().filter(|it| is_ip(it)) {
                    add(true, &[ip], &ports);
                }
            }
            Body::Endpoints(it) => {
                for subset in &it.subsets {
                    let all = subset.addresses.iter().chain(&subset.not_ready_addresses);
                    let ips: Vec<String> = all.map(|it| it.ip.clone()).collect();
                    add(true, &ips, &of_service(&subset.ports));
                }
            }
            Body::EndpointSlice(it) => {
                for endpoint in &it.endpoints {
                    add(true, &endpoint.addresses, &of_service(&it.ports));
                }
            }
            _ => {}
        }
    }
    aims.retain(|it| {
        it.at != "*" && (!it.is_address || is_ip(it.at.split('/').next().unwrap_or("")))
    });
    aims
}

fn is_ip(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}

/// An address inside a prefix, near its end; an address as it is.
fn inside(prefix: &str) -> String {
    match prefix {
        "198.51.100.0/24" | "198.51.100.99/24" => "198.51.100.200",
        "198.51.0.0/16" => "198.51.7.7",
        "203.0.113.0/28" => "203.0.113.9",
        "2001:db8:5::/64" => "2001:db8:5::77",
        "198.18.1.0/24" => "198.18.1.77",
        "2001:db8:18::/64" => "2001:db8:18::77",
        other => other,
    }
    .to_owned()
}

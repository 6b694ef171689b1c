//! Flows that hit what a world declares, or just miss it.

use super::{
    super::{
        manifest::Body,
        world::{Client, Destination, Flow, Labels, World},
    },
    ADDRESSES, Draft, EXACT_HOSTS, NAMESPACES, OTHER_NAMES, PORTS, VIRTUAL, labels,
};

const FLOWS: usize = 14;
/// Clients of one world: the compiler runs once for each.
const CLIENTS: usize = 3;

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
        let names = declared(world);
        let mut flow = Flow { client, ..Flow::default() };
        let port = PORTS[self.dice.below(PORTS.len())];
        flow.dest = Destination { ip: String::new(), port, proto: "tcp".to_owned() };
        if self.dice.percent(if port >= 5432 { 35 } else { 5 }) {
            "udp".clone_into(&mut flow.dest.proto);
        }
        match self.dice.below(100) {
            0..=64 => self.by_name(&mut flow, &names),
            65..=92 => self.by_address(&mut flow, world),
            93..=95 => flow.dest.ip = self.dice.word(&["127.0.0.1", "::1", "::ffff:127.0.0.1"]),
            96..=97 => {
                flow.dest.ip = self.dice.word(&["10.96.0.10", "8.8.8.8"]);
                flow.dest.port = 53;
            }
            _ => flow.dest.ip = self.dice.word(&["10.244.3.3", "10.96.99.99"]),
        }
        flow
    }

    fn by_name(&mut self, flow: &mut Flow, names: &[String]) {
        let is_declared = !names.is_empty() && self.dice.percent(75);
        let name = if is_declared {
            names[self.dice.below(names.len())].clone()
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
        if self.dice.percent(3) {
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

    fn by_address(&mut self, flow: &mut Flow, world: &World) {
        let mut ips = Vec::new();
        for object in &world.registry {
            match &object.body {
                Body::ServiceEntry(it) => {
                    ips.extend(it.spec.addresses.iter().map(|it| inside(it)));
                    ips.extend(it.status.addresses.iter().map(|it| it.value.clone()));
                    ips.extend(it.spec.endpoints.iter().map(|it| it.address.clone()));
                }
                Body::ExternalService(it) => {
                    ips.extend(it.spec.addresses.iter().map(|it| inside(it)));
                }
                Body::Service(it) => {
                    ips.extend(it.spec.cluster_ip.clone().filter(|it| it != "None"));
                }
                Body::Endpoints(it) => {
                    let subsets = it.subsets.iter();
                    for subset in subsets {
                        ips.extend(subset.addresses.iter().map(|it| it.ip.clone()));
                        flow.dest.port = subset.ports.first().map_or(80, |it| it.port);
                    }
                }
                Body::EndpointSlice(it) => {
                    ips.extend(it.endpoints.iter().flat_map(|it| it.addresses.clone()));
                }
                _ => {}
            }
        }
        ips.retain(|it| it.parse::<std::net::IpAddr>().is_ok());
        flow.dest.ip = if ips.is_empty() || self.dice.percent(10) {
            let more = [&ADDRESSES[..], &VIRTUAL[..], &["198.51.7.7", "192.0.2.200"]].concat();
            self.dice.word(&more)
        } else {
            ips[self.dice.below(ips.len())].clone()
        };
        if self.dice.percent(3) && flow.dest.ip.parse::<std::net::Ipv4Addr>().is_ok() {
            flow.dest.ip = format!("::ffff:{}", flow.dest.ip);
        }
    }
}

/// The names that a world speaks of.
fn declared(world: &World) -> Vec<String> {
    let mut names = Vec::new();
    for object in &world.registry {
        match &object.body {
            Body::ServiceEntry(it) => names.extend(it.spec.hosts.clone()),
            Body::ExternalService(it) => names.extend(it.spec.hosts.clone()),
            Body::VirtualService(it) => names.extend(it.spec.hosts.clone()),
            Body::EgressPolicy(it) => {
                let rules = it.spec.egress_rules.iter();
                names.extend(rules.flat_map(|it| &it.to).flat_map(|it| it.hosts.clone()));
            }
            Body::Service(it) if it.spec.external_name.is_some() => {
                let meta = &object.meta;
                names.push(format!("{}.{}.svc.cluster.local", meta.name, meta.namespace));
            }
            _ => {}
        }
    }
    names.retain(|it| it != "*");
    names
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

//! ServiceEntries, Gloo's services, and the workloads behind them.

use std::collections::BTreeSet;

use super::{
    super::manifest::{
        AutoAddress, Body, Condition, Container, ContainerPort, Endpoint, EntryPort,
        ExternalEndpoint, ExternalEndpointSpec, ExternalPort, ExternalService, ExternalServiceSpec,
        MatchLabels, NamedPort, Pod, PodSpec, PodStatus, ServiceEntry, ServiceEntrySpec,
        ServiceEntryStatus, TargetPort, TlsMode, WorkloadEntry,
    },
    ADDRESSES, Draft, ENDPOINT_IPS, ENDPOINT_NAMES, EXACT_HOSTS, GLOO_HOSTS, NAMESPACES, PORTS,
    PREFIXES, VIRTUAL, WILDCARDS, labels,
};

const GLOO: &str = "networking.gloo.solo.io/v2";
/// Gloo wants each address once in the mesh, so it has some of its own.
const GLOO_ADDRESSES: [&str; 4] = ["198.18.0.1", "198.18.0.2", "198.18.1.0/24", "2001:db8:18::/64"];

impl Draft {
    pub(super) fn service_entry(&mut self) {
        let mut meta = self.meta("entry", &NAMESPACES[..3]);
        if self.dice.percent(25) {
            // The same second as others: then names decide.
            meta.creation_timestamp = Some("2026-01-05T00:00:00Z".to_owned());
        } else if self.dice.percent(8) {
            meta.creation_timestamp = None;
        }
        if self.dice.percent(8) {
            meta.labels = labels(&[("tier", "edge")]);
        }
        if self.dice.percent(5) {
            let waypoint = self.dice.pick(&["waypoint", "none"]);
            meta.labels = labels(&[("istio.io/use-waypoint", waypoint)]);
        }
        let resolution = match self.dice.below(20) {
            0..=5 => "NONE",
            6..=10 => "STATIC",
            11..=16 => "DNS",
            17..=18 => "DNS_ROUND_ROBIN",
            _ => "DYNAMIC_DNS",
        };
        let mut spec = ServiceEntrySpec {
            export_to: self.export_to(&meta.namespace),
            ports: self.entry_ports(resolution),
            ..ServiceEntrySpec::default()
        };
        if resolution != "NONE" || self.dice.percent(50) {
            spec.resolution = Some(resolution.to_owned());
        }
        if resolution != "DYNAMIC_DNS" && self.dice.percent(30) {
            spec.location = Some(self.dice.word(&["MESH_EXTERNAL", "MESH_INTERNAL"]));
        }
        self.endpoints(&mut spec, resolution);
        self.entry_hosts(&mut spec, resolution);
        self.entry_addresses(&mut spec, resolution);
        let mut status = ServiceEntryStatus::default();
        if self.dice.percent(25) {
            let host = spec.hosts[0].clone();
            status.addresses.push(AutoAddress { value: self.dice.word(&VIRTUAL), host });
            if self.dice.percent(10) {
                let switch = "networking.istio.io/enable-autoallocate-ip";
                meta.labels.insert(switch.to_owned(), "false".to_owned());
            }
        }
        self.istio(meta, Body::ServiceEntry(ServiceEntry { spec, status }));
    }

    fn entry_ports(&mut self, resolution: &str) -> Vec<EntryPort> {
        let mut ports = Vec::new();
        for number in PORTS {
            if !self.dice.percent(if number == 80 || number == 443 { 55 } else { 25 }) {
                continue;
            }
            let usual: &[&str] = match number {
                80 => &["HTTP", "HTTP2", "http", "GRPC"],
                443 => &["TLS", "HTTPS"],
                5432 => &["TCP", "MONGO", "tcp", "REDIS", "UDP"],
                _ => &["TCP", "UDP", "", "HTTP", "TLS", "MYSQL"],
            };
            let mut protocol = self.dice.word(usual);
            if self.dice.percent(4) {
                protocol = self.dice.word(&["HTTP", "TLS", "TCP", "UDP", ""]);
            }
            if resolution == "DYNAMIC_DNS" {
                protocol = self.dice.word(&["HTTP", "TLS"]);
            }
            let is_moved = resolution != "DYNAMIC_DNS" && self.dice.percent(20);
            ports.push(EntryPort {
                number,
                name: format!("p{number}"),
                protocol,
                target_port: is_moved.then(|| 8000 + number % 1000),
            });
        }
        ports
    }

    fn endpoints(&mut self, spec: &mut ServiceEntrySpec, resolution: &str) {
        let has_selector = matches!(resolution, "STATIC" | "DNS") && self.dice.percent(20);
        if has_selector {
            let mut selector = MatchLabels::default();
            if self.dice.percent(90) {
                selector.labels = labels(&[("app", self.dice.pick(&["db", "cache"]))]);
            }
            spec.workload_selector = Some(selector);
            return;
        }
        let most = match resolution {
            "STATIC" => 2,
            "DNS" if self.dice.percent(50) => 2,
            "DNS_ROUND_ROBIN" if self.dice.percent(50) => 1,
            _ => return,
        };
        if resolution == "STATIC" && spec.ports.len() == 1 && self.dice.percent(10) {
            let address = "unix:///run/up.sock".to_owned();
            spec.endpoints.push(Endpoint { address, ..Endpoint::default() });
            return;
        }
        let count = self.dice.below(most + 1);
        for _ in 0..count {
            let is_ip = resolution == "STATIC" || self.dice.percent(30);
            let address =
                if is_ip { self.dice.word(&ENDPOINT_IPS) } else { self.dice.word(&ENDPOINT_NAMES) };
            let mut endpoint = Endpoint { address, ..Endpoint::default() };
            for port in &spec.ports {
                if self.dice.percent(25) {
                    endpoint.ports.insert(port.name.clone(), 7000 + port.number % 1000);
                }
            }
            endpoint.weight = self.dice.percent(20).then_some(3);
            spec.endpoints.push(endpoint);
        }
    }

    fn entry_hosts(&mut self, spec: &mut ServiceEntrySpec, resolution: &str) {
        let is_web = |port: &EntryPort| {
            let protocol = port.protocol.to_uppercase();
            matches!(protocol.as_str(), "HTTP" | "HTTP2" | "GRPC" | "TLS" | "HTTPS")
        };
        let may_be_many = resolution == "NONE" || spec.ports.iter().all(is_web);
        let most = if may_be_many { 2 } else { 1 };
        let may_be_wild = !resolution.starts_with("DNS") || !spec.endpoints.is_empty();
        if resolution == "DYNAMIC_DNS" {
            spec.hosts = self.dice.some(&WILDCARDS, 1, 2);
            return;
        }
        if may_be_wild && self.dice.percent(30) {
            spec.hosts = self.dice.some(&WILDCARDS, 1, 1);
            if most == 2 && self.dice.percent(30) {
                spec.hosts.extend(self.dice.some(&EXACT_HOSTS, 1, 1));
            }
            return;
        }
        let most = if self.dice.percent(25) { most } else { 1 };
        spec.hosts = self.dice.some(&EXACT_HOSTS, 1, most);
        if self.dice.percent(5) {
            spec.hosts = vec!["API.Example.COM.".to_owned()];
        }
        if self.dice.percent(4) {
            spec.hosts = vec!["shop.platform.svc.cluster.local".to_owned()];
        }
    }

    fn entry_addresses(&mut self, spec: &mut ServiceEntrySpec, resolution: &str) {
        if resolution == "DYNAMIC_DNS" || !self.dice.percent(35) {
            return;
        }
        spec.addresses = self.dice.some(&ADDRESSES, 0, 2);
        if matches!(resolution, "NONE" | "STATIC") {
            spec.addresses.extend(self.dice.some(&PREFIXES, 0, 2));
        }
    }

    /// Pods and WorkloadEntries for selectors, and ExternalEndpoints.
    pub(super) fn workloads(&mut self) {
        let app = self.dice.word(&["db", "cache"]);
        let namespaces = &NAMESPACES[..3];
        let mut ports = std::collections::BTreeMap::new();
        if self.dice.percent(50) {
            ports.insert("p5432".to_owned(), 6432);
        }
        if self.dice.percent(50) {
            let mut meta = self.meta("workload", namespaces);
            meta.labels = labels(&[("app", &app)]);
            let is_ip = self.dice.percent(70);
            let address =
                if is_ip { self.dice.word(&ENDPOINT_IPS) } else { self.dice.word(&ENDPOINT_NAMES) };
            let spec = Endpoint { address, ports, labels: meta.labels.clone(), weight: None };
            self.istio(meta, Body::WorkloadEntry(WorkloadEntry { spec }));
            return;
        }
        let mut meta = self.meta("pod", namespaces);
        meta.labels = labels(&[("app", &app)]);
        let container_ports = ports
            .into_iter()
            .map(|(name, container_port)| ContainerPort { name, container_port, protocol: None })
            .collect();
        let ready = self.dice.pick(&["True", "True", "False"]).to_owned();
        let pod = Pod {
            spec: PodSpec {
                containers: vec![Container { name: "main".to_owned(), ports: container_ports }],
            },
            status: PodStatus {
                pod_ip: Some(format!("203.0.113.{}", 90 + self.dice.below(3))),
                phase: "Running".to_owned(),
                conditions: vec![Condition { kind: "Ready".to_owned(), status: ready }],
            },
        };
        self.add("v1", meta, Body::Pod(pod));
    }

    pub(super) fn external_service(&mut self) {
        if self.dice.percent(40) {
            self.external_endpoint();
        }
        let meta = self.meta("external", &NAMESPACES[..3]);
        let mut spec = ExternalServiceSpec::default();
        let taken: BTreeSet<String> = self
            .objects
            .iter()
            .filter_map(|object| match &object.body {
                Body::ExternalService(it) => Some(it.spec.addresses.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        let free: Vec<&str> =
            GLOO_ADDRESSES.iter().copied().filter(|it| !taken.contains(*it)).collect();
        let pool = self.dice.pick(&["a", "b"]);
        let has_pool = self.objects.iter().any(|object| {
            matches!(object.body, Body::ExternalEndpoint(_))
                && object.meta.labels.get("pool").is_some_and(|it| it == pool)
        });
        if has_pool && self.dice.percent(70) {
            spec.selector = labels(&[("pool", pool)]);
        }
        if !free.is_empty() && self.dice.percent(30) {
            spec.addresses = self.dice.some(&free, 1, free.len().min(2));
        } else {
            spec.hosts = vec![self.dice.word(&GLOO_HOSTS)];
        }
        let is_plain = spec.hosts.iter().all(|host| !host.starts_with('*'));
        for number in PORTS {
            if !self.dice.percent(45) {
                continue;
            }
            let protocol = match number {
                80 => self.dice.word(&["HTTP", "HTTP2"]),
                443 => self.dice.word(&["TLS", "HTTPS"]),
                _ => self.dice.word(&["TCP", "MONGO"]),
            };
            let mut port = ExternalPort {
                number,
                name: format!("p{number}"),
                protocol,
                ..ExternalPort::default()
            };
            if !spec.selector.is_empty() {
                // Endpoints have a port of this name, and none of this number.
                let name = Some(port.name.clone());
                port.target_port = Some(TargetPort { number: None, name });
            } else if is_plain && self.dice.percent(20) {
                port.target_port = Some(TargetPort { number: Some(8443), name: None });
            }
            if self.dice.percent(15) {
                let mode = self.dice.word(&["SIMPLE", "MUTUAL", "ISTIO_MUTUAL", "DISABLE"]);
                port.clientside_tls = Some(TlsMode { mode, credential_name: None });
            }
            spec.ports.push(port);
        }
        self.add(GLOO, meta, Body::ExternalService(ExternalService { spec }));
    }

    fn external_endpoint(&mut self) {
        let mut meta = self.meta("endpoint", &NAMESPACES[..3]);
        meta.labels = labels(&[("pool", self.dice.pick(&["a", "b"]))]);
        let is_ip = self.dice.percent(70);
        let address =
            if is_ip { self.dice.word(&ENDPOINT_IPS) } else { self.dice.word(&ENDPOINT_NAMES) };
        let ports = PORTS
            .iter()
            .map(|number| NamedPort { name: format!("p{number}"), number: 6000 + number % 1000 })
            .collect();
        let spec = ExternalEndpointSpec { address, ports };
        self.add(GLOO, meta, Body::ExternalEndpoint(ExternalEndpoint { spec }));
    }
}

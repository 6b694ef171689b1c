//! Kubernetes Services and gateways, Alibaba's policies, and objects that break a rule.

use super::{
    super::{
        manifest::{
            Body, EgressFrom, EgressPolicy, EgressPolicySpec, EgressPolicyStatus, EgressRule,
            EgressTo, Endpoint, EndpointIp, EndpointSlice, EndpointSubset, Endpoints, EntryPort,
            ExternalService, ExternalServiceSpec, Gateway, GatewayName, GatewayPort, GatewaySpec,
            Meta, Ready, Server, Service, ServiceEntry, ServiceEntrySpec, ServicePort, ServiceSpec,
            Sidecar, SliceEndpoint, TlsMode, VirtualService, VirtualServiceSpec,
        },
        world::{Refused, World},
    },
    Draft, EXACT_HOSTS, GATEWAYS, NAMESPACES, PORTS, labels,
};

const BROKEN: &str = "broken";

impl Draft {
    /// The Services of gateways, most with a Gateway for them.
    pub(super) fn gateways(&mut self) {
        for (index, name) in GATEWAYS.iter().enumerate() {
            let namespace = if *name == "edge" { "platform" } else { "istio-system" };
            let meta = |name: &str| Meta {
                name: name.to_owned(),
                namespace: namespace.to_owned(),
                ..Meta::default()
            };
            let mut ports = Vec::new();
            for (name, port) in [("http", 80), ("tls", 443), ("tcp", 5432)] {
                if self.dice.percent(80) {
                    ports.push(ServicePort { name: name.to_owned(), protocol: None, port });
                }
            }
            if ports.is_empty() || self.dice.percent(15) {
                continue;
            }
            let spec = ServiceSpec {
                cluster_ip: Some(format!("10.96.50.{}", index + 1)),
                selector: labels(&[("istio", name)]),
                ports,
                ..ServiceSpec::default()
            };
            self.add("v1", meta(name), Body::Service(Service { spec }));
            if self.dice.percent(60) {
                let spec =
                    GatewaySpec { selector: labels(&[("istio", name)]), servers: self.servers() };
                self.istio(meta(name), Body::Gateway(Gateway { spec }));
            }
        }
    }

    fn servers(&mut self) -> Vec<Server> {
        let mut servers = Vec::new();
        for (number, protocol, mode) in
            [(80, "HTTP", None), (443, "TLS", Some("PASSTHROUGH")), (5432, "TCP", None)]
        {
            let mut tls =
                mode.map(|mode: &str| TlsMode { mode: mode.to_owned(), credential_name: None });
            let mut protocol = protocol;
            if self.dice.percent(20) {
                protocol = "HTTPS";
                let mode = self.dice.word(&["ISTIO_MUTUAL", "SIMPLE"]);
                let credential_name = (mode == "SIMPLE").then(|| "certificate".to_owned());
                tls = Some(TlsMode { mode, credential_name });
            }
            let port = EntryPort {
                number,
                name: format!("p{number}"),
                protocol: protocol.to_owned(),
                target_port: None,
            };
            servers.push(Server { port, hosts: vec!["*".to_owned()], tls });
        }
        servers
    }

    pub(super) fn kubernetes_service(&mut self) {
        let mut meta = self.meta("service", &NAMESPACES[..3]);
        if self.dice.percent(15) {
            let list = self.dice.word(&[".", "*", "~", "team-a,team-b"]);
            meta.annotations.insert("networking.istio.io/exportTo".to_owned(), list);
        }
        let mut spec = ServiceSpec::default();
        for (name, protocol, port) in [
            ("http-web", None, 80),
            ("tls-web", Some("TCP"), 443),
            ("tcp-db", Some("TCP"), 5432),
            ("udp-log", Some("UDP"), 9000),
        ] {
            if self.dice.percent(50) {
                let protocol = protocol.map(str::to_owned);
                spec.ports.push(ServicePort { name: name.to_owned(), protocol, port });
            }
        }
        if spec.ports.is_empty() {
            spec.ports.push(ServicePort { name: "http".to_owned(), protocol: None, port: 80 });
        }
        match self.dice.below(10) {
            0..=3 => {
                "shop".clone_into(&mut meta.name);
                "platform".clone_into(&mut meta.namespace);
                if self.objects.iter().any(|it| it.meta.name == "shop") {
                    return;
                }
                spec.cluster_ip = Some("10.96.7.7".to_owned());
            }
            4..=6 => {
                spec.kind = Some("ExternalName".to_owned());
                spec.external_name = Some(self.dice.word(&EXACT_HOSTS));
            }
            _ => {
                spec.cluster_ip = Some("None".to_owned());
                let endpoints = self.ready_endpoints(&meta, &spec.ports);
                self.objects.push(endpoints);
            }
        }
        self.add("v1", meta, Body::Service(Service { spec }));
    }

    /// Endpoints, or a slice, of a headless Service.
    fn ready_endpoints(
        &mut self,
        service: &Meta,
        ports: &[ServicePort],
    ) -> super::super::manifest::Object {
        let mut ports = ports.to_vec();
        for port in &mut ports {
            if self.dice.percent(30) {
                port.port += 1000;
            }
        }
        let ip = format!("203.0.113.{}", 120 + self.dice.below(2));
        let mut meta = service.clone();
        meta.annotations.clear();
        if self.dice.percent(50) {
            let subset = EndpointSubset {
                addresses: vec![EndpointIp { ip }],
                not_ready_addresses: vec![EndpointIp { ip: "203.0.113.129".to_owned() }],
                ports,
            };
            let body = Body::Endpoints(Endpoints { subsets: vec![subset] });
            return super::super::manifest::Object { api_version: "v1".to_owned(), meta, body };
        }
        meta.labels = labels(&[("kubernetes.io/service-name", &service.name)]);
        meta.name.push_str("-slice");
        let unready = SliceEndpoint {
            addresses: vec!["203.0.113.129".to_owned()],
            conditions: Ready { ready: Some(false) },
        };
        let ready = SliceEndpoint { addresses: vec![ip], conditions: Ready { ready: Some(true) } };
        let body = Body::EndpointSlice(EndpointSlice {
            address_type: "IPv4".to_owned(),
            endpoints: vec![ready, unready],
            ports,
        });
        let api_version = "discovery.k8s.io/v1".to_owned();
        super::super::manifest::Object { api_version, meta, body }
    }

    pub(super) fn egress_policy(&mut self) {
        let mut meta = self.meta("egress", &["istio-egress"]);
        meta.namespace = "istio-egress".to_owned();
        let is_v1 = self.dice.percent(40);
        let is_allocated = is_v1 && self.dice.percent(50);
        let mut status = EgressPolicyStatus::default();
        let mut rule = EgressRule::default();
        for _ in 0..=self.dice.below(2) {
            let mut from =
                EgressFrom { namespace: self.dice.word(&NAMESPACES[..3]), ..EgressFrom::default() };
            if self.dice.percent(50) {
                from.workload_selector = labels(&[("app", self.dice.pick(&["web", "job"]))]);
            }
            rule.from.push(from);
        }
        for index in 0..=self.dice.below(2) {
            let hosts = self.dice.some(&EXACT_HOSTS, 1, 2);
            let number = PORTS[self.dice.below(3)];
            let protocol = match number {
                80 => "HTTP",
                443 => "HTTPS",
                _ => "TCP",
            };
            let gateway_port = *self.dice.pick(&[&80, &443, &444]);
            if is_allocated {
                let key = format!("{}-{number}", hosts[0]);
                status.auto_allocated_gateway_ports.insert(key, gateway_port);
            }
            rule.to.push(EgressTo {
                name: format!("to-{index}"),
                hosts,
                port: EntryPort {
                    number,
                    name: format!("p{number}"),
                    protocol: protocol.to_owned(),
                    target_port: None,
                },
                by_egress_gateway: (!is_allocated).then_some(GatewayPort { port: gateway_port }),
            });
        }
        let spec = EgressPolicySpec {
            by_egress_gateway: GatewayName { name: "asm-gw".to_owned(), port: None },
            egress_rules: vec![rule],
        };
        let version = if is_v1 { "v1" } else { "v1beta1" };
        let body = Body::EgressPolicy(EgressPolicy { spec, status });
        self.add(&format!("istio.alibabacloud.com/{version}"), meta, body);
    }

    /// An object that validation refuses. It would open or hide much.
    pub(super) fn broken(&mut self) {
        let meta = self.meta(BROKEN, &NAMESPACES[..3]);
        let hosts = self.dice.some(&EXACT_HOSTS, 1, 1);
        let port = |number: u16, protocol: &str| EntryPort {
            number,
            name: format!("p{number}"),
            protocol: protocol.to_owned(),
            target_port: None,
        };
        let mut entry = ServiceEntrySpec {
            hosts: hosts.clone(),
            ports: vec![port(80, "HTTP"), port(443, "TLS")],
            ..ServiceEntrySpec::default()
        };
        let body = match self.dice.below(8) {
            0 => {
                // Resolution NONE has no endpoints.
                let address = "203.0.113.71".to_owned();
                entry.endpoints = vec![Endpoint { address, ..Endpoint::default() }];
                Body::ServiceEntry(ServiceEntry { spec: entry, ..ServiceEntry::default() })
            }
            1 => {
                entry.ports[1].number = 80;
                Body::ServiceEntry(ServiceEntry { spec: entry, ..ServiceEntry::default() })
            }
            2 => {
                entry.hosts.push("*".to_owned());
                Body::ServiceEntry(ServiceEntry { spec: entry, ..ServiceEntry::default() })
            }
            3 => {
                entry.export_to = vec!["*".to_owned(), ".".to_owned()];
                Body::ServiceEntry(ServiceEntry { spec: entry, ..ServiceEntry::default() })
            }
            4 => {
                let spec = VirtualServiceSpec { hosts, ..VirtualServiceSpec::default() };
                Body::VirtualService(VirtualService { spec })
            }
            5 => Body::Sidecar(Sidecar::default()),
            6 => {
                entry.addresses = vec!["198.51.100.300".to_owned()];
                Body::ServiceEntry(ServiceEntry { spec: entry, ..ServiceEntry::default() })
            }
            _ => {
                let addresses = vec!["198.18.0.9".to_owned()];
                let spec =
                    ExternalServiceSpec { hosts, addresses, ..ExternalServiceSpec::default() };
                let body = Body::ExternalService(ExternalService { spec });
                self.add("networking.gloo.solo.io/v2", meta, body);
                return;
            }
        };
        self.istio(meta, body);
    }

    /// Lists the objects that were broken on purpose.
    pub(super) fn refusals(world: &mut World) {
        for object in &world.registry {
            if object.meta.name.starts_with(BROKEN) {
                world.reject.push(Refused {
                    kind: object.kind().to_owned(),
                    namespace: Some(object.meta.namespace.clone()),
                    name: object.meta.name.clone(),
                    code: String::new(),
                });
            }
        }
    }
}

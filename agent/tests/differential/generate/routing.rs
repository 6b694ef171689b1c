//! VirtualServices, DestinationRules and Sidecars.

use super::{
    super::manifest::{
        Body, DestinationRule, DestinationRuleSpec, EntryPort, Listener, Match, MatchLabels,
        OutboundPolicy, PodSelector, PortLevel, PortNumber, Prefix, Route, RouteDestination, Rule,
        Sidecar, SidecarSpec, Subset, TlsMode, TrafficPolicy, Tunnel, Uri, VirtualService,
        VirtualServiceSpec,
    },
    Draft, EXACT_HOSTS, NAMESPACES, PORTS, WILDCARDS, labels,
};

#[derive(Clone, Copy, Eq, PartialEq)]
enum Block {
    Http,
    Tls,
    Tcp,
}

impl Draft {
    pub(super) fn virtual_service(&mut self) {
        let meta = self.meta("route", &NAMESPACES[..3]);
        let mut spec = VirtualServiceSpec {
            hosts: if self.dice.percent(70) {
                self.dice.some(&EXACT_HOSTS, 1, 1)
            } else {
                self.dice.some(&WILDCARDS, 1, 1)
            },
            export_to: self.export_to(&meta.namespace),
            ..VirtualServiceSpec::default()
        };
        spec.gateways = match self.dice.below(10) {
            0..=6 => Vec::new(),
            7..=8 => vec!["mesh".to_owned(), "istio-system/egress".to_owned()],
            _ => vec!["istio-system/egress".to_owned()],
        };
        let (hosts, gateways) = (spec.hosts.clone(), spec.gateways.clone());
        if self.dice.percent(65) {
            spec.http = self.rules(Block::Http, &hosts, &gateways);
        }
        if self.dice.percent(40) {
            spec.tls = self.rules(Block::Tls, &hosts, &gateways);
        }
        if spec.http.is_empty() && spec.tls.is_empty() || self.dice.percent(10) {
            spec.tcp = self.rules(Block::Tcp, &hosts, &gateways);
        }
        self.istio(meta, Body::VirtualService(VirtualService { spec }));
    }

    fn rules(&mut self, block: Block, hosts: &[String], gateways: &[String]) -> Vec<Rule> {
        let mut rules = Vec::new();
        for _ in 0..=self.dice.below(2) {
            let mut rule = Rule::default();
            if block == Block::Tls || self.dice.percent(50) {
                for _ in 0..=usize::from(self.dice.percent(20)) {
                    let block = self.block(block, hosts, gateways);
                    rule.matches.push(block);
                }
            }
            rule.route = vec![self.route(block, hosts)];
            if self.dice.percent(6) {
                let other = self.route(block, hosts);
                rule.route.push(other);
                rule.route.iter_mut().for_each(|it| it.weight = Some(50));
            }
            if block == Block::Http && self.dice.percent(6) {
                rule.rewrite = Some(Uri { uri: "/v2".to_owned() });
            }
            rules.push(rule);
        }
        rules
    }

    fn block(&mut self, kind: Block, hosts: &[String], gateways: &[String]) -> Match {
        let mut block = Match::default();
        if self.dice.percent(40) {
            block.port = Some(match kind {
                Block::Http => 80,
                Block::Tls => 443,
                Block::Tcp => 5432,
            });
        }
        if self.dice.percent(25) {
            block.source_labels = labels(&[("app", self.dice.pick(&["web", "job"]))]);
        }
        if self.dice.percent(10) && kind != Block::Tcp {
            block.source_namespace = Some(self.dice.word(&NAMESPACES[..3]));
        }
        if !gateways.is_empty() && self.dice.percent(50) {
            block.gateways =
                vec![self.dice.pick(&[&gateways[0], &gateways[gateways.len() - 1]]).clone()];
        }
        if kind == Block::Http && self.dice.percent(15) {
            block.uri = Some(Prefix { prefix: "/api".to_owned() });
        }
        if kind == Block::Tls {
            let below: Vec<&str> = EXACT_HOSTS
                .iter()
                .copied()
                .filter(|it| hosts[0].strip_prefix('*').is_some_and(|end| it.ends_with(end)))
                .collect();
            let is_whole = below.is_empty() || self.dice.percent(30);
            block.sni_hosts = if is_whole {
                vec![hosts[0].clone()]
            } else {
                self.dice.some(&below, 1, 2.min(below.len()))
            };
        }
        block
    }

    fn route(&mut self, block: Block, hosts: &[String]) -> Route {
        let usual = match block {
            Block::Http => 80,
            Block::Tls => 443,
            Block::Tcp => 5432,
        };
        let host = match self.dice.below(20) {
            0..=9 => "egress.istio-system.svc.cluster.local".to_owned(),
            10..=14 => "edge.platform.svc.cluster.local".to_owned(),
            // Means the namespace of the route.
            15 => "edge".to_owned(),
            16..=17 => hosts[0].trim_start_matches("*.").to_owned(),
            18 => hosts[0].clone(),
            _ => "missing.team-a.svc.cluster.local".to_owned(),
        };
        let host = if host.starts_with('*') { "edge".to_owned() } else { host };
        let port = match self.dice.below(10) {
            0..=5 => Some(PortNumber { number: usual }),
            6 => Some(PortNumber { number: 9000 }),
            _ => None,
        };
        let is_gateway = host.starts_with("egress.");
        let subset = (is_gateway && self.dice.percent(5)).then(|| "mesh".to_owned());
        Route { destination: RouteDestination { host, subset, port }, weight: None }
    }

    pub(super) fn destination_rule(&mut self) {
        let meta = self.meta("policy", &NAMESPACES);
        let host = match self.dice.below(10) {
            0..=5 => self.dice.word(&EXACT_HOSTS),
            6..=7 => self.dice.word(&WILDCARDS),
            _ => "egress.istio-system.svc.cluster.local".to_owned(),
        };
        let mut spec = DestinationRuleSpec { host, ..DestinationRuleSpec::default() };
        if self.dice.percent(20) {
            spec.export_to = vec![self.dice.word(&[".", "*"])];
        }
        if self.dice.percent(15) {
            let match_labels = labels(&[("app", self.dice.pick(&["web", "job"]))]);
            spec.workload_selector = Some(PodSelector { match_labels });
            spec.export_to = if self.dice.percent(50) { vec![".".to_owned()] } else { Vec::new() };
        }
        let mut policy = TrafficPolicy::default();
        match self.dice.below(10) {
            0..=3 => policy.tls = Some(self.tls_mode()),
            4..=6 => {
                let port = PortNumber { number: *self.dice.pick(&[&80, &443, &5432]) };
                let tls = Some(self.tls_mode());
                policy.port_level_settings.push(PortLevel { port, tls });
            }
            7 => {
                let target_host = "proxy.up.test".to_owned();
                policy.tunnel = Some(Tunnel { target_host, target_port: 3128 });
            }
            _ => {}
        }
        if policy != TrafficPolicy::default() {
            spec.traffic_policy = Some(policy);
        }
        if spec.host.starts_with("egress.") {
            let tls = Some(TlsMode { mode: "ISTIO_MUTUAL".to_owned(), credential_name: None });
            let traffic_policy = Some(TrafficPolicy { tls, ..TrafficPolicy::default() });
            spec.traffic_policy = None;
            let name = "mesh".to_owned();
            spec.subsets.push(Subset { name, labels: labels(&[("v", "1")]), traffic_policy });
        }
        self.istio(meta, Body::DestinationRule(DestinationRule { spec }));
    }

    fn tls_mode(&mut self) -> TlsMode {
        let mode = self.dice.word(&["SIMPLE", "ISTIO_MUTUAL", "DISABLE"]);
        TlsMode { mode, credential_name: None }
    }

    pub(super) fn sidecar(&mut self) {
        let meta = self.meta("sidecar", &NAMESPACES);
        let mut spec = SidecarSpec::default();
        if self.dice.percent(35) {
            let mut selector = MatchLabels::default();
            if self.dice.percent(85) {
                selector.labels = labels(&[("app", self.dice.pick(&["web", "job"]))]);
            }
            spec.workload_selector = Some(selector);
        }
        if self.dice.percent(40) {
            let mode = match self.dice.below(3) {
                0 => None,
                1 => Some("REGISTRY_ONLY".to_owned()),
                _ => Some("ALLOW_ANY".to_owned()),
            };
            let has_proxy = mode.as_deref() == Some("ALLOW_ANY") && self.dice.percent(25);
            let egress_proxy = has_proxy.then(|| RouteDestination {
                host: "edge.platform.svc.cluster.local".to_owned(),
                subset: None,
                port: Some(PortNumber { number: 443 }),
            });
            spec.outbound_traffic_policy = Some(OutboundPolicy { mode, egress_proxy });
        }
        if self.dice.percent(70) || spec.outbound_traffic_policy.is_none() {
            self.listeners(&mut spec);
        }
        self.istio(meta, Body::Sidecar(Sidecar { spec }));
    }

    fn listeners(&mut self, spec: &mut SidecarSpec) {
        for number in PORTS {
            if !self.dice.percent(12) {
                continue;
            }
            let protocol = if number == 443 { "TLS" } else { "TCP" };
            let port = EntryPort {
                number,
                name: format!("p{number}"),
                protocol: protocol.to_owned(),
                target_port: None,
            };
            let mut listener = Listener { port: Some(port), ..Listener::default() };
            if self.dice.percent(15) {
                listener.bind = Some("127.0.0.1".to_owned());
                listener.capture_mode = Some("NONE".to_owned());
            }
            listener.hosts = self.imports();
            spec.egress.push(listener);
        }
        if spec.egress.is_empty() || self.dice.percent(70) {
            let hosts = self.imports();
            spec.egress.push(Listener { hosts, ..Listener::default() });
        }
    }

    fn imports(&mut self) -> Vec<String> {
        let mut items = Vec::new();
        if self.dice.percent(60) {
            items.push(self.dice.word(&["./*", "*/*", "team-a/*", "platform/*"]));
        }
        for _ in 0..self.dice.below(3) {
            let namespace = self.dice.word(&[".", "*", "team-b", "platform"]);
            let host = if self.dice.percent(50) {
                self.dice.word(&EXACT_HOSTS)
            } else {
                self.dice.word(&WILDCARDS)
            };
            let takes_away = if self.dice.percent(20) { "~" } else { "" };
            items.push(format!("{takes_away}{namespace}/{host}"));
        }
        if items.is_empty() {
            items.push(self.dice.word(&["~/*", "./*", "*/*"]));
        }
        items.dedup();
        items
    }
}

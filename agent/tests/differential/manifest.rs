//! The objects of a registry, as plain structs with the fields that matter here. Knows no rule;
//! how they are written is `yaml`'s affair.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::world::Labels;

/// An object of any kind.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) api_version: String,
    pub(crate) meta: Meta,
    pub(crate) body: Body,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    ServiceEntry(ServiceEntry),
    WorkloadEntry(WorkloadEntry),
    VirtualService(VirtualService),
    Gateway(Gateway),
    DestinationRule(DestinationRule),
    Sidecar(Sidecar),
    ExternalService(ExternalService),
    ExternalEndpoint(ExternalEndpoint),
    Service(Service),
    Endpoints(Endpoints),
    EndpointSlice(EndpointSlice),
    Pod(Pod),
    Namespace(Namespace),
    EgressPolicy(EgressPolicy),
}

macro_rules! shapes {
    ($($name:ident { $($(#[$attribute:meta])* $field:ident : $type:ty),* $(,)? })*) => {
        $(
            #[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
            #[serde(default, rename_all = "camelCase")]
            pub(crate) struct $name {
                $($(#[$attribute])* pub(crate) $field: $type,)*
            }
        )*
    };
}

shapes! {
    Meta {
        name: String,
        namespace: String,
        labels: Labels,
        annotations: Labels,
        creation_timestamp: Option<String>,
    }

    // Istio.
    ServiceEntry { spec: ServiceEntrySpec, status: ServiceEntryStatus }
    ServiceEntrySpec {
        hosts: Vec<String>,
        addresses: Vec<String>,
        ports: Vec<EntryPort>,
        location: Option<String>,
        resolution: Option<String>,
        endpoints: Vec<Endpoint>,
        workload_selector: Option<MatchLabels>,
        export_to: Vec<String>,
    }
    ServiceEntryStatus { addresses: Vec<AutoAddress> }
    AutoAddress { value: String, host: String }
    EntryPort { number: u16, name: String, protocol: String, target_port: Option<u16> }
    Endpoint {
        address: String,
        ports: BTreeMap<String, u16>,
        labels: Labels,
        weight: Option<u32>,
    }
    MatchLabels { labels: Labels }
    WorkloadEntry { spec: Endpoint }
    VirtualService { spec: VirtualServiceSpec }
    VirtualServiceSpec {
        hosts: Vec<String>,
        gateways: Vec<String>,
        export_to: Vec<String>,
        http: Vec<Rule>,
        tls: Vec<Rule>,
        tcp: Vec<Rule>,
    }
    Rule {
        #[serde(rename = "match")]
        matches: Vec<Match>,
        route: Vec<Route>,
        rewrite: Option<Uri>,
        fault: Option<Fault>,
    }
    Uri { uri: String }
    Fault {}
    Match {
        port: Option<u16>,
        gateways: Vec<String>,
        source_labels: Labels,
        source_namespace: Option<String>,
        sni_hosts: Vec<String>,
        uri: Option<Prefix>,
    }
    Prefix { prefix: String }
    Route { destination: RouteDestination, weight: Option<u32> }
    RouteDestination { host: String, subset: Option<String>, port: Option<PortNumber> }
    PortNumber { number: u16 }
    Gateway { spec: GatewaySpec }
    GatewaySpec { selector: Labels, servers: Vec<Server> }
    Server { port: EntryPort, hosts: Vec<String>, tls: Option<TlsMode> }
    TlsMode { mode: String, credential_name: Option<String> }
    DestinationRule { spec: DestinationRuleSpec }
    DestinationRuleSpec {
        host: String,
        export_to: Vec<String>,
        traffic_policy: Option<TrafficPolicy>,
        subsets: Vec<Subset>,
        workload_selector: Option<PodSelector>,
    }
    PodSelector { match_labels: Labels }
    TrafficPolicy {
        tls: Option<TlsMode>,
        tunnel: Option<Tunnel>,
        port_level_settings: Vec<PortLevel>,
    }
    Tunnel { target_host: String, target_port: u16 }
    PortLevel { port: PortNumber, tls: Option<TlsMode> }
    Subset { name: String, labels: Labels, traffic_policy: Option<TrafficPolicy> }
    Sidecar { spec: SidecarSpec }
    SidecarSpec {
        workload_selector: Option<MatchLabels>,
        egress: Vec<Listener>,
        outbound_traffic_policy: Option<OutboundPolicy>,
    }
    Listener {
        port: Option<EntryPort>,
        bind: Option<String>,
        capture_mode: Option<String>,
        hosts: Vec<String>,
    }
    OutboundPolicy { mode: Option<String>, egress_proxy: Option<RouteDestination> }

    // Gloo.
    ExternalService { spec: ExternalServiceSpec }
    ExternalServiceSpec {
        hosts: Vec<String>,
        addresses: Vec<String>,
        ports: Vec<ExternalPort>,
        selector: Labels,
    }
    ExternalPort {
        number: u16,
        name: String,
        protocol: String,
        target_port: Option<TargetPort>,
        clientside_tls: Option<TlsMode>,
    }
    TargetPort { number: Option<u16>, name: Option<String> }
    ExternalEndpoint { spec: ExternalEndpointSpec }
    ExternalEndpointSpec { address: String, ports: Vec<NamedPort> }
    NamedPort { name: String, #[serde(alias = "port")] number: u16 }

    // Kubernetes.
    Service { spec: ServiceSpec }
    ServiceSpec {
        #[serde(rename = "type")]
        kind: Option<String>,
        #[serde(rename = "clusterIP")]
        cluster_ip: Option<String>,
        #[serde(rename = "clusterIPs")]
        cluster_ips: Vec<String>,
        external_name: Option<String>,
        selector: Labels,
        ports: Vec<ServicePort>,
    }
    ServicePort { name: String, protocol: Option<String>, port: u16 }
    Endpoints { subsets: Vec<EndpointSubset> }
    EndpointSubset {
        addresses: Vec<EndpointIp>,
        not_ready_addresses: Vec<EndpointIp>,
        ports: Vec<ServicePort>,
    }
    EndpointIp { ip: String }
    EndpointSlice {
        address_type: String,
        endpoints: Vec<SliceEndpoint>,
        ports: Vec<ServicePort>,
    }
    SliceEndpoint { addresses: Vec<String>, conditions: Ready }
    Ready { ready: Option<bool> }
    Pod { spec: PodSpec, status: PodStatus }
    PodSpec { containers: Vec<Container> }
    Container { name: String, ports: Vec<ContainerPort> }
    ContainerPort { name: String, container_port: u16, protocol: Option<String> }
    PodStatus {
        #[serde(rename = "podIP")]
        pod_ip: Option<String>,
        phase: String,
        conditions: Vec<Condition>,
    }
    Condition {
        #[serde(rename = "type")]
        kind: String,
        status: String,
    }
    Namespace {}

    // Alibaba ASM.
    EgressPolicy { spec: EgressPolicySpec, status: EgressPolicyStatus }
    EgressPolicyStatus { auto_allocated_gateway_ports: BTreeMap<String, u16> }
    EgressPolicySpec { by_egress_gateway: GatewayName, egress_rules: Vec<EgressRule> }
    GatewayName { name: String, port: Option<u16> }
    EgressRule { name: Option<String>, from: Vec<EgressFrom>, to: Vec<EgressTo> }
    EgressFrom { namespace: String, workload_selector: Labels }
    EgressTo {
        name: String,
        hosts: Vec<String>,
        port: EntryPort,
        by_egress_gateway: Option<GatewayPort>,
    }
    GatewayPort { port: u16 }
}

impl Object {
    pub(crate) fn kind(&self) -> &'static str {
        match self.body {
            Body::ServiceEntry(_) => "ServiceEntry",
            Body::WorkloadEntry(_) => "WorkloadEntry",
            Body::VirtualService(_) => "VirtualService",
            Body::Gateway(_) => "Gateway",
            Body::DestinationRule(_) => "DestinationRule",
            Body::Sidecar(_) => "Sidecar",
            Body::ExternalService(_) => "ExternalService",
            Body::ExternalEndpoint(_) => "ExternalEndpoint",
            Body::Service(_) => "Service",
            Body::Endpoints(_) => "Endpoints",
            Body::EndpointSlice(_) => "EndpointSlice",
            Body::Pod(_) => "Pod",
            Body::Namespace(_) => "Namespace",
            Body::EgressPolicy(_) => "ASMEgressTrafficPolicy",
        }
    }
}

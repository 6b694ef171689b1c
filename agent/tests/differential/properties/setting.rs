//! A world as the agent gets it: manifests, configuration, and all its clients on one node.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use exeat_agent::{
    config::{Config, ExternalName, GatewayTransport, Matching, Mode, Scope},
    policy::{
        answers::Answers,
        compile::{Compiled, Input, compile},
        ids::Ids,
    },
    registry::{
        Registry, cidr,
        host::HostPattern,
        load::Loaded,
        object::{self, Read},
    },
    trial::{Attempt, Lookup, Outcome, Protocol, Trial, TrialClient},
    workloads::{PlacedWorkload, Workload, WorkloadKey},
};
use hickory_proto::rr::Name;
use serde_json::json;
use serde_yaml::Value;

use super::super::{
    world::{Client, Flow, World},
    yaml,
};

const RESOLVER: &str = "10.96.0.10";
const CLUSTER: [&str; 2] = ["10.244.0.0/16", "10.96.0.0/12"];
/// Seconds.
const TTL: u32 = 60;

/// What the agent knows of a world beside its objects.
pub(super) struct Setting {
    pub(super) config: Config,
    answers: Answers,
}

impl Setting {
    pub(super) fn new(world: &World) -> Self {
        let resolved = world.resolve.iter().map(|(name, ips)| {
            let host = HostPattern::parse(name).expect("a host");
            (host, ips.iter().map(|it| ip(it)).collect())
        });
        let answers = Answers { resolved: resolved.collect(), virtual_addresses: BTreeMap::new() };
        Self { config: config(world), answers }
    }

    pub(super) fn compile(
        &self,
        registry: &Registry,
        workloads: &[PlacedWorkload],
        ids: &mut Ids,
    ) -> Compiled {
        let Self { config, answers } = self;
        compile(&Input { registry, config, workloads, answers }, ids)
    }

    pub(super) fn trial(&self, registry: &Registry, client: &Client) -> Trial {
        Trial::new(registry, &self.config, &self.answers, &trial_client(client))
    }
}

/// Judges flows of one world, each client on a node of its own.
pub(super) struct Alone {
    setting: Setting,
    pub(super) loaded: Loaded,
    trials: BTreeMap<Client, Trial>,
}

impl Alone {
    pub(super) fn new(world: &World) -> Self {
        let loaded = load(&documents(world));
        Self { setting: Setting::new(world), loaded, trials: BTreeMap::new() }
    }

    pub(super) fn judge(&mut self, flow: &Flow) -> Outcome {
        let Self { setting, loaded, trials } = self;
        let trial = trials
            .entry(flow.client.clone())
            .or_insert_with_key(|client| setting.trial(&loaded.registry, client));
        trial.judge(&attempt(flow))
    }
}

/// Every object of a world as a manifest, the settings of its mesh as Istio's `ConfigMap`.
pub(super) fn documents(world: &World) -> Vec<Value> {
    let objects = world.registry.iter().map(yaml::document);
    let mesh = world.mesh.as_ref().map(|mesh| {
        let settings = given(serde_json::to_value(mesh).expect("plain data"));
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": "istio", "namespace": "istio-system" },
            "data": { "mesh": settings.to_string() },
        })
    });
    objects.chain(mesh).map(|it| serde_yaml::to_value(it).expect("plain data")).collect()
}

/// Without the fields that are not given.
fn given(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    let is_given = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => true,
    };
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, field)| is_given(field));
            Value::Object(fields.map(|(key, field)| (key, given(field))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(given).collect()),
        other => other,
    }
}

pub(super) fn load(documents: &[Value]) -> Loaded {
    let reads: Vec<Read> = documents.iter().map(object::read).collect();
    Loaded::of(reads)
}

/// Every client of some flow, once.
pub(super) fn clients(flows: &[Flow]) -> Vec<Client> {
    let clients: BTreeSet<&Client> = flows.iter().map(|it| &it.client).collect();
    clients.into_iter().cloned().collect()
}

/// The clients on one node. Their cgroup ids are their places, from 1 on.
pub(super) fn place(clients: &[Client]) -> Vec<PlacedWorkload> {
    let place = |(number, client): (u64, &Client)| PlacedWorkload {
        workload: Workload {
            key: WorkloadKey {
                namespace: client.namespace.clone(),
                name: format!("client-{number}"),
            },
            labels: client.labels.clone(),
            cgroup: Some(format!("/{number}").into()),
            interface: Some(format!("client-{number}")),
            arrives_past_interface: false,
            netns: None,
            addresses: Vec::new(),
            sidecar_cgroup: client.sidecar.then(|| format!("/{number}/sidecar").into()),
            is_ambient: client.ambient,
            is_exempt: client.host_network,
        },
        cgroup_id: Some(number),
        cgroup_depth: Some(1),
        ifindex: u32::try_from(number).ok(),
        netns_cookie: None,
        sidecar_cgroup_id: client.sidecar.then_some(1000 + number),
    };
    (1..).zip(clients).map(place).collect()
}

pub(super) fn trial_client(client: &Client) -> TrialClient {
    TrialClient {
        namespace: client.namespace.clone(),
        labels: client.labels.clone(),
        has_sidecar: client.sidecar,
        is_ambient: client.ambient,
        is_host_network: client.host_network,
    }
}

pub(super) fn attempt(flow: &Flow) -> Attempt {
    let lookup = |name: &String| Lookup {
        name: Name::from_ascii(name).expect("a name"),
        answers: match &flow.answers {
            Some(answers) => answers.iter().map(|it| ip(it)).collect(),
            None => vec![ip(&flow.dest.ip)],
        },
        cname: flow.cname.iter().map(|it| Name::from_ascii(it).expect("a name")).collect(),
        resolver: SocketAddr::new(ip(flow.resolver.as_deref().unwrap_or(RESOLVER)), 53),
        ttl: flow.ttl.unwrap_or(TTL),
        age: flow.age.unwrap_or(0),
    };
    Attempt {
        lookups: flow.dns.iter().chain(&flow.also).map(lookup).collect(),
        ip: ip(&flow.dest.ip),
        port: flow.dest.port,
        protocol: if flow.dest.proto == "udp" { Protocol::Udp } else { Protocol::Tcp },
    }
}

/// The names that a flow's destination may have been learned of.
pub(super) fn names(flow: &Flow) -> Vec<HostPattern> {
    let is_believed = flow.resolver.is_none()
        && flow.answers.as_ref().is_none_or(|it| it.contains(&flow.dest.ip));
    let names = flow.dns.iter().chain(&flow.also).filter(|_| is_believed);
    names.map(|it| HostPattern::parse(it).expect("a name")).collect()
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse::<IpAddr>().expect("an address").to_canonical()
}

fn config(world: &World) -> Config {
    let agent = &world.agent;
    let is = |given: &Option<String>, word: &str| given.as_deref() == Some(word);
    let mut config = Config::offline();
    if world.mode != "REGISTRY_ONLY" {
        config.mode = Mode::AllowAny;
    }
    if is(&agent.matching, "istio-compat") {
        config.matching = Matching::IstioCompat;
    }
    if is(&agent.external_name, "alias") {
        config.external_name = ExternalName::Alias;
    }
    config.scope = if is(&agent.scope, "external") { Scope::External } else { Scope::All };
    config.gateway_transport = if is(&agent.gateway_transport, "mtls") {
        GatewayTransport::Mtls
    } else {
        GatewayTransport::Plain
    };
    config.sidecar_may_relax = agent.sidecar_may_relax.unwrap_or(true);
    config.cluster_cidrs = CLUSTER.iter().map(|it| cidr::parse(it).expect("a prefix")).collect();
    config.dns.resolvers = vec![SocketAddr::new(ip(RESOLVER), 53)];
    config
}

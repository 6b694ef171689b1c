//! What is tested, behind one trait: the registry read and compiled by the agent's own code, the
//! flow judged as the kernel does it.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use exeat_agent::{
    config::{Config, ExternalName, GatewayTransport, Matching, Mode, Scope},
    policy::answers::Answers,
    registry::{
        cidr,
        host::HostPattern,
        istio::mesh::Mesh,
        load::Loaded,
        object::{self, Content, Read},
        report::{ObjectRef, Severity},
    },
    trial::{Attempt, Lookup, Protocol, Trial, TrialClient},
};
use exeat_common::reason::Reason;
use hickory_proto::rr::Name;
use serde_json::Value;

use super::{
    world::{Client, Flow, World},
    yaml,
};

const RESOLVER: &str = "10.96.0.10";
const CLUSTER: [&str; 2] = ["10.244.0.0/16", "10.96.0.0/12"];
/// Seconds.
const TTL: u32 = 60;

/// The verdict about a flow, in the words of case files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Answer {
    pub(crate) verdict: String,
    pub(crate) reason: String,
    pub(crate) rewrite: Option<BTreeSet<String>>,
    pub(crate) via: Option<String>,
    /// What decided, for the reader of a failure.
    pub(crate) entry: String,
    /// The question for the name was answered from the registry, so that nobody heard of the address.
    pub(crate) is_answered_here: bool,
}

/// One that judges the flows of one world.
pub(crate) trait Judge {
    fn new(world: &World) -> Self;
    /// `Kind/namespace/name` of every object that was refused.
    fn refused(&self) -> BTreeSet<String>;
    /// Why.
    fn complaints(&self) -> Vec<String>;
    fn judge(&self, flow: &Flow) -> Answer;
}

/// The agent.
pub(crate) struct Agent {
    loaded: Loaded,
    config: Config,
    answers: Answers,
    trials: RefCell<BTreeMap<Client, Trial>>,
}

impl Judge for Agent {
    fn new(world: &World) -> Self {
        let documents: Vec<serde_yaml::Value> = world
            .registry
            .iter()
            .map(|it| serde_yaml::to_value(yaml::document(it)).expect("plain data"))
            .collect();
        let mut reads: Vec<Read> = documents.iter().map(object::read).collect();
        reads.extend(mesh(world));
        let resolved = world
            .resolve
            .iter()
            .map(|(name, ips)| {
                let host = HostPattern::parse(name).expect("a host");
                (host, ips.iter().map(|it| ip(it)).collect())
            })
            .collect();
        Self {
            loaded: Loaded::of(reads),
            config: config(world),
            answers: Answers { resolved, virtual_addresses: BTreeMap::new() },
            trials: RefCell::default(),
        }
    }

    fn refused(&self) -> BTreeSet<String> {
        let reports = self.loaded.reports.iter();
        reports
            .filter(|it| it.severity == Severity::Error)
            .map(|it| it.object.to_string())
            .collect()
    }

    fn complaints(&self) -> Vec<String> {
        let reports = self.loaded.reports.iter();
        let errors = reports.filter(|it| it.severity == Severity::Error);
        errors.map(|it| format!("{} {} {}", it.object, it.code.as_str(), it.message)).collect()
    }

    fn judge(&self, flow: &Flow) -> Answer {
        let mut trials = self.trials.borrow_mut();
        let trial = trials.entry(flow.client.clone()).or_insert_with_key(|client| {
            Trial::new(&self.loaded.registry, &self.config, &self.answers, &trial_client(client))
        });
        let outcome = trial.judge(&attempt(flow));
        let is_answered_here = outcome.heard().contains(&Reason::AnsweredHere);
        Answer {
            is_answered_here,
            verdict: outcome.verdict.as_str().to_owned(),
            reason: outcome.reason.clone(),
            rewrite: outcome.rewrite.map(|set| set.iter().map(ToString::to_string).collect()),
            via: outcome.via,
            entry: outcome.entry.map(|it| it.to_string()).unwrap_or_default(),
        }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn mesh(world: &World) -> Option<Read> {
    let settings = serde_json::to_value(world.mesh.as_ref()?).expect("plain data");
    let settings = without_nothing(settings);
    let settings = serde_yaml::to_value(settings).expect("plain data");
    let object = ObjectRef::clone(&Mesh::default().header.object);
    let checked = Mesh::check_settings(&settings, "mesh");
    let content = checked.value.map(|mesh| Content::Mesh(mesh.into()));
    Some(Read { object: object.into(), content, reports: checked.reports })
}

/// Without the fields that are not given.
fn without_nothing(value: Value) -> Value {
    let is_given = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => true,
    };
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(_, field)| is_given(field))
                .map(|(key, field)| (key, without_nothing(field)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nothing).collect()),
        other => other,
    }
}

fn config(world: &World) -> Config {
    let mut config = Config::offline();
    let agent = &world.agent;
    config.mode = if world.mode == "REGISTRY_ONLY" { Mode::RegistryOnly } else { Mode::AllowAny };
    config.matching = match agent.matching.as_deref() {
        Some("istio-compat") => Matching::IstioCompat,
        _ => Matching::Strict,
    };
    config.external_name = match agent.external_name.as_deref() {
        Some("alias") => ExternalName::Alias,
        _ => ExternalName::Declare,
    };
    config.scope = match agent.scope.as_deref() {
        Some("external") => Scope::External,
        _ => Scope::All,
    };
    config.gateway_transport = match agent.gateway_transport.as_deref() {
        Some("mtls") => GatewayTransport::Mtls,
        _ => GatewayTransport::Plain,
    };
    config.sidecar_may_relax = agent.sidecar_may_relax.unwrap_or(true);
    config.cluster_cidrs = CLUSTER.iter().map(|it| cidr::parse(it).expect("a prefix")).collect();
    config.dns.resolvers = vec![SocketAddr::new(ip(RESOLVER), 53)];
    config
}

fn trial_client(client: &Client) -> TrialClient {
    TrialClient {
        namespace: client.namespace.clone(),
        labels: client.labels.clone(),
        has_sidecar: client.sidecar,
        is_ambient: client.ambient,
        is_host_network: client.host_network,
    }
}

fn attempt(flow: &Flow) -> Attempt {
    let names = flow.dns.iter().chain(&flow.also);
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
        lookups: names.map(lookup).collect(),
        ip: ip(&flow.dest.ip),
        port: flow.dest.port,
        protocol: if flow.dest.proto == "udp" { Protocol::Udp } else { Protocol::Tcp },
    }
}

//! What a case gives the agent: its registry, its configuration, and what it resolved.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::raw;
use crate::{
    config::{Config, Mode, Scope},
    policy::answers::Answers,
    registry::{
        cidr, document,
        host::HostPattern,
        istio::mesh::Mesh,
        load::Loaded,
        object::{self, Content, Read},
        report::{Code, ObjectRef, Report},
    },
};

/// The cluster resolver of the cases.
const RESOLVER: &str = "10.96.0.10:53";
/// Pods and Services of the cases.
const CLUSTER_CIDRS: [&str; 2] = ["10.244.0.0/16", "10.96.0.0/12"];
const GRACE_SECONDS: u32 = 30;

/// Reads the manifests of a case, and the settings of its mesh.
pub(super) fn registry(case: &raw::Case) -> Loaded {
    let mut objects = Vec::new();
    for document in &case.registry {
        document::unfold(document.clone(), &mut objects);
    }
    let mut reads: Vec<Read> = objects.iter().map(object::read).collect();
    reads.extend(mesh(case));
    Loaded::of(reads)
}

/// The settings of the mesh, as an object among the others.
fn mesh(case: &raw::Case) -> Option<Read> {
    let is_dynamic = case.mode == raw::Mode::AllowAnyDynamicDns;
    if case.mesh.is_none() && !is_dynamic {
        return None;
    }
    let object = ObjectRef::clone(&Mesh::default().header.object);
    let (content, mut reports) = match &case.mesh {
        Some(settings) => {
            let checked = Mesh::check_settings(settings, "mesh");
            (checked.value.map(|mesh| Content::Mesh(mesh.into())), checked.reports)
        }
        None => (None, Vec::new()),
    };
    if is_dynamic {
        reports.push(Report::new(
            Code::ModeDynamicForwardProxy,
            &object,
            "mode",
            "unknown destinations are allowed as they are dialled; no proxy resolves them again",
        ));
    }
    Some(Read { object: object.into(), content, reports })
}

/// The configuration that a case means.
pub(super) fn config(case: &raw::Case) -> Config {
    let raw::Agent {
        matching,
        external_name,
        scope,
        gateway_transport,
        sidecar_may_relax,
        trusted_resolvers,
        dns_grace_seconds,
        cluster_cidrs,
        internal_domains,
        vips: _,
    } = &case.agent;
    let mut config = Config::offline();
    config.mode = match case.mode {
        raw::Mode::RegistryOnly => Mode::RegistryOnly,
        raw::Mode::AllowAny | raw::Mode::AllowAnyDynamicDns => Mode::AllowAny,
    };
    config.matching = *matching;
    config.external_name = *external_name;
    config.scope = scope.unwrap_or(Scope::All);
    config.gateway_transport = *gateway_transport;
    config.sidecar_may_relax = sidecar_may_relax.unwrap_or(true);
    config.cluster_cidrs = match cluster_cidrs {
        Some(given) => given.iter().map(|it| it.0).collect(),
        None => CLUSTER_CIDRS.iter().filter_map(|it| cidr::parse(it)).collect(),
    };
    config.dns.resolvers = match trusted_resolvers {
        Some(given) => given.iter().map(|it| it.0).collect(),
        None => RESOLVER.parse().into_iter().collect(),
    };
    let grace = dns_grace_seconds.unwrap_or(GRACE_SECONDS);
    config.dns.grace = Duration::from_secs(u64::from(grace));
    if let Some(given) = internal_domains {
        config.dns.internal_domains = given.iter().map(|it| it.0.clone()).collect();
    }
    config
}

/// The addresses that a case gives for names.
pub(super) fn answers(case: &raw::Case) -> Answers {
    Answers { resolved: addresses(&case.resolve), virtual_addresses: addresses(&case.agent.vips) }
}

fn addresses(
    given: &BTreeMap<raw::Host, raw::OneOrMany<IpAddr>>,
) -> BTreeMap<HostPattern, Vec<IpAddr>> {
    given.iter().map(|(host, list)| (host.0.clone(), list.clone().into_vec())).collect()
}

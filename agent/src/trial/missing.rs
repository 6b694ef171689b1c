//! What a denied flow lacks: found by asking the compiled registry again, with one thing changed.

use std::collections::BTreeSet;

use exeat_common::reason::Reason;
use serde::Serialize;

use super::{Attempt, Outcome, Trial, TrialClient, Verdict, protocol_name};
use crate::{
    config::Config,
    policy::{answers::Answers, directory::Nearest},
    registry::{Registry, host::HostPattern},
};

/// What there would have to be for the flow to pass.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Missing {
    pub what: Lack,
    pub sentence: String,
}

/// What is missing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lack {
    /// The destination is declared on other ports.
    Port,
    /// The host is declared nowhere.
    Host,
    /// The address is declared nowhere, and no name was asked for.
    Address,
    /// The host is declared, but only workloads of other namespaces see that.
    Visibility,
    /// The host is declared and seen, but nothing opens this address by that name: the entry is
    /// matched by its own addresses, for example.
    AddressOfEntry,
    /// The answer named an address that no answer may open.
    PublicAddress,
    /// Who answered is not trusted.
    TrustedResolver,
    /// The answer is too old.
    FreshAnswer,
    /// It is declared, but its rule denies it: it would need a proxy, an endpoint or a route.
    Enforceable,
}

/// What a trial was made from.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    pub registry: &'a Registry,
    pub config: &'a Config,
    pub answers: &'a Answers,
}

impl Trial {
    /// The entry of the whole registry that is nearest to the name that was asked for.
    pub fn nearest(&self, attempt: &Attempt) -> Option<Nearest> {
        self.directory.nearest(&asked(attempt)?)
    }

    /// What a denied flow lacks; none if it was not denied.
    pub fn missing(
        &self,
        world: World<'_>,
        attempt: &Attempt,
        outcome: &Outcome,
    ) -> Option<Missing> {
        if outcome.verdict != Verdict::Deny {
            return None;
        }
        let lacks = |what, sentence: String| Some(Missing { what, sentence });
        if outcome.step == 4 {
            return lacks(Lack::Enforceable, outcome.sentence.clone());
        }
        if outcome.decision.reason == Reason::NameExpired {
            return lacks(Lack::FreshAnswer, "the workload has to ask for the name again".into());
        }
        if let (Some(subject), Reason::PortNotDeclared) =
            (&outcome.subject, outcome.decision.reason)
        {
            let ports = self.ports(outcome);
            let declared = if ports.is_empty() { "no port".to_owned() } else { ports.join(", ") };
            let Attempt { port, protocol, .. } = attempt;
            let sentence =
                format!("{subject} declares {declared} for this workload, not {port}/{protocol}");
            return lacks(Lack::Port, sentence);
        }
        let Some(name) = asked(attempt) else {
            let ip = attempt.ip;
            let sentence = format!(
                "no entry that the workload may use declares the address {ip}; if a declared host has it, the workload has to learn that from a trusted resolver"
            );
            return lacks(Lack::Address, sentence);
        };
        self.missing_name(world, attempt, outcome, &name)
    }

    /// As above, where a name was asked for and taught nothing that helps.
    fn missing_name(
        &self,
        world: World<'_>,
        attempt: &Attempt,
        outcome: &Outcome,
        name: &str,
    ) -> Option<Missing> {
        let lacks = |what, sentence: String| Some(Missing { what, sentence });
        match outcome.decision.heard.first() {
            Some(Reason::NotRegistered) => {
                let sentence = "the answer did not come from a trusted resolver".to_owned();
                return lacks(Lack::TrustedResolver, sentence);
            }
            Some(Reason::AddressGuarded) => {
                let sentence = format!(
                    "{name} is declared, but {} is internal (loopback, link-local, multicast or inside clusterCidrs), and no DNS answer opens such an address",
                    attempt.ip
                );
                return lacks(Lack::PublicAddress, sentence);
            }
            _ => {}
        }
        let nearest = self.nearest(attempt);
        let covering = nearest.filter(|nearest| covers(&nearest.pattern, name));
        let Some(covering) = covering else {
            return lacks(Lack::Host, format!("no entry declares the host {name}"));
        };
        let namespace = &self.client.namespace;
        let owner = &covering.entry.namespace;
        if owner != namespace && self.is_allowed_in(owner, world, attempt) {
            let sentence = format!(
                "{covering} declares it, but workloads in namespace {namespace} do not see that entry: its exportTo, a Sidecar or another setting of the mesh hides it"
            );
            return lacks(Lack::Visibility, sentence);
        }
        let sentence = if outcome.is_name_refused() {
            format!(
                "{covering} declares it, but opens nothing by that name here: it is matched by its addresses, is hidden by a Sidecar, or has no port that can be used"
            )
        } else {
            format!("{covering} declares the name, but no answer ties it to {}", attempt.ip)
        };
        lacks(Lack::AddressOfEntry, sentence)
    }

    /// Whether a like workload in another namespace would get through.
    fn is_allowed_in(&self, namespace: &str, world: World<'_>, attempt: &Attempt) -> bool {
        let client = TrialClient { namespace: namespace.to_owned(), ..self.client.clone() };
        let trial = Self::new(world.registry, world.config, world.answers, &client);
        trial.judge(attempt).verdict != Verdict::Deny
    }

    /// Which ports of the subject are declared.
    fn ports(&self, outcome: &Outcome) -> Vec<String> {
        let Some(workload) = self.workload else { return Vec::new() };
        let grants = self.directory.grants(workload.policy, outcome.decision.subject);
        let ports: BTreeSet<(u16, u8)> = grants.iter().map(|it| (it.port, it.protocol)).collect();
        ports
            .iter()
            .map(|(port, protocol)| format!("{port}/{}", protocol_name(*protocol)))
            .collect()
    }
}

/// The name that was asked for, as registries write names.
fn asked(attempt: &Attempt) -> Option<String> {
    let name = attempt.lookups.first()?.name.to_ascii().to_ascii_lowercase();
    Some(name.strip_suffix('.').unwrap_or(&name).to_owned())
}

fn covers(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (HostPattern::parse(pattern), HostPattern::parse(name));
    matches!((pattern, name), (Ok(pattern), Ok(name)) if pattern == name || pattern.covers(&name))
}

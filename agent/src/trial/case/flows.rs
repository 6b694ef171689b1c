//! The flows of a case: its registry compiled for every client, and each flow judged by that.
//! What a case expects of them plays no part.

use std::collections::{BTreeMap, BTreeSet};

use super::{Case, raw, settings};
use crate::{
    config::Config,
    registry::report::Report,
    trial::{Attempt, Lookup, Outcome, Trial, TrialClient},
};

/// A case whose registry is compiled for every client of its flows.
#[derive(Debug)]
pub struct CompiledCase<'a> {
    case: &'a raw::Case,
    config: Config,
    trials: BTreeMap<TrialClient, Trial>,
    /// What reading and compiling had to say, for all clients.
    pub(super) reports: BTreeSet<Report>,
}

/// One flow of a case, as it was judged.
#[derive(Debug)]
pub struct JudgedFlow<'a> {
    /// Place in `expect`, from 0 on.
    pub index: usize,
    /// The registry as it is compiled for the client.
    pub trial: &'a Trial,
    pub attempt: Attempt,
    pub outcome: Outcome,
    /// It needs a part that is not built, so that nothing can be expected of its outcome.
    pub is_skipped: bool,
    pub(super) wanted: &'a raw::Flow,
}

impl Case {
    /// Compiles the registry of the case.
    pub fn compile(&self) -> CompiledCase<'_> {
        let case = &self.0;
        let loaded = settings::registry(case);
        let config = settings::config(case);
        let answers = settings::answers(case);
        let mut trials: BTreeMap<TrialClient, Trial> = BTreeMap::new();
        let mut reports: BTreeSet<Report> = loaded.reports.iter().cloned().collect();
        for flow in &case.expect {
            trials.entry(client(flow)).or_insert_with_key(|client| {
                let trial = Trial::new(&loaded.registry, &config, &answers, client);
                reports.extend(trial.reports().iter().cloned());
                trial.with_reports(&loaded.reports)
            });
        }
        CompiledCase { case, config, trials, reports }
    }
}

impl CompiledCase<'_> {
    /// Every flow in its order, judged as it is asked for.
    pub fn flows(&self) -> impl Iterator<Item = JudgedFlow<'_>> {
        self.case.expect.iter().enumerate().filter_map(|(index, wanted)| {
            // Each client of the case has one.
            let trial = self.trials.get(&client(wanted))?;
            let attempt = attempt(wanted, &self.config);
            let outcome = trial.judge(&attempt);
            let is_skipped = wanted.requires.iter().any(|part| !part.is_built());
            Some(JudgedFlow { index, trial, attempt, outcome, is_skipped, wanted })
        })
    }
}

fn client(flow: &raw::Flow) -> TrialClient {
    let raw::Client { namespace, labels, sidecar, ambient, host_network } = flow.client.clone();
    TrialClient {
        namespace,
        labels,
        has_sidecar: sidecar,
        is_ambient: ambient,
        is_host_network: host_network,
    }
}

fn attempt(flow: &raw::Flow, config: &Config) -> Attempt {
    let resolver = flow.resolver.as_ref().map(|it| it.0).or(config.dns.resolvers.first().copied());
    // Without a trusted resolver nobody can have answered.
    let lookup = flow.dns.as_ref().zip(resolver).map(|(name, resolver)| Lookup {
        name: name.0.clone(),
        answers: flow.answers.clone().unwrap_or_else(|| vec![flow.dest.ip]),
        cname: flow.cname.iter().map(|it| it.0.clone()).collect(),
        resolver,
        ttl: flow.ttl,
        age: flow.age,
    });
    let raw::Destination { ip, port, proto } = flow.dest;
    Attempt { lookups: lookup.into_iter().collect(), ip, port, protocol: proto }
}

//! Compiled alone or with others, a client gets the same verdicts: policies and names that
//! workloads share are no concern of each of them.
//!
//! Of two equally specific names of one address either may decide; the verdict is the same.

use std::collections::BTreeSet;

use exeat_agent::{
    policy::ids::Ids,
    registry::report::ObjectRef,
    trial::{Outcome, Trial},
};

use super::{
    super::{
        dice::Dice,
        generate,
        world::{Client, Flow, World},
        yaml,
    },
    Tally, assert_seen, count, each_seed,
    setting::{Setting, attempt, clients, documents, load, place, trial_client},
};

const CASES: u64 = 200;
/// Clients of a world that are judged.
const JUDGED: usize = 3;

#[test]
fn a_client_among_others_is_judged_as_alone() {
    let tally = each_seed(CASES, check);
    let seen = [
        ("allow", 1_000),
        ("deny", 1_000),
        ("redirect-sidecar", 200),
        ("redirect-gateway", 100),
        ("rewritten", 200),
        ("shared policy", 100),
    ];
    assert_seen(&tally, &seen);
}

fn check(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let world = generate::world(seed);
    let flows = with_second_names(&mut Dice::new(!seed), &world.expect);
    let setting = Setting::new(&world);
    let loaded = load(&documents(&world));
    let mut judged = clients(&world.expect);
    let mut everybody = crowd(&judged);
    let workloads = place(&everybody);
    let compiled = setting.compile(&loaded.registry, &workloads, &mut Ids::default());
    let policies: BTreeSet<u32> =
        compiled.image.by_cgroup.values().map(|it| it.policy.raw()).collect();
    if policies.len() < everybody.len() {
        count(tally, "shared policy");
    }
    judged.extend(everybody.split_off(judged.len()).into_iter().take(JUDGED));
    for (cgroup, client) in (1..).zip(&judged) {
        let alone = setting.trial(&loaded.registry, client);
        let among = Trial::among(compiled.clone(), &trial_client(client), cgroup);
        for flow in &flows {
            let attempt = attempt(flow);
            let [one, many] = [&alone, &among].map(|it| it.judge(&attempt));
            if said(&one) == said(&many) {
                count(tally, one.verdict.as_str());
            } else if one.verdict == many.verdict && is_of_one_name(&alone, flow, &many) {
                // Two names that are equally specific: the verdict is the same, whoever decides.
                count(tally, "another name decides");
            } else {
                let mut flow = flow.clone();
                flow.client = client.clone();
                let case = yaml::case(&World { expect: vec![flow.clone()], ..world });
                return Err(format!("{:?}\n{one:#?}\namong others\n{many:#?}\n{case}", flow.also));
            }
            if one.rewrite.is_some() {
                count(tally, "rewritten");
            }
        }
    }
    Ok(())
}

/// Whether an outcome among others is that of one of two names of an address, asked for alone.
fn is_of_one_name(alone: &Trial, flow: &Flow, many: &Outcome) -> bool {
    let names = [&flow.dns, &flow.also];
    flow.also.is_some()
        && names.into_iter().any(|name| {
            let flow = Flow { dns: name.clone(), also: None, ..flow.clone() };
            said(&alone.judge(&attempt(&flow))) == said(many)
        })
}

/// The flows, and some of them once more with another name for their address.
fn with_second_names(dice: &mut Dice, flows: &[Flow]) -> Vec<Flow> {
    let mut all = flows.to_vec();
    for flow in flows.iter().filter(|it| it.dns.is_some()) {
        let other = &flows[dice.below(flows.len())].dns;
        if *other != flow.dns {
            all.push(Flow { also: other.clone(), ..flow.clone() });
        }
    }
    all
}

/// The clients of the flows, and others of every namespace.
fn crowd(judged: &[Client]) -> Vec<Client> {
    let mut crowd = judged.to_vec();
    for namespace in ["team-a", "team-b", "platform", "istio-system"] {
        for app in ["web", "job"] {
            for sidecar in [false, true] {
                let labels = [("app".to_owned(), app.to_owned())].into();
                let namespace = namespace.to_owned();
                let client = Client { namespace, labels, sidecar, ..Client::default() };
                if !crowd.contains(&client) {
                    crowd.push(client);
                }
            }
        }
    }
    crowd
}

/// All that does not speak of the tables: which pattern of a name is found depends on all patterns
/// there are.
fn said(outcome: &Outcome) -> impl PartialEq + use<'_> {
    let Outcome { verdict, reason, entry, rewrite, via, .. } = outcome;
    // A name that only others may use is known to the tables, so that it is the port that lacks.
    let reason = if reason == "port-not-declared" { "not-registered" } else { reason };
    (verdict, reason, entry.as_ref().map(ObjectRef::to_string), rewrite, via)
}

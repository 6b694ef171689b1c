//! The way from one random world's tables to another's: it arrives, and every flow is judged at
//! every step as one of the two would judge it, so that no step opens what neither has open.

use std::{array, collections::BTreeMap};

use exeat_agent::{
    policy::{
        compile::Compiled,
        diff::diff,
        ids::Ids,
        image::{Image, MapOp},
        image_tables::{Facts, ImageTables},
    },
    registry::host::HostPattern,
};
use exeat_common::{
    abi::{Fact, FactKey, FactValue, NameKeyLong, NameValue},
    decide::{Decision, Tables, decide},
    flow::{Flow, protocol},
    id::SubjectId,
    limits::FACT_SLOTS,
    reason::Verdict,
};

use super::{
    super::{
        dice::Dice,
        generate,
        manifest::{
            Body, Meta, Object, OutboundPolicy, PortNumber, RouteDestination, Sidecar, SidecarSpec,
        },
        world::{self, Client, World},
        yaml,
    },
    Tally, assert_seen, count, each_seed,
    setting::{Setting, clients, documents, ip, load, names, place},
};

const CASES: u64 = 60;
const NOW: u32 = 1000;

#[test]
fn every_step_judges_as_one_of_the_ends() {
    let tally = each_seed(CASES, check);
    let seen = [
        ("steps", 3_000),
        ("opened", 100),
        ("closed", 100),
        ("sent elsewhere", 30),
        ("open throughout", 50),
        ("denied throughout", 300),
        ("targets", 50),
        ("anywhere", 8),
        ("default target", 5),
        ("restart", 10),
    ];
    assert_seen(&tally, &seen);
}

fn check(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut dice = Dice::new(!seed);
    // The second one is often the first with some objects of another.
    let [before, mut from, other] = [0, 1, 2].map(|it| generate::world(seed + it * CASES));
    open_more(&mut dice, &mut from);
    let mut to = other;
    if dice.percent(60) {
        let mut registry = from.registry.clone();
        registry.retain(|_| dice.percent(70));
        let mine = |name: &str| registry.iter().any(|it| it.meta.name == name);
        let more: Vec<_> = to.registry.drain(..).filter(|it| !mine(&it.meta.name)).collect();
        registry.extend(more.into_iter().filter(|_| dice.percent(50)));
        to = World { registry, expect: to.expect, ..from.clone() };
    }
    open_more(&mut dice, &mut to);
    let flows: Vec<world::Flow> = from.expect.iter().chain(&to.expect).cloned().collect();
    let clients = clients(&flows);
    let mut ids = Ids::default();
    compile(&before, &clients, &mut ids);
    let a = compile(&from, &clients, &mut ids).image;
    if dice.percent(30) {
        count(tally, "restart");
        ids = Ids::seeded(&a);
    }
    let b = compile(&to, &clients, &mut ids).image;
    note(&a, &b, tally);
    let attempts: Vec<Attempt> = flows.iter().map(|it| Attempt::new(it, &clients)).collect();
    walk(&a, &b, &attempts, tally)
        .map_err(|wrong| format!("{wrong}\nfrom\n{}\nto\n{}", yaml::case(&from), yaml::case(&to)))
}

/// Adds what random worlds seldom have: ports that are open to every address, and a gateway for
/// all that nothing declares.
fn open_more(dice: &mut Dice, world: &mut World) {
    if dice.percent(30) {
        world.agent.matching = Some("istio-compat".to_owned());
    }
    let edge = |it: &Object| it.meta.name == "edge" && it.kind() == "Service";
    if !dice.percent(30) || !world.registry.iter().any(edge) {
        return;
    }
    let egress_proxy = RouteDestination {
        host: "edge.platform.svc.cluster.local".to_owned(),
        subset: None,
        port: Some(PortNumber { number: *dice.pick(&[&80, &443]) }),
    };
    let policy =
        OutboundPolicy { mode: Some("ALLOW_ANY".to_owned()), egress_proxy: Some(egress_proxy) };
    let spec = SidecarSpec { outbound_traffic_policy: Some(policy), ..SidecarSpec::default() };
    let meta = Meta {
        name: "proxied".to_owned(),
        namespace: world.expect[0].client.namespace.clone(),
        creation_timestamp: Some("2020-01-01T00:00:00Z".to_owned()),
        ..Meta::default()
    };
    let body = Body::Sidecar(Sidecar { spec });
    let api_version = "networking.istio.io/v1".to_owned();
    world.registry.retain(|it| it.meta.name != meta.name);
    world.registry.push(Object { api_version, meta, body });
}

fn compile(world: &World, clients: &[Client], ids: &mut Ids) -> Compiled {
    let registry = load(&documents(world)).registry;
    Setting::new(world).compile(&registry, &place(clients), ids)
}

/// What of the tables the pair of worlds has.
fn note(a: &Image, b: &Image, tally: &mut Tally) {
    let has = |of: fn(&Image) -> bool| of(a) || of(b);
    if has(|it| !it.targets.is_empty()) {
        count(tally, "targets");
    }
    if has(|it| it.rules.keys().any(|key| key.subject == SubjectId::ANYWHERE)) {
        count(tally, "anywhere");
    }
    if has(|it| it.by_cgroup.values().any(|workload| workload.default_target != 0)) {
        count(tally, "default target");
    }
}

/// A flow, without what only its wording was.
struct Attempt {
    cgroup: u64,
    names: Vec<HostPattern>,
    address: exeat_common::address::Address,
    port: u16,
    protocol: u8,
    words: String,
}

impl Attempt {
    fn new(flow: &world::Flow, clients: &[Client]) -> Self {
        let place = clients.iter().position(|it| *it == flow.client).expect("a client");
        Self {
            cgroup: u64::try_from(place).expect("few") + 1,
            names: names(flow),
            address: ip(&flow.dest.ip).into(),
            port: flow.dest.port,
            protocol: if flow.dest.proto == "udp" { protocol::UDP } else { protocol::TCP },
            words: format!("{flow:?}"),
        }
    }

    /// The patterns that `image` has for its names.
    fn told(&self, image: &Image) -> Vec<SubjectId> {
        self.names.iter().map(|name| pattern(image, name)).collect()
    }

    fn judge(&self, image: &Image, told: &[SubjectId]) -> Decision {
        let workload = image.by_cgroup.get(&self.cgroup);
        let mut facts = Facts::new();
        if let Some(workload) = workload {
            let slots: [u64; FACT_SLOTS] = array::from_fn(|slot| {
                let pattern = told.get(slot).filter(|it| it.is_some());
                pattern.map_or(0, |it| Fact { pattern: *it, expiry: NOW + 1 }.pack())
            });
            facts.insert(
                FactKey { workload: workload.id, address: self.address },
                FactValue { slots },
            );
        }
        let tables = ImageTables { image, facts: &facts, now: NOW };
        let Self { address, port, protocol, .. } = *self;
        decide(&Flow { workload, destination: address, port, protocol }, &tables)
    }
}

/// The pattern that the kernel finds for a name: itself, else the longest wildcard.
fn pattern(image: &Image, name: &HostPattern) -> SubjectId {
    let facts = BTreeMap::new();
    let tables = ImageTables { image, facts: &facts, now: NOW };
    let look_up = |name: &HostPattern| -> Option<NameValue> {
        let wire = name.wire();
        let mut key: NameKeyLong = [0; _];
        key[..wire.len()].copy_from_slice(&wire);
        tables.name(&key, wire.len())
    };
    let exact = look_up(name).map(|it| it.exact).filter(|it| it.is_some());
    let longest = tables.longest_wildcard_bytes() as usize;
    let mut wider = name.covering().filter(|it| it.wire().len() <= longest);
    let wildcard =
        || wider.find_map(|it| look_up(&it).map(|it| it.wildcard).filter(|it| it.is_some()));
    exact.or_else(wildcard).unwrap_or(SubjectId::NONE)
}

fn walk(a: &Image, b: &Image, attempts: &[Attempt], tally: &mut Tally) -> Result<(), String> {
    let operations = diff(a, b);
    let ends: Vec<Ends> = attempts.iter().map(|it| Ends::new(it, a, b)).collect();
    let mut now = a.clone();
    for step in 0..=operations.len() {
        if let Some(operation) = step.checked_sub(1).map(|it| &operations[it]) {
            count(tally, "steps");
            now.apply(std::slice::from_ref(operation));
        }
        for (attempt, ends) in attempts.iter().zip(&ends) {
            check_step(b, &now, attempt, ends)
                .map_err(|wrong| format!("step {step}: {wrong}\n{}", show(&operations, step)))?;
        }
    }
    for Ends { old, new, .. } in &ends {
        count(tally, became(*old, *new));
    }
    let [arrived, wanted] = [&now, b].map(|image| {
        let mut image = image.clone();
        image.settings.iter_mut().for_each(|it| it.generation = 0);
        image
    });
    if arrived == wanted { Ok(()) } else { Err(format!("{arrived:#?}\ninstead of\n{wanted:#?}")) }
}

/// What both ends say of an attempt.
struct Ends {
    /// What was told before.
    told: Vec<SubjectId>,
    old: Decision,
    /// By what the new tables tell, and by what the old ones did.
    new: Decision,
    new_as_told: Decision,
}

impl Ends {
    fn new(attempt: &Attempt, a: &Image, b: &Image) -> Self {
        let told = attempt.told(a);
        Self {
            old: attempt.judge(a, &told),
            new: attempt.judge(b, &attempt.told(b)),
            new_as_told: attempt.judge(b, &told),
            told,
        }
    }
}

fn check_step(b: &Image, now: &Image, attempt: &Attempt, ends: &Ends) -> Result<(), String> {
    let check = |told: &[SubjectId], ends: &[Decision]| {
        let got = attempt.judge(now, told);
        let is_same = |end: &Decision| end.verdict == got.verdict && end.target == got.target;
        if got.verdict == Verdict::Redirect && !now.targets.contains_key(&got.target) {
            return Err(format!("{}: target {} is not there", attempt.words, got.target));
        }
        if ends.iter().any(is_same) {
            return Ok(());
        }
        Err(format!("{} told {told:?}: {got:?} is none of {ends:?}", attempt.words))
    };
    let Ends { told, old, new, new_as_told } = ends;
    check(told, &[*old, *new, *new_as_told])?;
    // A name that is asked for on the way has the rank of its new pattern and the rules of the old
    // one: of two names of one address the other may win, and each alone is as it should be.
    let just_told = attempt.told(now);
    if attempt.names.len() == 1 && just_told != *told {
        check(&just_told, &[*old, *new, attempt.judge(b, &just_told)])?;
    }
    Ok(())
}

fn became(a: Decision, b: Decision) -> &'static str {
    match (a.verdict, b.verdict) {
        (Verdict::Deny, Verdict::Deny) => "denied throughout",
        (Verdict::Deny, _) => "opened",
        (_, Verdict::Deny) => "closed",
        (x, y) if x != y || a.target != b.target => "sent elsewhere",
        _ => "open throughout",
    }
}

/// The operations around a step.
fn show(operations: &[MapOp], step: usize) -> String {
    let from = step.saturating_sub(5);
    format!("{:#?}", &operations[from..(step + 2).min(operations.len())])
}

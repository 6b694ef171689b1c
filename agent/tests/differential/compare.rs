//! Random worlds, judged by both.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, thread,
};

use super::{
    generate,
    judge::{Agent, Answer, Judge},
    model::{Model, Ruling, names::socket},
    shrink::shrink,
    world::{Flow, World},
    yaml,
};

/// Registries, where nothing else is said.
const CASES: u64 = 10_000;
/// Failures that are shown: the first ones tell most.
const SHOWN: usize = 3;

/// How often each thing was seen in flows that were compared.
#[derive(Debug, Default)]
struct Tally {
    compared: usize,
    verdicts: BTreeMap<String, usize>,
    reasons: BTreeMap<String, usize>,
    rewritten: usize,
    kinds: BTreeMap<String, usize>,
    entries: BTreeMap<String, usize>,
    unsettled: BTreeMap<String, usize>,
}

#[test]
fn the_compiler_agrees_with_the_model() {
    let number = |name: &str, default: u64| {
        env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let cases = number("EXEAT_DIFFERENTIAL_CASES", CASES);
    let first = number("EXEAT_DIFFERENTIAL_SEED", 0);
    let threads =
        u64::try_from(thread::available_parallelism().map_or(1, usize::from)).expect("few threads");
    let of_thread = |index: u64| {
        let mut tally = Tally::default();
        let mut failures = Vec::new();
        for seed in (first + index..first + cases).step_by(usize::try_from(threads).expect("few")) {
            if let Some(failure) = try_world::<Agent>(&generate::world(seed), &mut tally) {
                failures.push(failure);
                if failures.len() == SHOWN {
                    break;
                }
            }
        }
        (tally, failures)
    };
    let results: Vec<(Tally, Vec<String>)> = thread::scope(|scope| {
        let running: Vec<_> =
            (0..threads).map(|index| scope.spawn(move || of_thread(index))).collect();
        running.into_iter().map(|it| it.join().expect("a thread that ends")).collect()
    });
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    for (part, failed) in results {
        tally.add(&part);
        failures.extend(failed);
    }
    println!("{tally:#?}");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    if cases >= CASES {
        tally.check();
    }
}

/// Judges all flows of a world; what fails comes back small, as a case.
fn try_world<J: Judge>(world: &World, tally: &mut Tally) -> Option<String> {
    let model = Model::new(world);
    let judge = J::new(world);
    for object in &world.registry {
        *tally.kinds.entry(object.kind().to_owned()).or_default() += 1;
    }
    if !is_refused_as_meant(world, &judge) {
        return Some(format!("{}: {:#?}", world.title, judge.complaints()));
    }
    for flow in &world.expect {
        let ruling = match model.judge(flow) {
            Ok(ruling) => ruling,
            Err(why) => {
                *tally.unsettled.entry(why.to_owned()).or_default() += 1;
                continue;
            }
        };
        let answer = judge.judge(flow);
        if is_same(flow, &ruling, &answer) {
            tally.count(&ruling, &answer);
            continue;
        }
        if answer.is_answered_here {
            // No resolver was asked, so the address of the flow is not one that the client was told.
            let why = "a name with addresses of its own, and a flow to another one".to_owned();
            *tally.unsettled.entry(why).or_default() += 1;
            continue;
        }
        return Some(show::<J>(world, flow));
    }
    None
}

/// Whether exactly the objects that were broken on purpose are refused.
fn is_refused_as_meant(world: &World, judge: &impl Judge) -> bool {
    let name = |it: &super::world::Refused| {
        format!("{}/{}/{}", it.kind, it.namespace.as_deref().unwrap_or("default"), it.name)
    };
    judge.refused() == world.reject.iter().map(name).collect::<BTreeSet<_>>()
}

fn is_same(flow: &Flow, ruling: &Ruling, answer: &Answer) -> bool {
    let dialled = socket(&flow.dest.ip, flow.dest.port);
    let goes_to = |rewrite: &Option<BTreeSet<String>>| {
        rewrite.clone().unwrap_or_else(|| [dialled.clone()].into())
    };
    let is_sent = ruling.verdict == "allow" || ruling.verdict == "redirect-gateway";
    ruling.verdict == answer.verdict
        && (!is_sent || goes_to(&ruling.rewrite) == goes_to(&answer.rewrite))
        && ruling.via == answer.via
        && ruling.reason.is_none_or(|it| it == answer.reason)
}

/// The smallest world in which the flow is still judged differently, as a case that expects what
/// the model says.
fn show<J: Judge>(world: &World, flow: &Flow) -> String {
    let mut world = world.clone();
    world.expect = vec![flow.clone()];
    let both = |world: &World| {
        let flow = &world.expect[0];
        let ruling = Model::new(world).judge(flow).ok()?;
        let judge = J::new(world);
        if !is_refused_as_meant(world, &judge) {
            return None;
        }
        let answer = judge.judge(flow);
        let differs = !is_same(flow, &ruling, &answer) && !answer.is_answered_here;
        differs.then_some((ruling, answer))
    };
    let mut small = shrink(&world, |world| both(world).is_some());
    let (ruling, answer) = both(&small).expect("it still fails");
    let flow = &mut small.expect[0];
    ruling.verdict.clone_into(&mut flow.verdict);
    flow.rewrite = ruling.rewrite.map(|it| it.into_iter().collect());
    flow.via = ruling.via;
    flow.reason = ruling.reason.map(str::to_owned);
    let also = flow.also.as_ref().map(|it| format!(" (and `{it}` was asked for)"));
    format!("{answer:?}{}\n{}", also.unwrap_or_default(), yaml::case(&small))
}

impl Tally {
    fn count(&mut self, ruling: &Ruling, answer: &Answer) {
        self.compared += 1;
        *self.verdicts.entry(ruling.verdict.to_owned()).or_default() += 1;
        if let Some(reason) = ruling.reason {
            *self.reasons.entry(reason.to_owned()).or_default() += 1;
        }
        self.rewritten += usize::from(ruling.verdict == "allow" && ruling.rewrite.is_some());
        let kind = answer.entry.split('/').next().unwrap_or_default();
        *self.entries.entry(kind.to_owned()).or_default() += 1;
    }

    fn add(&mut self, other: &Self) {
        self.compared += other.compared;
        self.rewritten += other.rewritten;
        for (mine, theirs) in [
            (&mut self.verdicts, &other.verdicts),
            (&mut self.reasons, &other.reasons),
            (&mut self.kinds, &other.kinds),
            (&mut self.entries, &other.entries),
            (&mut self.unsettled, &other.unsettled),
        ] {
            for (key, count) in theirs {
                *mine.entry(key.clone()).or_default() += count;
            }
        }
    }

    /// A comparison that saw too little shows nothing.
    fn check(&self) {
        let unsettled: usize = self.unsettled.values().sum();
        assert!(unsettled * 5 < self.compared, "too much is left open: {self:#?}");
        let of = |map: &BTreeMap<String, usize>, key: &str| map.get(key).copied().unwrap_or(0);
        for (verdict, least) in [
            ("allow", 10_000),
            ("deny", 10_000),
            ("redirect-sidecar", 2_000),
            ("redirect-gateway", 500),
        ] {
            assert!(of(&self.verdicts, verdict) >= least, "{verdict}: {self:#?}");
        }
        for reason in [
            "E-ROUTE-DEST-UNKNOWN",
            "U-DYNAMIC-DNS-VIP",
            "U-GATEWAY-MTLS",
            "U-L7-ROUTE",
            "U-TLS-ORIGINATION",
            "U-TUNNEL",
            "U-UDS",
            "U-WAYPOINT",
            "no-upstream",
        ] {
            assert!(of(&self.reasons, reason) >= 20, "{reason}: {self:#?}");
        }
        assert!(self.rewritten >= 1_000, "{self:#?}");
        for kind in [
            "ServiceEntry",
            "WorkloadEntry",
            "VirtualService",
            "Gateway",
            "DestinationRule",
            "Sidecar",
            "ExternalService",
            "ExternalEndpoint",
            "Service",
            "Endpoints",
            "EndpointSlice",
            "Pod",
            "Namespace",
            "ASMEgressTrafficPolicy",
        ] {
            assert!(of(&self.kinds, kind) >= 500, "{kind}: {self:#?}");
        }
    }
}

//! What `exeat test` says, the kernel does: every flow of every conformance case is judged on the
//! host, and as packets by the wire programs over the same tables in real maps.

#![cfg(test)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use exeat_agent::{
    datapath::{
        Datapath as _,
        aya::{self, Kernel, WireProgram},
    },
    policy::{
        diff::diff,
        image::{Image, MapOp},
    },
    trial::{
        Attempt, IFINDEX, Lookup, Protocol, Verdict,
        case::{self, CaseFile, JudgedFlow},
    },
};
use exeat_common::{
    abi::{ResolverKey, RuleKey, RuleValue, Workload, action, workload_flag},
    address::Address,
    id::WorkloadId,
    limits::WORKLOADS_ENTRIES,
    reason::{self, Layer, Reason},
};
use exeat_tests::{frame::Ends, run::RunGuard};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RecordType},
};
use nix::time::{ClockId, clock_gettime};

/// Flows of `tests/conformance` that were compared when this was written. There may be more.
const FLOWS: usize = 302;
/// Of these, flows to loopback.
const LOOPBACK_FLOWS: usize = 2;
/// Lookups whose messages the kernel read.
const LOOKUPS: usize = 230;

/// Traffic control actions (`linux/pkt_cls.h`).
const TC_ACT_UNSPEC: i32 = -1;
const TC_ACT_SHOT: i32 = 2;
const TC_ACT_REDIRECT: i32 = 7;

const POD_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 7, 7));
const POD_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 7));
/// Ports of the pod: for questions, and for the flow.
const ASKING_PORT: u16 = 40_000;
const DIALLING_PORT: u16 = 41_000;

/// What the kernel counted about one frame.
type Counted = (Layer, reason::Verdict, Reason);

#[test]
fn the_kernel_judges_every_case_as_the_host_does() {
    let mut wire = Wire::new("cases");
    let mut tally = Tally::default();
    let mut differences = Vec::new();
    for file in &files() {
        for (number, case) in file.cases.iter().enumerate() {
            let compiled = case.compile();
            // Those that need a part which is not built as well: nothing is said of what they
            // should get, but both sides must give them the same.
            for judged in compiled.flows() {
                wire.load(judged.trial.image());
                for difference in wire.differences(&judged, &mut tally) {
                    let (file, flow) = (file.path.display(), judged.index);
                    differences.push(format!("{file} case {number} flow {flow}: {difference}"));
                }
            }
        }
    }
    println!("{tally:?}");
    assert!(differences.is_empty(), "{differences:#?}");
    assert!(tally.flows >= FLOWS && tally.lookups >= LOOKUPS, "{tally:?}");
    assert_eq!(tally.loopback, LOOPBACK_FLOWS, "only these are judged otherwise on the wire");
}

/// The comparison can fail: with the one rule turned round that decided a flow, it does.
#[test]
fn a_rule_that_is_turned_round_in_the_kernel_is_noticed() {
    let mut wire = Wire::new("turned");
    let mut turned: BTreeMap<&str, usize> = BTreeMap::new();
    for case in files().iter().flat_map(|file| &file.cases) {
        let compiled = case.compile();
        for judged in compiled.flows() {
            let mut image = judged.trial.image().clone();
            let Some(value) = deciding_rule(&mut image, &judged) else { continue };
            let (word, opposite) = match value.action {
                action::ALLOW => ("allowed", RuleValue { action: action::DENY, ..*value }),
                action::REDIRECT => ("redirected", RuleValue::ALLOW),
                _ => ("denied", RuleValue::ALLOW),
            };
            *value = opposite;
            wire.load(&image);
            let differences = wire.differences(&judged, &mut Tally::default());
            assert!(!differences.is_empty(), "{} flow {}: {word}", case.title(), judged.index);
            *turned.entry(word).or_default() += 1;
        }
    }
    println!("turned round: {turned:?}");
    let wanted = BTreeMap::from([("allowed", 20), ("denied", 5), ("redirected", 10)]);
    let is_enough = |(word, least): (&&str, &usize)| turned.get(*word) >= Some(least);
    assert!(wanted.iter().all(is_enough), "{turned:?}");
}

/// The rule that decided a flow, if one did.
fn deciding_rule<'a>(image: &'a mut Image, judged: &JudgedFlow<'_>) -> Option<&'a mut RuleValue> {
    let decision = judged.outcome.on_the_wire();
    // What was learned is too old for the rule to be looked at.
    if decision.reason == Reason::NameExpired {
        return None;
    }
    let policy = image.by_ifindex.get(&IFINDEX)?.policy;
    let Attempt { port, protocol, .. } = judged.attempt;
    image.rules.get_mut(&RuleKey::new(policy, decision.subject, port, protocol.number()))
}

fn files() -> Vec<CaseFile> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
    case::read(&[folder]).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

/// How much was compared.
#[derive(Debug, Default)]
struct Tally {
    flows: usize,
    passed: usize,
    loopback: usize,
    lookups: usize,
    reasons: BTreeSet<&'static str>,
}

/// The wire programs with tables of their own.
struct Wire {
    kernel: Kernel,
    /// The tables that were loaded last.
    image: Image,
    /// The client of the flow in hand. Each flow has one of its own, so that it begins with nothing
    /// learned.
    client: WorkloadId,
    _run: RunGuard,
}

impl Wire {
    fn new(name: &str) -> Self {
        let run = RunGuard::new(name).expect("a run");
        let (kernel, _events) = aya::open_at(&run.bpffs().join("exeat")).expect("the kernel side");
        Self { kernel, image: Image::default(), client: WorkloadId::default(), _run: run }
    }

    /// Makes the tables exactly these. Numbers mean other things in other images, so the tables
    /// are emptied in between.
    fn load(&mut self, image: &Image) {
        if self.image == *image {
            return;
        }
        for wanted in [&Image::default(), image] {
            let installed = self.kernel.dump().expect("a dump");
            self.kernel.apply(&diff(&installed, wanted)).expect("a change of tables");
        }
        let mut installed = self.kernel.dump().expect("a dump");
        // The generation is the datapath's own.
        if let (Some(settings), Some(wanted)) = (&mut installed.settings, image.settings) {
            settings.generation = wanted.generation;
        }
        assert_eq!(installed, *image, "the tables are not what was loaded");
        self.image = image.clone();
    }

    /// What the kernel does otherwise than the host. The tables must be loaded.
    fn differences(&mut self, judged: &JudgedFlow<'_>, tally: &mut Tally) -> Vec<String> {
        loop {
            let began = seconds();
            let mut once = Tally::default();
            let differences = self.try_differences(judged, &mut once);
            // On the host no time passes between an answer and the flow.
            if seconds() == began {
                tally.flows += once.flows;
                tally.passed += once.passed;
                tally.loopback += once.loopback;
                tally.lookups += once.lookups;
                tally.reasons.extend(once.reasons);
                return differences;
            }
        }
    }

    fn try_differences(&mut self, judged: &JudgedFlow<'_>, tally: &mut Tally) -> Vec<String> {
        self.begin();
        let mut differences = Vec::new();
        let mut compare = |what: &str, host: String, kernel: String| {
            if host != kernel {
                differences.push(format!("{what}: {host} on the host, {kernel} in the kernel"));
            }
        };
        let lookups = &judged.attempt.lookups;
        assert!(lookups.len() <= 1, "facts are made older all together");
        for (lookup, host) in lookups.iter().zip(judged.outcome.heard()) {
            if let Some(kernel) = self.hear(lookup) {
                tally.lookups += 1;
                compare("lookup", host.as_str().to_owned(), kernel.as_str().to_owned());
            }
        }
        let is_loopback = judged.attempt.ip.to_canonical().is_loopback();
        let host = Self::expected(judged);
        let (action, counted) = self.dial(&judged.attempt);
        tally.flows += 1;
        tally.passed += usize::from(action == TC_ACT_UNSPEC);
        tally.loopback += usize::from(is_loopback);
        tally.reasons.extend(counted.iter().map(|(_, _, reason)| reason.as_str()));
        compare("reason", format!("{:?}", [host]), format!("{counted:?}"));
        // What the outcome says in words must be what becomes of the packet.
        let is_let_out = judged.outcome.verdict == Verdict::Allow
            && judged.outcome.rewrite.is_none()
            && !is_loopback;
        let becomes = |is_let_out| if is_let_out { "let out" } else { "held back" }.to_owned();
        compare("packet", becomes(is_let_out), becomes(action == TC_ACT_UNSPEC));
        // What is held back may have become its own reply.
        assert!([TC_ACT_UNSPEC, TC_ACT_SHOT, TC_ACT_REDIRECT].contains(&action), "{action}");
        differences
    }

    /// Gives the client a number that nobody had.
    fn begin(&mut self) {
        self.client = WorkloadId::new(self.client.raw() + 1);
        let number = usize::try_from(self.client.raw()).expect("small");
        assert!(number <= WORKLOADS_ENTRIES, "each client takes a line of QUOTA");
        let place =
            MapOp::SetWorkloadByIfindex(IFINDEX, Workload { id: self.client, ..self.placed() });
        self.kernel.apply(&[place]).expect("a place for the client");
    }

    /// The client as it was compiled.
    fn placed(&self) -> Workload {
        *self.image.by_ifindex.get(&IFINDEX).expect("the client is placed")
    }

    /// Whether messages to and from this resolver are for the kernel to read.
    fn reads(&self, resolver: SocketAddr) -> bool {
        let key = ResolverKey::new(Address::from(resolver.ip()), resolver.port());
        let is_exempt = self.placed().flags & workload_flag::EXEMPT != 0;
        self.image.resolvers.contains(&key) && !is_exempt
    }

    /// What the kernel should count about the first packet of the flow.
    fn expected(judged: &JudgedFlow<'_>) -> Counted {
        let decision = judged.outcome.on_the_wire();
        match (decision.reason, judged.attempt.protocol) {
            // Loopback stays in the pod; on the wire it is forged.
            (Reason::Loopback, _) => (Layer::Wire, reason::Verdict::Deny, Reason::Malformed),
            // The message decides; `dial` asks for an internal name.
            (Reason::TrustedResolver, Protocol::Udp) => {
                (Layer::Dns, reason::Verdict::Allow, Reason::InternalName)
            }
            (reason, _) => (Layer::Wire, decision.verdict, reason),
        }
    }

    /// Sends the first packet of a flow: its action, and what was counted.
    fn dial(&mut self, attempt: &Attempt) -> (i32, Vec<Counted>) {
        let destination = SocketAddr::new(attempt.ip, attempt.port);
        let ends = ends(DIALLING_PORT, destination);
        let frame = match attempt.protocol {
            Protocol::Tcp => ends.syn(),
            Protocol::Udp if self.reads(destination) => ends.udp(&internal_question()),
            Protocol::Udp => ends.udp(b"the first datagram"),
        };
        self.send(WireProgram::FromPod, &frame)
    }

    /// Asks and hears the answers, which are then as old as they should be. Returns what became of
    /// it; nothing if the messages are not for the kernel to read.
    fn hear(&mut self, lookup: &Lookup) -> Option<Reason> {
        let is_read = self.reads(lookup.resolver);
        let ends = ends(ASKING_PORT, lookup.resolver);
        let mut reasons = Vec::new();
        let mut is_guarded = false;
        for exchange in lookup.exchanges() {
            let query = exchange.query.to_vec().expect("a query");
            let answer = exchange.answer.to_vec().expect("an answer");
            let (action, mut counted) = self.send(WireProgram::FromPod, &ends.udp(&query));
            if action == TC_ACT_UNSPEC {
                counted = self.send(WireProgram::ToPod, &ends.reversed().udp(&answer)).1;
            }
            if !is_read {
                continue;
            }
            // Noted beside what becomes of the message.
            is_guarded |= counted.iter().any(|it| it.2 == Reason::AddressGuarded);
            counted.retain(|it| it.2 != Reason::AddressGuarded);
            let [(Layer::Dns, _, reason)] = counted[..] else {
                panic!("a message was not judged as one: {counted:?}");
            };
            let is_answered = [Reason::NameNotGranted, Reason::AnsweredHere].contains(&reason);
            assert_eq!(action == TC_ACT_REDIRECT, is_answered, "{reason:?}");
            reasons.push(reason);
        }
        self.kernel.age_facts(self.client, lookup.age).expect("facts");
        // As on the host: the first that is worth telling.
        let first = reasons.iter().copied().find(|it| *it != Reason::AnswerPassed);
        let told = first.unwrap_or(Reason::AnswerPassed);
        is_read.then_some(if is_guarded { Reason::AddressGuarded } else { told })
    }

    /// Runs a program on a frame: its action, and what it counted.
    fn send(&mut self, program: WireProgram, frame: &[u8]) -> (i32, Vec<Counted>) {
        let before = self.counters();
        let result = self.kernel.run_frame(program, frame).expect("a run");
        let after = self.counters();
        let counted = after
            .into_iter()
            .filter(|(counted, count)| before.get(counted) != Some(count))
            .map(|(counted, _)| counted);
        (result.action, counted.collect())
    }

    /// Counters of the client.
    fn counters(&mut self) -> BTreeMap<Counted, u64> {
        let counters = self.kernel.counters().expect("counters").into_iter();
        let own = counters.filter(|(key, _)| key.workload == self.client);
        own.map(|(key, value)| {
            let layer = Layer::from_u8(key.layer).expect("a layer");
            let verdict = reason::Verdict::from_u8(key.verdict).expect("a verdict");
            ((layer, verdict, Reason::from_u8(key.reason).expect("a reason")), value.count)
        })
        .collect()
    }
}

/// From the pod to `destination`.
fn ends(port: u16, destination: SocketAddr) -> Ends {
    let pod = if destination.ip().to_canonical().is_ipv4() { POD_V4 } else { POD_V6 };
    Ends { source: SocketAddr::new(pod, port), destination }
}

/// A question that every workload may ask.
fn internal_question() -> Vec<u8> {
    let name = Name::from_ascii("kubernetes.default.svc.cluster.local.").expect("a name");
    let mut message = Message::new(1, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(name, RecordType::A));
    message.to_vec().expect("a message")
}

/// Of the clock that the kernel programs use.
fn seconds() -> i64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).expect("a clock").tv_sec()
}

//! What is measured: frames, what happens before them, and what must become of them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use exeat_agent::datapath::aya::{Subject, WireProgram};
use exeat_common::{
    abi::{QueryKey, QueryValue},
    address::Address,
    bytes::Veil,
    dns::{MESSAGE_BUFFER_BYTES, MessageBytes, NameBuffer, message::HEADER, read_name, short_hash},
    flow::protocol,
    limits::{NAME_SHORT_BYTES, REPLIES_PER_SECOND},
    reason::{Layer, Reason, Verdict},
    replay::{FRAME_BYTES, Replay, STAMPS},
};
use exeat_tests::frame::Ends;
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query},
    rr::{Name, RData, Record, RecordType, rdata},
};
use zerocopy::FromZeros as _;

use crate::{
    measure::Bench,
    registry::{BELOW, DECLARED, NAME, POD, RESOLVER, UNKNOWN},
};

/// Traffic control actions (`linux/pkt_cls.h`).
const TC_ACT_UNSPEC: i32 = -1;
const TC_ACT_SHOT: i32 = 2;
const TC_ACT_REDIRECT: i32 = 7;

/// Runs of a batch.
const RUNS: u32 = 1_000;
/// The same where each run learns thirty addresses: a workload may hold 4096.
const RUNS_OF_THIRTY: u32 = 100;
const CLIENT_PORT: u16 = 40_000;
const TTL: u32 = 300;
/// Where things are in a frame: Ethernet 14 bytes, IPv4 20, UDP 8, then the message.
const SOURCE_PORT_AT: u16 = 34;
const MESSAGE_AT: usize = 42;

/// What a counter is about.
pub(crate) type Counter = (Layer, Verdict, Reason);

/// One thing to measure.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Nanoseconds that it should take at most.
    pub(crate) goal: Option<i64>,
    pub(crate) subject: Subject,
    pub(crate) frame: Vec<u8>,
    pub(crate) runs: u32,
    /// What is put back before each run; none if a run changes nothing.
    pub(crate) replay: Option<Replay>,
    /// Frames that go before, once.
    pub(crate) before: Vec<(WireProgram, Vec<u8>)>,
    /// Runs after those frames that are not measured.
    pub(crate) warm: u32,
    pub(crate) action: i32,
    /// What each run counts.
    pub(crate) counts: Option<Counter>,
}

/// All cases, over the tables of `bench`.
pub(crate) fn all(bench: &Bench) -> Vec<Case> {
    let mut cases = packets();
    cases.extend(questions());
    cases.extend(answers(bench));
    cases
}

fn packets() -> Vec<Case> {
    let told = exchange(NAME, &[learned()]);
    let by_name = to(SocketAddr::new(learned(), 443));
    let by_prefix = to(SocketAddr::new(ip(DECLARED), 443));
    let stranger = to(SocketAddr::new(ip("192.0.2.1"), 443));
    let opened = [&told[..], &[(WireProgram::FromPod, by_name.syn())]].concat();
    let allow = |reason| Some((Layer::Wire, Verdict::Allow, reason));
    let denied = Some((Layer::Wire, Verdict::Deny, Reason::NotRegistered));
    vec![
        Case {
            goal: Some(90),
            before: opened.clone(),
            counts: allow(Reason::Established),
            ..direct("established flow, 54 bytes", by_name.ack(&[]))
        },
        Case {
            goal: Some(90),
            before: opened.clone(),
            counts: allow(Reason::Established),
            ..direct("established flow, 1054 bytes", by_name.ack(&[0; 1000]))
        },
        Case {
            subject: Subject::FloorOfPacket,
            before: opened.clone(),
            ..direct("floor: its lookups alone", by_name.ack(&[]))
        },
        Case {
            subject: Subject::Wire(WireProgram::ToPod),
            before: opened,
            counts: None,
            ..direct("established flow, to the pod", by_name.reversed().ack(&[0; 1000]))
        },
        Case {
            goal: Some(90),
            before: told.to_vec(),
            counts: allow(Reason::Registered),
            ..replayed("new flow, by a learned name", by_name.syn(), &[SOURCE_PORT_AT])
        },
        Case {
            goal: Some(90),
            counts: allow(Reason::Registered),
            ..replayed("new flow, by a declared prefix", by_prefix.syn(), &[SOURCE_PORT_AT])
        },
        Case {
            action: TC_ACT_REDIRECT,
            counts: denied,
            ..replayed("denied packet, with its reset", stranger.syn(), &[])
        },
        Case {
            // A second may begin meanwhile, with its replies; the median does not mind.
            warm: 2 * REPLIES_PER_SECOND,
            action: TC_ACT_SHOT,
            counts: denied,
            ..replayed("denied packet, dropped", stranger.syn(), &[])
        },
    ]
}

fn questions() -> Vec<Case> {
    let resolver = to_resolver();
    let transaction = [u16::try_from(MESSAGE_AT).expect("small")];
    let granted = Some((Layer::Dns, Verdict::Allow, Reason::NameGranted));
    // The floor loads as many bytes as the shorter name keys have.
    let mut longest = question(NAME);
    longest.resize(HEADER + NAME_SHORT_BYTES, 0);
    vec![
        Case {
            goal: Some(450),
            counts: granted,
            ..replayed("question, granted", resolver.udp(&question(NAME)), &transaction)
        },
        Case {
            subject: Subject::FloorOfQuestion,
            ..replayed("floor: what it cannot do without", resolver.udp(&longest), &transaction)
        },
        Case {
            goal: Some(450),
            counts: granted,
            ..replayed("question, by a wildcard", resolver.udp(&question(BELOW)), &transaction)
        },
        Case {
            goal: Some(450),
            action: TC_ACT_REDIRECT,
            counts: Some((Layer::Dns, Verdict::Deny, Reason::NameNotGranted)),
            ..replayed("question, refused", resolver.udp(&question(UNKNOWN)), &transaction)
        },
    ]
}

fn answers(bench: &Bench) -> Vec<Case> {
    let mut cases = Vec::new();
    for (known, new, goal, count, runs) in [
        ("answer, 1 A", "answer, 1 A, new address", None, 1, RUNS),
        ("answer, 4 A", "answer, 4 A, new addresses", Some(1200), 4, RUNS),
        ("answer, 30 A", "answer, 30 A, new addresses", None, 30, RUNS_OF_THIRTY),
    ] {
        let addresses: Vec<IpAddr> =
            (1..=count).map(|it| IpAddr::V4(Ipv4Addr::new(11, it, 0, 0))).collect();
        let message = answer(NAME, &addresses);
        let frame = to_resolver().reversed().udp(&message);
        let transaction = u16::try_from(MESSAGE_AT).expect("small");
        // Answer records with one address each end the message: a compressed name of two bytes,
        // ten of type, class, TTL and length, four of address. The last two are the stamp.
        let last = u16::try_from(frame.len() - 2).expect("small");
        let stamps: Vec<u16> = (0..u16::from(count)).map(|it| last - it * 16).collect();
        for (name, stamps, goal) in
            [(known, vec![transaction], goal), (new, [vec![transaction], stamps].concat(), None)]
        {
            let case = replayed(name, frame.clone(), &stamps);
            let replay = case.replay.map(|it| asking(&it, bench));
            cases.push(Case {
                goal,
                runs,
                subject: Subject::Wire(WireProgram::ToPod),
                counts: Some((Layer::Dns, Verdict::Allow, Reason::AnswerLearned)),
                replay,
                ..case
            });
        }
    }
    cases
}

/// Adds the question that `answer` answers, as the kernel would have noted it.
fn asking(replay: &Replay, bench: &Bench) -> Replay {
    let name = wire(NAME);
    let query = QueryKey {
        workload: bench.workload(),
        resolver: Address::from(ip(RESOLVER)),
        resolver_port: 53,
        client_port: CLIENT_PORT,
        transaction: 0,
        protocol: protocol::UDP,
        reserved: 0,
    };
    let answer_to = QueryValue {
        pattern: bench.pattern(&name),
        asked: u32::MAX,
        query_type: 1,
        name_length: u16::try_from(name.len()).expect("a name"),
        name_hash: name_hash(),
    };
    Replay { asks: 1, query, answer_to, ..*replay }
}

/// What the kernel notes of the name, beside its length.
fn name_hash() -> u32 {
    struct Plain;
    impl Veil for Plain {
        fn veil(&self, number: usize) -> usize {
            number
        }
    }
    let message = question(NAME);
    let mut buffer = [0; MESSAGE_BUFFER_BYTES];
    buffer[..message.len()].copy_from_slice(&message);
    let bytes = MessageBytes::new(&buffer, message.len());
    let mut room = NameBuffer::new();
    let name = read_name(&bytes, HEADER, &mut room, &Plain).expect("a name");
    short_hash(room.hash(name, &Plain))
}

/// A case whose runs change nothing that the next one sees.
fn direct(name: &'static str, frame: Vec<u8>) -> Case {
    Case {
        name,
        goal: None,
        subject: Subject::Wire(WireProgram::FromPod),
        frame,
        runs: RUNS,
        replay: None,
        before: Vec::new(),
        warm: 0,
        action: TC_ACT_UNSPEC,
        counts: None,
    }
}

/// A case whose frame is put back before each run, with the number of the run at `stamps`.
fn replayed(name: &'static str, frame: Vec<u8>, stamps: &[u16]) -> Case {
    let mut replay = Replay::new_zeroed();
    replay.length = u32::try_from(frame.len()).expect("a small frame");
    assert!(frame.len() <= FRAME_BYTES && stamps.len() <= STAMPS, "{name}");
    replay.frame[..frame.len()].copy_from_slice(&frame);
    replay.stamps[..stamps.len()].copy_from_slice(stamps);
    Case { replay: Some(replay), ..direct(name, frame) }
}

/// The frames by which the pod learns `addresses`.
fn exchange(name: &str, addresses: &[IpAddr]) -> [(WireProgram, Vec<u8>); 2] {
    let ends = to_resolver();
    [
        (WireProgram::FromPod, ends.udp(&question(name))),
        (WireProgram::ToPod, ends.reversed().udp(&answer(name, addresses))),
    ]
}

fn to(destination: SocketAddr) -> Ends {
    Ends { source: SocketAddr::new(ip(POD), CLIENT_PORT), destination }
}

fn to_resolver() -> Ends {
    to(SocketAddr::new(ip(RESOLVER), 53))
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// What the pod was told for [`NAME`].
fn learned() -> IpAddr {
    ip("203.0.113.9")
}

/// As a resolver library writes it, with an EDNS size that needs no lowering.
fn question(name: &str) -> Vec<u8> {
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(parsed(name), RecordType::A));
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    message.set_edns(edns);
    message.to_vec().expect("a question")
}

fn answer(name: &str, addresses: &[IpAddr]) -> Vec<u8> {
    let mut message = Message::new(0, MessageType::Response, OpCode::Query);
    message.add_query(Query::query(parsed(name), RecordType::A));
    for address in addresses {
        let IpAddr::V4(address) = address else { panic!("only A records are written") };
        let data = RData::A(rdata::A(*address));
        message.add_answer(Record::from_rdata(parsed(name), TTL, data));
    }
    message.to_vec().expect("an answer")
}

fn parsed(name: &str) -> Name {
    Name::from_ascii(name).expect("a name")
}

/// The name as it goes over the wire.
fn wire(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("a label"));
        bytes.extend(label.as_bytes());
    }
    bytes
}

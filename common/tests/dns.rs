//! Questions and answers: what is let through, what is learned, and agreement with hickory-proto.

#![cfg(test)]

mod support;

use std::net::IpAddr;

use exeat_common::{
    abi::{NameValue, RuleValue, Workload, mode, name_flag, setting_flag},
    address::Address,
    dns::{
        Answer, Asked, MESSAGE_BUFFER_BYTES, MessageBytes, NameBuffer, Question, Room, Transport,
        ask, hear, message::InvalidMessage, read_question,
    },
    flow::protocol,
    id::{PolicyId, SubjectId},
    packet::Packet,
    reason::Reason,
};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RData, Record, RecordType, rdata},
};
use proptest::prelude::{ProptestConfig, any, proptest};
use support::{NOW, POD, RESOLVER, World, address, workload};

const SITE: SubjectId = SubjectId::pattern(1, true, 3);
const WILD: SubjectId = SubjectId::pattern(2, false, 2);
const DEEP: SubjectId = SubjectId::pattern(3, false, 3);
const PORT: u16 = 4000;

/// `www.example.com`, `*.wild.example`, `*.deep.wild.example` (somebody else's), and the cluster.
fn world() -> World {
    let none = NameValue { exact: SubjectId::NONE, wildcard: SubjectId::NONE, flags: 0 };
    let mut world = World { generation: 1, ..World::default() };
    world.name("www.example.com", NameValue { exact: SITE, ..none });
    world.name("wild.example", NameValue { wildcard: WILD, ..none });
    world.name("deep.wild.example", NameValue { wildcard: DEEP, ..none });
    let cluster = name_flag::INTERNAL | name_flag::INTERNAL_BELOW;
    world.name("cluster.local", NameValue { flags: cluster, ..none });
    world.grant(SITE, 443, protocol::TCP, RuleValue::ALLOW);
    world.grant(WILD, 443, protocol::TCP, RuleValue::ALLOW);
    world
}

fn query(name: &str) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    bytes.extend(support::wire(name));
    bytes.extend([0, 1, 0, 1]);
    bytes
}

fn with_edns(mut bytes: Vec<u8>, size: u16, options: &[u8]) -> Vec<u8> {
    bytes[11] = 1;
    bytes.extend([0, 0, 41]);
    bytes.extend(size.to_be_bytes());
    bytes.extend([0, 0, 0, 0]);
    bytes.extend(u16::try_from(options.len()).expect("short").to_be_bytes());
    bytes.extend(options);
    bytes
}

fn with_bytes<T>(bytes: &[u8], use_it: impl FnOnce(&MessageBytes<'_>) -> T) -> T {
    let mut buffer = [0; MESSAGE_BUFFER_BYTES];
    buffer[..bytes.len()].copy_from_slice(bytes);
    use_it(&MessageBytes::new(&buffer, bytes.len()))
}

fn read(bytes: &[u8]) -> Result<Question, InvalidMessage> {
    let mut buffer = NameBuffer::new();
    with_bytes(bytes, |message| read_question(message, &mut buffer, &World::default()))
}

fn packet(from: (&str, u16), to: (&str, u16)) -> Packet {
    Packet {
        source: address(from.0),
        destination: address(to.0),
        protocol: protocol::UDP,
        detail: 0,
        source_port: from.1,
        destination_port: to.1,
        transport: 34,
        payload: 42,
        payload_length: 0,
    }
}

fn put(world: &World, workload: &Workload, bytes: &[u8]) -> Asked {
    let packet = packet((POD, PORT), (RESOLVER, 53));
    let mut buffer = NameBuffer::new();
    with_bytes(bytes, |message| ask(workload, &packet, Transport::Udp, message, &mut buffer, world))
}

fn get_from(world: &World, resolver: &str, port: u16, bytes: &[u8]) -> Answer {
    let packet = packet((resolver, 53), (POD, port));
    let mut room = Box::new(Room::new());
    with_bytes(bytes, |message| {
        hear(&workload(), &packet, Transport::Udp, message, &mut room, world)
    })
}

fn get(world: &World, bytes: &[u8]) -> Answer {
    get_from(world, RESOLVER, PORT, bytes)
}

fn asked_reason(asked: Asked) -> Reason {
    match asked {
        Asked::Pass { reason, .. } | Asked::Drop(reason) => reason,
        Asked::Refuse(refusal) => refusal.reason,
    }
}

/// An answer as a resolver writes it.
fn answer(name: &str, records: &[(&str, RData, u32)]) -> Vec<u8> {
    let mut message = Message::new(0x1234, MessageType::Response, OpCode::Query);
    let owner = Name::from_ascii(name).expect("a name");
    message.add_query(Query::query(owner, RecordType::A));
    for (owner, data, ttl) in records {
        let owner = Name::from_ascii(owner).expect("a name");
        message.add_answer(Record::from_rdata(owner, *ttl, data.clone()));
    }
    message.to_vec().expect("a message")
}

fn a(text: &str) -> RData {
    match text.parse().expect("an address") {
        IpAddr::V4(v4) => RData::A(rdata::A(v4)),
        IpAddr::V6(v6) => RData::AAAA(rdata::AAAA(v6)),
    }
}

fn learned(world: &World, of: &str) -> Vec<SubjectId> {
    world.knows(of)
}

#[test]
fn names_are_matched_on_label_boundaries_and_without_case() {
    let world = world();
    for (name, reason) in [
        ("www.example.com", Reason::NameGranted),
        ("WwW.eXample.COM", Reason::NameGranted),
        ("example.com", Reason::NameNotGranted),
        ("xwww.example.com", Reason::NameNotGranted),
        ("a.www.example.com", Reason::NameNotGranted),
        ("a.wild.example", Reason::NameGranted),
        ("a.b.c.wild.example", Reason::NameGranted),
        ("wild.example", Reason::NameNotGranted),
        ("xwild.example", Reason::NameNotGranted),
        // The longest pattern is another's and grants nothing here: closing the rules over hidden
        // patterns is the compiler's part.
        ("a.deep.wild.example", Reason::NameNotGranted),
        ("web.shop.svc.cluster.local", Reason::InternalName),
        ("cluster.local", Reason::InternalName),
    ] {
        assert_eq!(asked_reason(put(&world, &workload(), &query(name))), reason, "{name}");
    }
}

#[test]
fn a_label_with_the_bytes_of_two_is_one_label() {
    let world = world();
    // "foo\004wild" as one label of eight bytes, then "example".
    let mut bytes = query("");
    bytes.truncate(12);
    bytes.extend(b"\x08foo\x04wild\x07example\0\0\x01\0\x01");
    assert_eq!(asked_reason(put(&world, &workload(), &bytes)), Reason::NameNotGranted);
    // A zero byte inside a label does not end the name.
    let mut bytes = query("");
    bytes.truncate(12);
    bytes.extend(b"\x02a\0\x04wild\x07example\0\0\x01\0\x01");
    let question = read(&bytes).expect("a name with a zero byte in it");
    assert_eq!(question.name.length, 3 + 5 + 8 + 1);
    assert_eq!(asked_reason(put(&world, &workload(), &bytes)), Reason::NameGranted);
}

#[test]
fn only_one_shape_of_query_passes() {
    let good = query("www.example.com");
    assert!(read(&good).is_ok());
    for length in 0..good.len() {
        assert!(read(&good[..length]).is_err(), "cut to {length}");
    }
    let change = |at: usize, byte: u8| {
        let mut bad = good.clone();
        bad[at] = byte;
        read(&bad)
    };
    assert_eq!(change(2, 0x81), Err(InvalidMessage::Kind), "a response");
    assert_eq!(change(2, 0x29), Err(InvalidMessage::Kind), "an update");
    assert_eq!(change(5, 2), Err(InvalidMessage::Counts), "two questions");
    assert_eq!(change(7, 1), Err(InvalidMessage::Counts), "an answer in a query");
    assert_eq!(change(12, 0xc0), Err(InvalidMessage::Label), "a compressed question");
    assert_eq!(change(good.len() - 1, 3), Err(InvalidMessage::Class), "class CH");
    let trailing = [&good[..], b"x"].concat();
    assert_eq!(read(&trailing), Err(InvalidMessage::Trailing));
    let edns = with_edns(good.clone(), 4096, &[0, 10, 0, 1, 7]);
    assert_eq!(read(&edns).expect("EDNS").edns_size, 4096);
    assert_eq!(read(&[&edns[..], b"x"].concat()), Err(InvalidMessage::Trailing));
    let longest = [vec!["a"; 125].join("."), "bbb".to_owned()].join(".");
    assert!(read(&query(&longest)).is_ok(), "255 bytes of name");
    let longer = [vec!["a"; 125].join("."), "bbbb".to_owned()].join(".");
    assert_eq!(read(&query(&longer)), Err(InvalidMessage::NameTooLong));
}

#[test]
fn what_is_refused_is_answered_as_configured_and_edns_is_lowered() {
    let mut world = world();
    let Asked::Refuse(refusal) = put(&world, &workload(), &query("www.example.org")) else {
        panic!("not refused");
    };
    assert_eq!((refusal.old_flags, refusal.new_flags), (0x0100, 0x8183), "NXDOMAIN");
    world.flags = setting_flag::DNS_REFUSED;
    let Asked::Refuse(refusal) = put(&world, &workload(), &query("www.example.org")) else {
        panic!("not refused");
    };
    assert_eq!(refusal.new_flags, 0x8185, "REFUSED");
    for mode in [mode::ALLOW_ANY, mode::GATEWAY] {
        let relaxed = Workload { mode, ..workload() };
        let asked = put(&world, &relaxed, &query("www.example.org"));
        assert_eq!(asked_reason(asked), Reason::AllowAny);
    }

    let plain = query("www.example.com");
    let size_at = plain.len() + 3;
    for (size, clamped) in [(4096, size_at), (1233, size_at), (1232, 0), (512, 0)] {
        let asked = put(&world, &workload(), &with_edns(plain.clone(), size, &[]));
        assert_eq!(asked, Asked::Pass { reason: Reason::NameGranted, clamp_at: clamped }, "{size}");
    }
}

#[test]
fn an_answer_counts_once_and_only_for_what_was_asked() {
    let world = world();
    let bytes = answer("www.example.com", &[("www.example.com", a("192.0.2.1"), 60)]);
    let not_asked = Answer::Drop(Reason::AnswerNotAsked);
    assert_eq!(get(&world, &bytes), not_asked);
    put(&world, &workload(), &query("www.example.com"));
    assert_eq!(get_from(&world, "192.0.2.54", PORT, &bytes), not_asked, "another server");
    assert_eq!(get_from(&world, RESOLVER, PORT + 1, &bytes), not_asked, "another port");
    let mut other_id = bytes.clone();
    other_id[0] ^= 1;
    assert_eq!(get(&world, &other_id), not_asked);
    assert!(learned(&world, "192.0.2.1").is_empty());
    assert!(matches!(get(&world, &bytes), Answer::Pass(heard) if heard.pattern == SITE));
    assert_eq!(learned(&world, "192.0.2.1"), [SITE]);
    assert_eq!(get(&world, &bytes), not_asked, "a second time");

    put(&world, &workload(), &query("www.example.com"));
    let other_name = answer("a.wild.example", &[("a.wild.example", a("192.0.2.2"), 60)]);
    assert_eq!(get(&world, &other_name), not_asked, "another name");
    assert!(learned(&world, "192.0.2.2").is_empty());
}

#[test]
fn a_late_answer_is_not_heard() {
    let mut world = world();
    put(&world, &workload(), &query("www.example.com"));
    world.later = 16;
    let bytes = answer("www.example.com", &[("www.example.com", a("192.0.2.1"), 60)]);
    assert_eq!(get(&world, &bytes), Answer::Drop(Reason::AnswerNotAsked));
}

#[test]
fn the_whole_chain_belongs_to_the_question() {
    let world = world();
    put(&world, &workload(), &query("www.example.com"));
    let target = Name::from_ascii("edge.cdn.example").expect("a name");
    let bytes = answer(
        "www.example.com",
        &[
            ("www.example.com", RData::CNAME(rdata::CNAME(target)), 60),
            ("edge.cdn.example", a("192.0.2.1"), 60),
            ("edge.cdn.example", a("2001:db8::1"), 60),
        ],
    );
    assert!(matches!(get(&world, &bytes), Answer::Pass(_)));
    assert_eq!(learned(&world, "192.0.2.1"), [SITE]);
    assert_eq!(learned(&world, "2001:db8::1"), [SITE]);
}

#[test]
fn internal_addresses_are_never_learned() {
    let mut world = world();
    world.prefix(PolicyId::INTERNAL, "10.0.0.0/8", SubjectId::prefix(1));
    put(&world, &workload(), &query("www.example.com"));
    let inside = ["127.0.0.1", "169.254.169.254", "10.1.2.3", "::1", "fe80::1", "0.0.0.0"];
    let mut records: Vec<_> =
        inside.iter().map(|address| ("www.example.com", a(address), 60)).collect();
    records.push(("www.example.com", a("192.0.2.1"), 60));
    assert!(matches!(get(&world, &answer("www.example.com", &records)), Answer::Pass(_)));
    for address in inside {
        assert!(learned(&world, address).is_empty(), "{address}");
    }
    assert_eq!(world.notes.borrow().len(), inside.len());
    assert_eq!(learned(&world, "192.0.2.1"), [SITE], "the twin in the same answer");
}

#[test]
fn a_ttl_is_kept_between_its_bounds() {
    for (ttl, hold) in
        [(0, 60), (29, 60), (100, 130), (u32::MAX, 60), (30 * 86_400, 7 * 86_400 + 30)]
    {
        let world = world();
        put(&world, &workload(), &query("www.example.com"));
        let bytes = answer("www.example.com", &[("www.example.com", a("192.0.2.1"), ttl)]);
        assert!(matches!(get(&world, &bytes), Answer::Pass(_)), "{ttl}");
        let facts = world.facts.borrow();
        let packed = facts.values().next().expect("a fact").slots[0];
        assert_eq!(exeat_common::abi::Fact::unpack(packed).expiry, NOW + hold, "TTL {ttl}");
    }
}

#[test]
fn of_many_addresses_the_first_sixty_four_are_learned() {
    let world = world();
    put(&world, &workload(), &query("www.example.com"));
    let addresses: Vec<String> = (0..70).map(|last| format!("192.0.2.{last}")).collect();
    let records: Vec<_> =
        addresses.iter().map(|address| ("www.example.com", a(address), 60)).collect();
    assert!(matches!(get(&world, &answer("www.example.com", &records)), Answer::Pass(_)));
    assert_eq!(learned(&world, "192.0.2.63"), [SITE]);
    assert!(learned(&world, "192.0.2.64").is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    /// Whatever is accepted, hickory reads the same question from it.
    #[test]
    fn an_accepted_query_is_what_hickory_reads(
        mutations in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..4),
        edns in any::<bool>(),
        cut in 0..4_usize,
    ) {
        let mut bytes = query("a.Wild.example");
        if edns {
            bytes = with_edns(bytes, 4096, &[0, 10, 0, 2, 1, 2]);
        }
        for (at, byte) in mutations {
            let at = usize::from(at) % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len() - cut);
        let mut buffer = NameBuffer::new();
        let world = World::default();
        let ours = with_bytes(&bytes, |message| read_question(message, &mut buffer, &world));
        if let (Ok(ours), Ok(theirs)) = (ours, Message::from_vec(&bytes)) {
            let question = theirs.queries.first().expect("one question");
            assert_eq!(theirs.queries.len(), 1);
            assert_eq!(u16::from(question.query_type()), ours.query_type);
            let labels: Vec<u8> = question
                .name()
                .iter()
                .flat_map(|label| {
                    let length = u8::try_from(label.len()).expect("a label");
                    std::iter::once(length).chain(label.to_ascii_lowercase())
                })
                .chain([0])
                .collect();
            assert_eq!(&buffer.key()[..ours.name.length], labels);
        }
    }

    /// Nothing is learned that hickory does not find among the answers.
    #[test]
    fn nothing_is_learned_that_is_not_in_the_answer(
        mutations in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..5),
        cut in 0..8_usize,
    ) {
        let world = world();
        put(&world, &workload(), &query("www.example.com"));
        let target = Name::from_ascii("edge.cdn.example").expect("a name");
        let mut bytes = answer("www.example.com", &[
            ("www.example.com", RData::CNAME(rdata::CNAME(target)), 60),
            ("edge.cdn.example", a("192.0.2.1"), 60),
            ("edge.cdn.example", a("2001:db8::1"), 60),
        ]);
        for (at, byte) in mutations {
            // Past the header: a changed transaction is simply not heard.
            let at = 2 + usize::from(at) % (bytes.len() - 2);
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len() - cut);
        let _heard = get(&world, &bytes);
        let known: Vec<Address> = world.facts.borrow().keys().map(|key| key.address).collect();
        if let Ok(theirs) = Message::from_vec(&bytes) {
            let found: Vec<Address> = theirs
                .answers
                .iter()
                .filter_map(|record| record.data.ip_addr())
                .map(Address::from)
                .collect();
            for address in known {
                assert!(found.contains(&address), "{address:?} from {bytes:02x?}");
            }
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let world = world();
        let _asked = put(&world, &workload(), &bytes);
        put(&world, &workload(), &query("www.example.com"));
        // The transaction of the query, so that the rest is read at all.
        let mut bytes = bytes;
        if bytes.len() > 32 {
            bytes[..2].copy_from_slice(&[0x12, 0x34]);
            bytes[2] |= 0x80;
            bytes[4..6].copy_from_slice(&[0, 1]);
            bytes[12..29].copy_from_slice(&support::wire("www.example.com"));
        }
        let _heard = get(&world, &bytes);
    }
}

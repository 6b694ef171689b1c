//! Names that the registry gives addresses: what a client is told in place, as another parser reads it.

#![cfg(test)]

mod support;

use std::net::{IpAddr, SocketAddr};

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use exeat_common::{
    abi::{BackendKey, NameValue, RuleKey, RuleValue, Workload, action, mode},
    dns::{
        Asked, MESSAGE_BUFFER_BYTES, MessageBytes, NameBuffer, TOLD_BYTES, Transport, ask, tell,
    },
    flow::protocol,
    id::{PolicyId, SubjectId},
    limits::{EDNS_BYTES, TOLD_ADDRESSES, TOLD_TTL_SECONDS},
    packet::{ETHERNET_BYTES, HEADER_BUFFER_BYTES, HeaderBytes, Packet},
    reply::{Reply, answer},
};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, RecordType, rdata::opt::EdnsOption},
};
use support::{POD, POLICY, RESOLVER, World, address, workload};
use zerocopy::IntoBytes as _;

const DB: SubjectId = SubjectId::pattern(1, true, 3);
const WWW: SubjectId = SubjectId::pattern(2, true, 3);
const TARGET: u32 = 9;
/// In the frame.
const RESOLVER_V6: &str = "2001:db8::53";
const POD_V6: &str = "2001:db8:9::2";

/// `db.internal.example`, which has these addresses here, and `www.example.com`, which has none.
fn world(addresses: &[&str]) -> World {
    let none = NameValue { exact: SubjectId::NONE, wildcard: SubjectId::NONE, flags: 0 };
    let mut world = World { generation: 1, ..World::default() };
    world.name("db.internal.example", NameValue { exact: DB, ..none });
    world.name("www.example.com", NameValue { exact: WWW, ..none });
    for site in [DB, WWW] {
        world.grant(site, 443, protocol::TCP, RuleValue::ALLOW);
    }
    let told = RuleValue { action: action::REDIRECT, target: TARGET, ..RuleValue::ALLOW };
    world.rules.insert(RuleKey::answer(POLICY, DB), told);
    for (index, text) in (0..).zip(addresses) {
        world.backends.insert(BackendKey { target: TARGET, index }, address(text));
    }
    world
}

const BOTH: [&str; 3] = ["240.240.0.7", "240.240.0.8", "2001:2::7"];

fn question(name: &str, kind: RecordType, edns: Option<Edns>) -> Vec<u8> {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    message.edns = edns;
    message.to_vec().expect("a message")
}

fn put(world: &World, workload: &Workload, transport: Transport, bytes: &[u8]) -> Asked {
    let packet = Packet::udp((address(POD), 4000), (address(RESOLVER), 53));
    let buffer = buffer(bytes);
    let message = MessageBytes::new(&buffer, bytes.len());
    ask(workload, &packet, transport, &message, &mut NameBuffer::new(), world)
}

fn buffer(bytes: &[u8]) -> [u8; MESSAGE_BUFFER_BYTES] {
    // What an earlier message left there.
    let mut buffer = [0xa5; MESSAGE_BUFFER_BYTES];
    buffer[..bytes.len()].copy_from_slice(bytes);
    buffer
}

/// The answer as it goes back, or none if the resolver is asked.
fn told(world: &World, bytes: &[u8]) -> Option<Vec<u8>> {
    let Asked::Tell(telling) = put(world, &workload(), Transport::Udp, bytes) else {
        return None;
    };
    let mut buffer = buffer(bytes);
    let length = tell(&telling, &mut buffer, world);
    assert!(length <= TOLD_BYTES, "{length} bytes");
    Some(buffer[..length].to_vec())
}

#[track_caller]
fn read(bytes: &[u8]) -> Message {
    let message = Message::from_vec(bytes).expect("an answer");
    assert_eq!(message.to_vec().expect("a message").len(), bytes.len(), "nothing behind it");
    message
}

fn addresses(message: &Message) -> Vec<IpAddr> {
    let of = |data: &RData| data.ip_addr().expect("an address");
    message.answers.iter().map(|record| of(&record.data)).collect()
}

#[test]
fn a_question_becomes_its_own_answer() {
    let world = world(&BOTH);
    for (kind, wanted) in [
        (RecordType::A, &BOTH[..2]),
        (RecordType::AAAA, &BOTH[2..]),
        (RecordType::HTTPS, &[]),
        (RecordType::SVCB, &[]),
    ] {
        let query = question("dB.iNtErNaL.eXaMpLe", kind, None);
        let bytes = told(&world, &query).expect("an answer in place");
        // The question as it was spelt (0x20), and the transaction.
        let end = query.len();
        assert_eq!((&bytes[..2], &bytes[12..end]), (&query[..2], &query[12..]), "{kind}");
        let message = read(&bytes);
        let meta = &message.metadata;
        assert_eq!(
            (meta.message_type, meta.response_code),
            (MessageType::Response, ResponseCode::NoError)
        );
        assert!(meta.authoritative && meta.recursion_desired && meta.recursion_available);
        assert!(!meta.truncation && message.edns.is_none());
        let wanted: Vec<IpAddr> = wanted.iter().map(|it| it.parse().expect("an address")).collect();
        assert_eq!(addresses(&message), wanted, "{kind}");
        for record in &message.answers {
            assert_eq!((record.ttl, record.record_type()), (TOLD_TTL_SECONDS, kind));
            assert_eq!(record.name.to_ascii(), "dB.iNtErNaL.eXaMpLe.");
        }
    }
    // Nobody waits for an answer.
    assert!(world.queries.borrow().is_empty());
}

#[test]
fn a_family_that_the_host_has_no_address_of_has_no_records() {
    let world = world(&BOTH[..1]);
    let bytes = told(&world, &question("db.internal.example", RecordType::AAAA, None));
    let message = read(&bytes.expect("an answer in place"));
    assert_eq!(message.metadata.response_code, ResponseCode::NoError);
    assert!(message.answers.is_empty());
}

#[test]
fn flags_of_the_question_are_copied_as_far_as_they_are_the_clients() {
    let world = world(&BOTH);
    let mut query = question("db.internal.example", RecordType::A, None);
    for (flags, wanted) in [(0x0000, 0x8480), (0x0100, 0x8580), (0x0110, 0x8590), (0x0130, 0x8590)]
    {
        query[2..4].copy_from_slice(&u16::to_be_bytes(flags));
        let bytes = told(&world, &query).expect("an answer in place");
        assert_eq!(bytes[2..4], u16::to_be_bytes(wanted), "{flags:#x}");
    }
}

#[test]
fn an_edns_record_is_answered_by_one_without_options() {
    let world = world(&BOTH);
    let mut edns = Edns::new();
    edns.set_max_payload(4096).set_dnssec_ok(true).set_version(0);
    edns.options_mut().insert(EdnsOption::Unknown(10, vec![7; 24]));
    for (kind, wanted) in [(RecordType::A, 2), (RecordType::AAAA, 1), (RecordType::HTTPS, 0)] {
        let query = question("db.internal.example", kind, Some(edns.clone()));
        let message = read(&told(&world, &query).expect("an answer in place"));
        assert_eq!(message.answers.len(), wanted);
        let told = message.edns.as_ref().expect("an EDNS record");
        assert_eq!((told.max_payload(), told.version(), told.rcode_high()), (EDNS_BYTES, 0, 0));
        assert!(told.flags().dnssec_ok && told.options().as_ref().is_empty());
    }
    // RFC 6891 §6.1.3.
    edns.set_version(1);
    let query = question("db.internal.example", RecordType::A, Some(edns));
    let message = read(&told(&world, &query).expect("an answer in place"));
    let told = message.edns.as_ref().expect("an EDNS record");
    assert_eq!((message.answers.len(), told.version(), told.rcode_high()), (0, 0, 1));
}

#[test]
fn what_has_no_addresses_here_goes_to_the_resolver() {
    let world = world(&BOTH);
    let passes = |workload: &Workload, transport, name, kind| {
        let asked = put(&world, workload, transport, &question(name, kind, None));
        assert!(matches!(asked, Asked::Pass { .. }), "{name} {kind}: {asked:?}");
    };
    let own = workload();
    // The name without an address, and types that say nothing of addresses.
    passes(&own, Transport::Udp, "www.example.com", RecordType::A);
    for kind in [RecordType::TXT, RecordType::MX, RecordType::SRV, RecordType::CNAME] {
        passes(&own, Transport::Udp, "db.internal.example", kind);
    }
    // Where packets are judged at the sockets, none can be answered.
    let at_sockets = Workload { flags: 0, ..own };
    passes(&at_sockets, Transport::Udp, "db.internal.example", RecordType::A);
    // Over TCP the answer would not fit in the place of the question.
    passes(&own, Transport::Tcp, "db.internal.example", RecordType::A);
}

#[test]
fn who_does_not_see_the_entry_is_told_nothing_of_it() {
    let world = world(&BOTH);
    let query = question("db.internal.example", RecordType::A, None);
    let stranger = Workload { policy: PolicyId::new(6), ..workload() };
    assert!(matches!(put(&world, &stranger, Transport::Udp, &query), Asked::Refuse(_)));
    // Where everything is allowed, the registry still says where the name is.
    let relaxed = Workload { mode: mode::ALLOW_ANY, ..workload() };
    assert!(matches!(put(&world, &relaxed, Transport::Udp, &query), Asked::Tell(_)));
}

#[test]
fn the_longest_name_with_most_addresses_fits() {
    let most = TOLD_ADDRESSES as usize;
    let texts: Vec<String> = (0..=most).map(|it| format!("2001:2::{it:x}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut world = world(&texts);
    let name = [["a"; 63].join(""), ["b"; 63].join(""), ["c"; 63].join(""), ["d"; 61].join("")];
    let name = name.join(".");
    world.name(&name, NameValue { exact: DB, wildcard: SubjectId::NONE, flags: 0 });
    let query = question(&name, RecordType::AAAA, Some(Edns::new()));
    let bytes = told(&world, &query).expect("an answer in place");
    assert_eq!((bytes.len(), read(&bytes).answers.len()), (TOLD_BYTES, most));
}

/// The frame of an answer: headers as they are made for `query`, and `told` after them.
fn framed(query: &[u8], told: &[u8]) -> Vec<u8> {
    let parsed = SlicedPacket::from_ethernet(query).expect("a frame");
    let Some(TransportSlice::Udp(udp)) = &parsed.transport else { panic!("no datagram") };
    let payload = query.len() - udp.payload().len();
    let (from, to) = ends(&parsed);
    let mut packet = Packet::udp((from.ip().into(), from.port()), (to.ip().into(), to.port()));
    packet.payload = payload;
    packet.payload_length = udp.payload().len();
    let mut header = [0; HEADER_BUFFER_BYTES];
    let most = query.len().min(HEADER_BUFFER_BYTES);
    header[..most].copy_from_slice(&query[..most]);
    let mut message = [0; MESSAGE_BUFFER_BYTES];
    message[..told.len()].copy_from_slice(told);
    let mut reply = Reply::default();
    let header = HeaderBytes::new(&header, query.len());
    let message = MessageBytes::new(&message, told.len());
    assert!(answer(&packet, &header, &message, &World::default(), &mut reply));
    let network = if from.is_ipv4() { reply.v4.as_bytes() } else { reply.v6.as_bytes() };
    [&reply.link.as_bytes()[..ETHERNET_BYTES], network, &reply.transport.as_bytes()[..8], told]
        .concat()
}

fn ends(packet: &SlicedPacket<'_>) -> (SocketAddr, SocketAddr) {
    let (from, to): (IpAddr, IpAddr) = match packet.net.as_ref().expect("IP") {
        NetSlice::Ipv4(v4) => {
            (v4.header().source_addr().into(), v4.header().destination_addr().into())
        }
        NetSlice::Ipv6(v6) => {
            (v6.header().source_addr().into(), v6.header().destination_addr().into())
        }
        NetSlice::Arp(_) => panic!("ARP"),
    };
    let Some(TransportSlice::Udp(udp)) = &packet.transport else { panic!("no datagram") };
    (SocketAddr::new(from, udp.source_port()), SocketAddr::new(to, udp.destination_port()))
}

#[test]
fn the_datagram_comes_from_whom_was_asked_with_a_right_checksum() {
    for (pod, resolver) in [(POD, RESOLVER), (POD_V6, RESOLVER_V6)] {
        for count in 1..=TOLD_ADDRESSES as usize {
            let texts: Vec<String> = (1..=count).map(|it| format!("240.240.{it}.{it}")).collect();
            let world = world(&texts.iter().map(String::as_str).collect::<Vec<_>>());
            let query = question("db.internal.example", RecordType::A, None);
            let bytes = told(&world, &query).expect("an answer in place");
            // Of every length, so of odd ones as well.
            for cut in 0..4 {
                let bytes = &bytes[..bytes.len() - cut];
                check_frame(pod, resolver, &query, bytes);
            }
        }
    }
}

#[track_caller]
fn check_frame(pod: &str, resolver: &str, query: &[u8], told: &[u8]) {
    let (pod, resolver): (IpAddr, IpAddr) = (pod.parse().unwrap(), resolver.parse().unwrap());
    let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let builder = match (pod, resolver) {
        (IpAddr::V4(pod), IpAddr::V4(resolver)) => link.ipv4(pod.octets(), resolver.octets(), 64),
        (IpAddr::V6(pod), IpAddr::V6(resolver)) => link.ipv6(pod.octets(), resolver.octets(), 64),
        _ => unreachable!("one family"),
    };
    let mut frame = Vec::new();
    builder.udp(4000, 53).write(&mut frame, query).expect("a frame");
    let answer = framed(&frame, told);
    assert_eq!((&answer[..6], &answer[6..12]), (&[2; 6][..], &[4; 6][..]), "back to its sender");
    let packet = SlicedPacket::from_ethernet(&answer).expect("a frame");
    let (from, to) = ends(&packet);
    assert_eq!((from, to), (SocketAddr::new(resolver, 53), SocketAddr::new(pod, 4000)));
    let Some(TransportSlice::Udp(udp)) = &packet.transport else { panic!("no datagram") };
    assert_eq!(udp.payload(), told);
    let header = udp.to_header();
    let sum = match packet.net.as_ref().expect("IP") {
        NetSlice::Ipv4(v4) => {
            let header_of_v4 = v4.header().to_header();
            assert_eq!(header_of_v4.calc_header_checksum(), header_of_v4.header_checksum);
            header.calc_checksum_ipv4(&header_of_v4, told)
        }
        NetSlice::Ipv6(v6) => header.calc_checksum_ipv6(&v6.header().to_header(), told),
        NetSlice::Arp(_) => panic!("ARP"),
    };
    assert_eq!(header.checksum, sum.expect("a checksum"));
}

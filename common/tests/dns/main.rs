//! Questions and answers: what is let through, what is learned, and agreement with hickory-proto.

#![cfg(test)]

mod agreement;
mod answers;
mod chain;
mod hints;
mod oracle;
mod questions;
mod search;
#[path = "../support/mod.rs"]
mod support;
mod writer;

use std::net::IpAddr;

use exeat_common::{
    abi::{NameValue, RuleValue, Workload, name_flag},
    dns::{
        Answer, Asked, MESSAGE_BUFFER_BYTES, MessageBytes, NameBuffer, Question, Room, Transport,
        ask, hear, message::InvalidMessage, read_question,
    },
    flow::protocol,
    id::SubjectId,
    packet::Packet,
};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RData, Record, RecordType, rdata},
};
use support::{POD, RESOLVER, World, address, workload};

pub(crate) const SITE: SubjectId = SubjectId::pattern(1, true, 3);
pub(crate) const WILD: SubjectId = SubjectId::pattern(2, false, 2);
pub(crate) const DEEP: SubjectId = SubjectId::pattern(3, false, 3);
pub(crate) const PORT: u16 = 4000;

/// `www.example.com`, `*.wild.example`, `*.deep.wild.example` (somebody else's), and the cluster.
pub(crate) fn world() -> World {
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

pub(crate) fn query(name: &str) -> Vec<u8> {
    query_of(name, 1)
}

pub(crate) fn query_of(name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    bytes.extend(support::wire(name));
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}

pub(crate) fn with_edns(mut bytes: Vec<u8>, size: u16, options: &[u8]) -> Vec<u8> {
    bytes[11] = 1;
    bytes.extend([0, 0, 41]);
    bytes.extend(size.to_be_bytes());
    bytes.extend([0, 0, 0, 0]);
    bytes.extend(u16::try_from(options.len()).expect("short").to_be_bytes());
    bytes.extend(options);
    bytes
}

pub(crate) fn with_bytes<T>(bytes: &[u8], use_it: impl FnOnce(&MessageBytes<'_>) -> T) -> T {
    let mut buffer = [0; MESSAGE_BUFFER_BYTES];
    buffer[..bytes.len()].copy_from_slice(bytes);
    use_it(&MessageBytes::new(&buffer, bytes.len()))
}

pub(crate) fn read(bytes: &[u8]) -> Result<Question, InvalidMessage> {
    let mut buffer = NameBuffer::new();
    with_bytes(bytes, |message| read_question(message, &mut buffer, &World::default()))
}

pub(crate) fn packet(from: (&str, u16), to: (&str, u16)) -> Packet {
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

pub(crate) fn put(world: &World, workload: &Workload, bytes: &[u8]) -> Asked {
    let packet = packet((POD, PORT), (RESOLVER, 53));
    let mut buffer = NameBuffer::new();
    with_bytes(bytes, |message| ask(workload, &packet, Transport::Udp, message, &mut buffer, world))
}

pub(crate) fn get_from(world: &World, resolver: &str, port: u16, bytes: &[u8]) -> Answer {
    let packet = packet((resolver, 53), (POD, port));
    let mut room = Box::new(Room::new());
    with_bytes(bytes, |message| {
        hear(&workload(), &packet, Transport::Udp, message, &mut room, world)
    })
}

pub(crate) fn get(world: &World, bytes: &[u8]) -> Answer {
    get_from(world, RESOLVER, PORT, bytes)
}

/// An answer as a resolver writes it.
pub(crate) fn answer(name: &str, records: &[(&str, RData, u32)]) -> Vec<u8> {
    let mut message = Message::new(0x1234, MessageType::Response, OpCode::Query);
    let owner = Name::from_ascii(name).expect("a name");
    message.add_query(Query::query(owner, RecordType::A));
    for (owner, data, ttl) in records {
        let owner = Name::from_ascii(owner).expect("a name");
        message.add_answer(Record::from_rdata(owner, *ttl, data.clone()));
    }
    message.to_vec().expect("a message")
}

pub(crate) fn a(text: &str) -> RData {
    match text.parse().expect("an address") {
        IpAddr::V4(v4) => RData::A(rdata::A(v4)),
        IpAddr::V6(v6) => RData::AAAA(rdata::AAAA(v6)),
    }
}

pub(crate) fn learned(world: &World, of: &str) -> Vec<SubjectId> {
    world.knows(of)
}

//! Questions and answers: what is let through, what is learned, and agreement with hickory-proto.

#![cfg(test)]

mod agreement;
mod answers;
mod chain;
mod exchange;
mod hints;
mod oracle;
mod questions;
mod rule;
mod search;
mod seeds;
#[path = "../support/mod.rs"]
mod support;
mod writer;

use std::net::IpAddr;

use exeat_common::{
    dns::{NameBuffer, Question, message::InvalidMessage, read_question},
    id::SubjectId,
};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RData, Record, RecordType, rdata},
};
use support::World;

pub(crate) use exchange::{PORT, SITE, WILD, get, get_from, put, with_bytes, world};

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

pub(crate) fn read(bytes: &[u8]) -> Result<Question, InvalidMessage> {
    let mut buffer = NameBuffer::new();
    with_bytes(bytes, |message| read_question(message, &mut buffer, &World::default()))
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

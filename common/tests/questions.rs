//! Questions beyond their names: what may be asked about a name that may be asked for.

#![cfg(test)]

mod support;

use exeat_common::{
    abi::{NameValue, RuleValue, Workload, mode, name_flag, setting_flag},
    dns::{Asked, MESSAGE_BUFFER_BYTES, MessageBytes, NameBuffer, Refusal, Transport, ask},
    flow::protocol,
    id::SubjectId,
    packet::Packet,
    reason::Reason,
};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RecordType},
};
use support::{POD, RESOLVER, World, address, workload};

const SITE: SubjectId = SubjectId::pattern(1, true, 3);

/// `www.example.com`, and the cluster.
fn world() -> World {
    let none = NameValue { exact: SubjectId::NONE, wildcard: SubjectId::NONE, flags: 0 };
    let mut world = World { generation: 1, ..World::default() };
    world.name("www.example.com", NameValue { exact: SITE, ..none });
    let cluster = name_flag::INTERNAL | name_flag::INTERNAL_BELOW;
    world.name("cluster.local", NameValue { flags: cluster, ..none });
    world.grant(SITE, 443, protocol::TCP, RuleValue::ALLOW);
    world
}

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    message.edns = Some(Edns::new());
    message.to_vec().expect("a message")
}

fn put(world: &World, workload: &Workload, bytes: &[u8]) -> Asked {
    let packet = Packet::udp((address(POD), 4000), (address(RESOLVER), 53));
    let mut buffer = [0; MESSAGE_BUFFER_BYTES];
    buffer[..bytes.len()].copy_from_slice(bytes);
    let message = MessageBytes::new(&buffer, bytes.len());
    ask(workload, &packet, Transport::Udp, &message, &mut NameBuffer::new(), world)
}

/// What the workload is told: the question with its flags replaced, as the kernel does it.
fn told(bytes: &[u8], refusal: &Refusal) -> Message {
    let mut answer = bytes.to_vec();
    assert_eq!(answer[2..4], refusal.old_flags.to_be_bytes());
    answer[2..4].copy_from_slice(&refusal.new_flags.to_be_bytes());
    Message::from_vec(&answer).expect("an answer")
}

#[track_caller]
fn refused(world: &World, bytes: &[u8]) -> Refusal {
    match put(world, &workload(), bytes) {
        Asked::Refuse(refusal) => refusal,
        other @ (Asked::Pass { .. } | Asked::Tell(_) | Asked::Drop(_)) => {
            panic!("not refused: {other:?}")
        }
    }
}

#[test]
fn a_type_that_may_not_be_asked_for_is_one_the_name_does_not_have() {
    for flags in [0, setting_flag::DNS_REFUSED] {
        let unasked_types = vec![RecordType::NULL.into(), RecordType::ANY.into()];
        let world = World { flags, unasked_types, ..world() };
        for name in ["www.example.com", "kubernetes.default.svc.cluster.local"] {
            for kind in [RecordType::NULL, RecordType::ANY] {
                let bytes = question(name, kind);
                let refusal = refused(&world, &bytes);
                assert_eq!((refusal.reason, refusal.query_type), (Reason::QueryType, kind.into()));
                let told = told(&bytes, &refusal);
                assert_eq!(told.metadata.message_type, MessageType::Response);
                assert_eq!(told.metadata.response_code, ResponseCode::NoError, "{name} {kind}");
                assert!(told.answers.is_empty() && told.metadata.recursion_desired);
            }
            // The twin: another type of the same name.
            let asked = put(&world, &workload(), &question(name, RecordType::TXT));
            assert!(matches!(asked, Asked::Pass { .. }), "{name}: {asked:?}");
        }
    }
}

#[test]
fn of_a_name_that_is_not_granted_the_type_plays_no_part() {
    let world = World { unasked_types: vec![RecordType::NULL.into()], ..world() };
    for kind in [RecordType::A, RecordType::NULL] {
        let bytes = question("www.example.org", kind);
        let refusal = refused(&world, &bytes);
        assert_eq!(refusal.reason, Reason::NameNotGranted, "{kind}");
        assert_eq!(told(&bytes, &refusal).metadata.response_code, ResponseCode::NXDomain);
    }
}

#[test]
fn where_everything_is_allowed_every_type_is() {
    let world = World { unasked_types: vec![RecordType::NULL.into()], ..world() };
    for mode in [mode::ALLOW_ANY, mode::GATEWAY] {
        let relaxed = Workload { mode, ..workload() };
        for name in ["www.example.com", "www.example.org"] {
            let asked = put(&world, &relaxed, &question(name, RecordType::NULL));
            assert!(matches!(asked, Asked::Pass { .. }), "{name}: {asked:?}");
        }
    }
}

#[test]
fn a_question_that_is_refused_is_not_remembered() {
    let world = World { unasked_types: vec![RecordType::NULL.into()], ..world() };
    refused(&world, &question("www.example.com", RecordType::NULL));
    assert!(world.queries.borrow().is_empty());
    put(&world, &workload(), &question("www.example.com", RecordType::A));
    assert_eq!(world.queries.borrow().len(), 1);
}

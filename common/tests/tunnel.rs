//! What questions below wildcards may carry: the limits, whom they concern, and what is counted.

#![cfg(test)]

mod support;

use exeat_common::{
    abi::{NameValue, RuleValue, WildcardLimits, Workload, mode, name_flag},
    dns::{Asked, Burden, MESSAGE_BUFFER_BYTES, MessageBytes, NameBuffer, Transport, ask},
    flow::protocol,
    id::SubjectId,
    packet::Packet,
    reason::Reason,
};
use support::{POD, RESOLVER, World, address, wire, workload};

const SITE: SubjectId = SubjectId::pattern(1, true, 3);
const CDN: SubjectId = SubjectId::pattern(2, false, 3);
const OTHERS: SubjectId = SubjectId::pattern(3, false, 4);

/// 32 characters that say 32 times nearly five bits.
const DATA: &str = "a2zb3yc4xd5we6vf7ugqhtirjskplmon";

/// `www.example.com` and `*.cdn.example`. Below that, `*.eu.cdn.example` was declared for others, and
/// the rules say of it what the shorter wildcard grants.
fn world(limits: WildcardLimits) -> World {
    let none = NameValue { exact: SubjectId::NONE, wildcard: SubjectId::NONE, flags: 0 };
    let mut world = World { generation: 1, limits: Some(limits), ..World::default() };
    world.name("www.example.com", NameValue { exact: SITE, ..none });
    world.name("cdn.example", NameValue { wildcard: CDN, ..none });
    world.name("eu.cdn.example", NameValue { wildcard: OTHERS, ..none });
    let cluster = name_flag::INTERNAL | name_flag::INTERNAL_BELOW;
    world.name("cluster.local", NameValue { wildcard: CDN, flags: cluster, ..none });
    for subject in [SITE, CDN, OTHERS] {
        world.grant(subject, 443, protocol::TCP, RuleValue::ALLOW);
    }
    world
}

const fn limits(queries_per_second: u32, label_bytes: u16, entropy_bits: u16) -> WildcardLimits {
    WildcardLimits { queries_per_second, label_bytes, entropy_bits }
}

fn put_as(world: &World, workload: &Workload, name: &str) -> Asked {
    let packet = Packet::udp((address(POD), 4000), (address(RESOLVER), 53));
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(wire(name));
    message.extend([0, 16, 0, 1]);
    let mut buffer = [0; MESSAGE_BUFFER_BYTES];
    buffer[..message.len()].copy_from_slice(&message);
    let bytes = MessageBytes::new(&buffer, message.len());
    ask(workload, &packet, Transport::Udp, &bytes, &mut NameBuffer::new(), world)
}

#[track_caller]
fn passes(world: &World, name: &str) {
    let asked = put_as(world, &workload(), name);
    assert!(matches!(asked, Asked::Pass { .. }), "{name}: {asked:?}");
}

#[track_caller]
fn is_refused(world: &World, name: &str) {
    const REFUSED: u16 = 5;
    match put_as(world, &workload(), name) {
        Asked::Refuse(refusal) => {
            assert_eq!((refusal.reason, refusal.new_flags & 15), (Reason::QueryLimit, REFUSED));
        }
        other @ (Asked::Pass { .. } | Asked::Tell(_) | Asked::Drop(_)) => {
            panic!("{name}: not refused: {other:?}")
        }
    }
}

fn below(labels: &str) -> String {
    format!("{labels}.cdn.example")
}

#[test]
fn without_limits_everything_passes_and_is_counted() {
    let world = world(limits(0, 0, 0));
    for _ in 0..1_000 {
        passes(&world, &below(DATA));
    }
    passes(&world, &below("w.ww"));
    let carried = world.carried.borrow();
    assert_eq!(carried.len(), 1_001);
    // 33 bytes, each another: 33 * log2(33).
    assert_eq!(carried[0], Burden { bytes: 33, label_bytes: 32, entropy_bits: 166 });
    // The lengths 1 and 2, and three times a w: 5 * log2(5) - 3 * log2(3).
    assert_eq!(carried[1_000], Burden { bytes: 5, label_bytes: 2, entropy_bits: 6 });
}

#[test]
fn a_label_may_be_as_long_as_the_limit() {
    let world = world(limits(0, 32, 0));
    passes(&world, &below(DATA));
    passes(&world, &below(&format!("{DATA}.{DATA}.{DATA}")));
    for longer in [format!("{DATA}0"), format!("a.{DATA}0.b"), "0".repeat(63)] {
        is_refused(&world, &below(&longer));
    }
    assert_eq!(world.carried.borrow().len(), 2, "what is refused is not counted as carried");
    assert!(world.queries.borrow().len() == 1, "nor waited for");
}

#[test]
fn labels_may_say_as_much_as_the_limit() {
    let world = world(limits(0, 0, 166));
    passes(&world, &below(DATA));
    // Long, and always the same.
    passes(&world, &below(&"0".repeat(63)));
    is_refused(&world, &below(&format!("{DATA}.a")));
    // The same letters in short labels say no less.
    let short: Vec<String> =
        DATA.as_bytes().chunks(4).map(|it| String::from_utf8_lossy(it).into()).collect();
    is_refused(&world, &below(&short.join(".")));
}

#[test]
fn the_rate_is_the_workloads_and_comes_back() {
    let mut world = world(limits(2, 40, 0));
    for _ in 0..20 {
        passes(&world, &below("www"));
    }
    is_refused(&world, &below("www"));
    // What is refused for its labels takes nothing of the rate.
    world.later = 1;
    for _ in 0..10 {
        is_refused(&world, &below(&"0".repeat(41)));
    }
    passes(&world, &below("www"));
    passes(&world, &below("www"));
    is_refused(&world, &below("www"));
}

/// The limits are about what a workload was granted by wildcards, and about nothing else.
#[test]
fn other_names_have_no_limit() {
    let world = world(limits(1, 1, 1));
    for _ in 0..100 {
        passes(&world, "www.example.com");
        passes(&world, &format!("{DATA}.default.svc.cluster.local"));
    }
    for mode in [mode::ALLOW_ANY, mode::GATEWAY] {
        let relaxed = Workload { mode, ..workload() };
        let asked = put_as(&world, &relaxed, &below(DATA));
        assert!(matches!(asked, Asked::Pass { .. }), "{asked:?}");
    }
    assert!(world.carried.borrow().is_empty());
    is_refused(&world, &below(DATA));
}

/// Of the labels of a longer wildcard nothing can be chosen.
#[test]
fn what_the_tables_hold_carries_nothing() {
    let world = world(limits(0, 0, 0));
    passes(&world, "www.eu.cdn.example");
    passes(&world, "www.us.cdn.example");
    let bytes: Vec<u32> = world.carried.borrow().iter().map(|it| it.bytes).collect();
    assert_eq!(bytes, [4, 7]);
}

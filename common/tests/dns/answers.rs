//! What an answer teaches, and which answers count.

use exeat_common::{
    dns::Answer,
    id::{PolicyId, SubjectId},
    reason::Reason,
};
use hickory_proto::rr::{Name, RData, rdata};

use crate::{
    PORT, SITE, a, answer, get, get_from, learned, put, query,
    support::{NOW, RESOLVER, workload},
    world,
};

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
fn every_address_of_an_answer_is_learned_or_none() {
    let addresses: Vec<String> = (0..140).map(|last| format!("192.0.2.{last}")).collect();
    for count in [0, 1, 75, 128, 129, 140] {
        let world = world();
        put(&world, &workload(), &query("www.example.com"));
        let records: Vec<_> =
            addresses[..count].iter().map(|it| ("www.example.com", a(it), 60)).collect();
        let outcome = get(&world, &answer("www.example.com", &records));
        if count > 128 {
            assert_eq!(outcome, Answer::Defer, "{count}");
        } else {
            assert!(matches!(outcome, Answer::Pass(_)), "{count}");
        }
        let known = addresses.iter().filter(|it| learned(&world, it) == [SITE]).count();
        assert_eq!(known, if count > 128 { 0 } else { count });
    }
}

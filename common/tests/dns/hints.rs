//! Addresses that HTTPS and SVCB records hint at (RFC 9460).

use exeat_common::dns::Answer;

use crate::{
    SITE, get, learned, put, query_of,
    support::workload,
    world,
    writer::{Form, SHORT, Writer},
};

const SITE_NAME: &str = "www.example.com";
const EDGE: &str = "edge.cdn.example";
const HTTPS: u16 = 65;
const SVCB: u16 = 64;

/// `alpn=h2`, then one or two addresses of each family.
const PARAMETERS: &[&[u8]] = &[
    &[0, 1, 0, 3, 2, b'h', b'2'],
    &[0, 4, 0, 8, 192, 0, 2, 1, 192, 0, 2, 2],
    &[0, 6, 0, 16, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
];
const ALL: [&str; 3] = ["192.0.2.1", "192.0.2.2", "2001:db8::1"];

fn service(
    writer: &mut Writer,
    owner: &str,
    kind: u16,
    priority: u16,
    target: &str,
    parameters: &[u8],
) {
    writer.record((owner, SHORT), kind, 60, |it| {
        it.raw(&priority.to_be_bytes());
        it.name(target, Form::Whole);
        it.raw(parameters);
    });
}

#[track_caller]
fn known(kind: u16, write: impl FnOnce(&mut Writer)) -> (Answer, usize) {
    let world = world();
    put(&world, &workload(), &query_of(SITE_NAME, kind));
    let mut writer = Writer::typed(SITE_NAME, kind);
    write(&mut writer);
    let outcome = get(&world, &writer.finish());
    let count = ALL.iter().filter(|it| learned(&world, it) == [SITE]).count();
    assert_eq!(world.facts.borrow().len(), count, "nothing else is learned");
    (outcome, count)
}

#[test]
fn hints_of_the_name_itself_are_learned() {
    for kind in [HTTPS, SVCB] {
        let parameters = PARAMETERS.concat();
        let (outcome, count) = known(kind, |it| service(it, SITE_NAME, kind, 1, "", &parameters));
        assert!(matches!(outcome, Answer::Pass(heard) if heard.pattern == SITE), "{outcome:?}");
        assert_eq!(count, 3);
    }
}

#[test]
fn hints_count_where_owner_and_target_are_on_the_chain() {
    let parameters = PARAMETERS.concat();
    let on_chain = known(HTTPS, |it| {
        it.alias((SITE_NAME, SHORT), (EDGE, SHORT));
        service(it, EDGE, HTTPS, 1, "", &parameters);
        service(it, EDGE, HTTPS, 2, "Edge.CDN.example", &parameters);
        service(it, EDGE, HTTPS, 3, SITE_NAME, &parameters);
    });
    assert_eq!(on_chain.1, 3);
    let elsewhere = [
        known(HTTPS, |it| service(it, EDGE, HTTPS, 1, "", &parameters)),
        known(HTTPS, |it| service(it, SITE_NAME, HTTPS, 1, EDGE, &parameters)),
        known(HTTPS, |it| service(it, SITE_NAME, HTTPS, 0, "", &parameters)),
    ];
    for (outcome, count) in elsewhere {
        assert!(matches!(outcome, Answer::Pass(_)), "{outcome:?}");
        assert_eq!(count, 0);
    }
}

#[test]
fn a_service_that_is_not_well_formed_teaches_nothing() {
    let [alpn, v4, v6] = PARAMETERS else { panic!("three") };
    let cases: [(&str, Vec<u8>); 6] = [
        ("keys out of order", [*v6, *v4].concat()),
        ("a key twice", [*v4, *v4].concat()),
        ("an empty hint", [*alpn, &[0, 4, 0, 0]].concat()),
        ("an address cut short", [*v4, &[0, 6, 0, 15], &v6[4..19]].concat()),
        ("a length past the end", [*v4, &[0, 6, 0, 32], &v6[4..]].concat()),
        ("bytes after the end", [*v4, &[0]].concat()),
    ];
    for (what, parameters) in cases {
        let (_, count) = known(HTTPS, |it| service(it, SITE_NAME, HTTPS, 1, "", &parameters));
        assert_eq!(count, 0, "{what}");
    }
}

#[test]
fn many_parameters_are_left_to_the_agent() {
    let many: Vec<u8> = (100..180_u8).flat_map(|key| [0, key, 0, 0]).collect();
    let (outcome, count) = known(HTTPS, |it| service(it, SITE_NAME, HTTPS, 1, "", &many));
    assert_eq!((outcome, count), (Answer::Defer, 0));
    let several = known(HTTPS, |it| {
        for priority in 1..=9 {
            service(it, SITE_NAME, HTTPS, priority, "", &PARAMETERS.concat());
        }
    });
    assert_eq!(several, (Answer::Defer, 0));
}

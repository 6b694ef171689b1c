//! What may be asked, and in which shape.

use exeat_common::{
    abi::{Workload, mode, setting_flag},
    dns::{Asked, message::InvalidMessage},
    reason::Reason,
};

use crate::{put, query, read, support::workload, with_edns, world};

fn asked_reason(asked: Asked) -> Reason {
    match asked {
        Asked::Pass { reason, .. } | Asked::Drop(reason) => reason,
        Asked::Refuse(refusal) => refusal.reason,
        Asked::Tell(_) => Reason::AnsweredHere,
    }
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

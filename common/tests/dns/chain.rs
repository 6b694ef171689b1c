//! Which addresses of an answer are about the name that was asked for, in every form servers write.

use exeat_common::{
    dns::{Answer, Transport},
    reason::Reason,
};

use crate::{
    SITE, get, learned,
    oracle::Conversation,
    put, query,
    support::workload,
    world,
    writer::{Form, SHORT, Writer},
};

const SITE_NAME: &str = "www.example.com";
const EDGE: &str = "edge.cdn.example";

/// Hears an answer to a question about the site; returns the outcome, and which of `addresses` were
/// learned.
#[track_caller]
fn hear(writer: Writer, addresses: &[&str]) -> (Answer, Vec<bool>) {
    let world = world();
    put(&world, &workload(), &query(SITE_NAME));
    let outcome = get(&world, &writer.finish());
    let known = addresses.iter().map(|it| learned(&world, it) == [SITE]).collect();
    (outcome, known)
}

fn is_learned(outcome: Answer) -> bool {
    matches!(outcome, Answer::Pass(heard) if heard.reason == Reason::AnswerLearned)
}

#[test]
fn a_chain_is_followed_in_every_form() {
    let forms = [
        ("as BIND, unbound and dnsmasq write it", [SHORT; 5]),
        ("as small answers of CoreDNS are", [Form::Whole; 5]),
        (
            "owners in full, targets compressed",
            [Form::Whole, SHORT, Form::Whole, SHORT, Form::Whole],
        ),
        ("owners compressed, targets in full", [SHORT, Form::Whole, SHORT, Form::Whole, SHORT]),
        ("a label, then a pointer", [Form::Compressed { after: 1 }; 5]),
        ("two labels, then a pointer", [Form::Compressed { after: 2 }; 5]),
    ];
    for (what, [a, b, c, d, e]) in forms {
        let mut writer = Writer::answer(SITE_NAME);
        writer.alias((SITE_NAME, a), (EDGE, b));
        writer.alias((EDGE, c), ("node7.cdn.example", d));
        writer.address(("node7.cdn.example", e), "192.0.2.1");
        writer.address(("node7.cdn.example", SHORT), "2001:db8::1");
        let (outcome, known) = hear(writer, &["192.0.2.1", "2001:db8::1"]);
        assert!(is_learned(outcome), "{what}: {outcome:?}");
        assert_eq!(known, [true, true], "{what}");
    }
}

#[test]
fn case_does_not_matter_between_question_owner_and_target() {
    for form in [Form::Whole, SHORT] {
        let mut writer = Writer::answer("wWw.eXample.COM");
        writer.alias(("www.Example.com", form), ("EDGE.cdn.example", form));
        writer.address(("edge.CDN.example", form), "192.0.2.1");
        let (outcome, known) = hear(writer, &["192.0.2.1"]);
        assert!(is_learned(outcome), "{outcome:?}");
        assert_eq!(known, [true]);
    }
}

#[test]
fn an_owner_that_only_looks_alike_does_not_count() {
    let strangers = [
        "ww.example.com",
        "wwww.example.com",
        "www.example.co",
        "www.example.com.example",
        "example.com",
        "xww.example.com",
        "www.examplf.com",
        "",
    ];
    for stranger in strangers {
        for form in [Form::Whole, SHORT] {
            let mut writer = Writer::answer(SITE_NAME);
            writer.address((stranger, form), "192.0.2.66");
            writer.address((SITE_NAME, form), "192.0.2.1");
            let (outcome, known) = hear(writer, &["192.0.2.66", "192.0.2.1"]);
            assert!(is_learned(outcome), "{stranger}: {outcome:?}");
            assert_eq!(known, [false, true], "{stranger}");
        }
    }
}

#[test]
fn an_alias_of_somebody_else_leads_nowhere() {
    let mut writer = Writer::answer(SITE_NAME);
    writer.address((SITE_NAME, SHORT), "192.0.2.1");
    writer.alias(("other.example", SHORT), (EDGE, SHORT));
    writer.address((EDGE, SHORT), "192.0.2.66");
    let (outcome, known) = hear(writer, &["192.0.2.1", "192.0.2.66"]);
    assert!(is_learned(outcome), "{outcome:?}");
    assert_eq!(known, [true, false]);
}

#[test]
fn every_name_on_the_chain_counts() {
    let mut writer = Writer::answer(SITE_NAME);
    writer.address((SITE_NAME, SHORT), "192.0.2.1");
    writer.alias((SITE_NAME, SHORT), (EDGE, SHORT));
    writer.address((EDGE, SHORT), "192.0.2.2");
    writer.address((SITE_NAME, Form::Whole), "192.0.2.3");
    let (_, known) = hear(writer, &["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    assert_eq!(known, [true, true, true]);
}

#[test]
fn the_order_of_the_records_does_not_matter() {
    const LAST: &str = "n1.edge.cdn.example";
    let orders = [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2], [2, 1, 0, 3]];
    for order in orders {
        let mut writer = Writer::answer(SITE_NAME);
        for record in order {
            match record {
                0 => writer.alias((SITE_NAME, SHORT), (EDGE, SHORT)),
                1 => writer.alias((EDGE, SHORT), (LAST, SHORT)),
                2 => writer.address((LAST, SHORT), "192.0.2.1"),
                _ => writer.address(("other.example", SHORT), "192.0.2.66"),
            }
        }
        let (outcome, known) = hear(writer, &["192.0.2.1", "192.0.2.66"]);
        assert!(is_learned(outcome), "{order:?}: {outcome:?}");
        assert_eq!(known, [true, false], "{order:?}");
    }
}

#[test]
fn data_that_is_more_than_a_name_is_no_alias() {
    for end in [&[][..], &[0], &[1, b'a', 0]] {
        let mut writer = Writer::answer(SITE_NAME);
        writer.record((SITE_NAME, SHORT), 5, 60, |it| {
            it.name(EDGE, Form::Whole);
            it.raw(end);
        });
        writer.address((EDGE, Form::Whole), "192.0.2.1");
        let (outcome, known) = hear(writer, &["192.0.2.1"]);
        assert!(matches!(outcome, Answer::Pass(_)), "{end:?}: {outcome:?}");
        assert_eq!(known, [end.is_empty()], "{end:?}");
    }
}

#[test]
fn a_deferred_answer_is_still_awaited() {
    let world = world();
    put(&world, &workload(), &query(SITE_NAME));
    let mut odd = Writer::answer(SITE_NAME);
    for last in 0..=128 {
        odd.address((SITE_NAME, SHORT), &format!("192.0.2.{last}"));
    }
    let odd = odd.finish();
    assert_eq!(get(&world, &odd), Answer::Defer);
    assert_eq!(get(&world, &odd), Answer::Defer, "its repetition");
    let mut plain = Writer::answer(SITE_NAME);
    plain.address((SITE_NAME, SHORT), "192.0.2.1");
    assert!(is_learned(get(&world, &plain.finish())));
    assert_eq!(get(&world, &odd), Answer::Drop(Reason::AnswerNotAsked), "once read, never again");
}

#[test]
fn a_chain_without_end_ends() {
    let mut writer = Writer::answer(SITE_NAME);
    writer.alias((SITE_NAME, SHORT), (EDGE, SHORT));
    writer.alias((EDGE, SHORT), (SITE_NAME, SHORT));
    writer.address((EDGE, SHORT), "192.0.2.1");
    let (outcome, known) = hear(writer, &["192.0.2.1"]);
    assert!(is_learned(outcome), "{outcome:?}");
    assert_eq!(known, [true]);

    let mut writer = Writer::answer(SITE_NAME);
    let name = |number: usize| format!("n{number}.cdn.example");
    writer.alias((SITE_NAME, SHORT), (&name(0), SHORT));
    for number in 0..20 {
        writer.alias((&name(number), SHORT), (&name(number + 1), SHORT));
    }
    writer.address((&name(20), SHORT), "192.0.2.1");
    assert_eq!(hear(writer, &[]).0, Answer::Defer, "more aliases than are followed");
}

#[test]
fn pointers_that_lead_nowhere_make_an_answer_malformed() {
    let malformed = Answer::Drop(Reason::DnsMalformed);
    for (what, target) in [("itself", 0), ("what follows", 6), ("behind the end", 4000)] {
        let mut writer = Writer::answer(SITE_NAME);
        let at = writer.here();
        writer.raw(&pointer(at + target));
        writer.raw(&[0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 66]);
        let mut bytes = writer.finish();
        bytes[7] = 1;
        let world = world();
        put(&world, &workload(), &query(SITE_NAME));
        assert_eq!(get(&world, &bytes), malformed, "a pointer to {what}");
        assert!(learned(&world, "192.0.2.66").is_empty());
    }
    // A name that contains itself: its labels would go on for ever.
    let mut writer = Writer::answer(SITE_NAME);
    writer.alias((SITE_NAME, SHORT), ("a.b", Form::Whole));
    let mut bytes = writer.finish();
    let target = bytes.len() - 5;
    let end = bytes.len();
    bytes[end - 1] = 0xc0;
    bytes.push(u8::try_from(target).expect("short"));
    let length_at = target - 1;
    bytes[length_at] = 6;
    bytes.extend([0xc0, u8::try_from(target).expect("short"), 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    bytes.extend([192, 0, 2, 66]);
    bytes[7] = 2;
    let world = world();
    put(&world, &workload(), &query(SITE_NAME));
    let _any = get(&world, &bytes);
}

/// Labels may be any bytes, so also a pointer, to which another name may lead: to the label it is in.
#[test]
fn a_name_that_leads_into_itself_is_none() {
    let heard = |owner_at: usize| {
        let mut writer = Writer::answer(SITE_NAME);
        let mut target = 0;
        writer.record((SITE_NAME, SHORT), 5, 60, |it| {
            target = it.here();
            let [high, low] = pointer(target);
            it.raw(&[4, b'a', high, low, b'b', 0]);
        });
        writer.raw(&pointer(target + owner_at));
        writer.raw(&[0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 66]);
        let mut bytes = writer.finish();
        bytes[7] = 2;
        let mut conversation = Conversation::new();
        conversation.ask(Transport::Udp, &query(SITE_NAME));
        conversation.hear(Transport::Udp, true, &bytes);
        let world = world();
        put(&world, &workload(), &query(SITE_NAME));
        let outcome = get(&world, &bytes);
        (outcome, learned(&world, "192.0.2.66").len())
    };
    let (outcome, facts) = heard(0);
    assert!(is_learned(outcome), "the owner is the target: {outcome:?}");
    assert_eq!(facts, 1);
    assert_eq!(heard(2), (Answer::Drop(Reason::DnsMalformed), 0), "by a pointer in its label");
}

fn pointer(at: usize) -> [u8; 2] {
    (0xc000 | u16::try_from(at).expect("short")).to_be_bytes()
}

//! Names that a search list completed, and which the resolver led back to what was meant.

use exeat_common::{dns::Answer, id::SubjectId, reason::Reason};

use crate::{
    SITE, WILD, get, learned, put, query,
    support::workload,
    world,
    writer::{Form, SHORT, Writer},
};

#[track_caller]
fn told(question: &str, alias: &str, form: Form) -> (Answer, Vec<SubjectId>) {
    let world = world();
    put(&world, &workload(), &query(question));
    let mut writer = Writer::answer(question);
    writer.alias((question, form), (alias, form));
    writer.address((alias, form), "192.0.2.1");
    (get(&world, &writer.finish()), learned(&world, "192.0.2.1"))
}

#[test]
fn the_question_without_its_internal_suffix_is_what_was_meant() {
    for form in [Form::Whole, SHORT] {
        for suffix in ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"] {
            let (_, known) = told(&format!("www.example.com.{suffix}"), "www.example.com", form);
            assert_eq!(known, [SITE], "{suffix}");
            let (_, known) = told(&format!("A.b.Wild.example.{suffix}"), "a.B.wild.example", form);
            assert_eq!(known, [WILD], "{suffix}");
        }
    }
}

#[test]
fn other_aliases_of_internal_names_teach_nothing() {
    for (question, alias) in [
        // Not declared.
        ("www.example.org.shop.svc.cluster.local", "www.example.org"),
        // Not what the question begins with.
        ("db.shop.svc.cluster.local", "www.example.com"),
        ("www.example.com.shop.svc.cluster.local", "a.wild.example"),
        ("xwww.example.com.shop.svc.cluster.local", "www.example.com"),
        // The suffix cuts the internal domain in two.
        ("www.example.com.cluster.local", "www.example.com.cluster"),
        ("www.example.com.cluster.local", ""),
    ] {
        let (outcome, known) = told(question, alias, Form::Whole);
        assert!(known.is_empty(), "{question} to {alias}");
        assert!(
            matches!(outcome, Answer::Pass(heard) if heard.reason == Reason::AnswerPassed),
            "{question} to {alias}: {outcome:?}"
        );
    }
}

#[test]
fn a_declared_name_keeps_its_own_pattern() {
    // `a.wild.example` is declared, and an alias to what it begins with changes nothing.
    let (_, known) = told("www.example.com.wild.example", "www.example.com", SHORT);
    assert_eq!(known, [WILD]);
}

#[test]
fn an_internal_answer_passes_whatever_is_in_it() {
    let world = world();
    put(&world, &workload(), &query("web.shop.svc.cluster.local"));
    let mut writer = Writer::answer("web.shop.svc.cluster.local");
    writer.alias(("web.shop.svc.cluster.local", SHORT), ("www.example.com", SHORT));
    let mut bytes = writer.finish();
    bytes[7] = 9;
    assert!(matches!(get(&world, &bytes), Answer::Pass(_)));
}

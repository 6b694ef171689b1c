//! Agreement with hickory-proto on mutated and random messages.

use std::collections::BTreeSet;

use exeat_common::{
    address::Address,
    dns::{Answer, Transport},
};
use hickory_proto::op::Message;
use proptest::{
    prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest},
    sample::select,
};

use crate::{
    get,
    oracle::Conversation,
    put, query, rule,
    support::{wire, workload},
    with_edns, world,
    writer::{Form, Writer},
};

/// Replaces bytes past the first `kept`, and cuts the end off.
fn spoil(bytes: &mut Vec<u8>, kept: usize, mutations: Vec<(u16, u8)>, cut: usize) {
    for (at, byte) in mutations {
        let at = kept + usize::from(at) % (bytes.len() - kept);
        bytes[at] = byte;
    }
    bytes.truncate(bytes.len() - cut);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    /// Whatever is accepted, hickory reads the same question from it.
    #[test]
    fn an_accepted_query_is_what_hickory_reads(
        mutations in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..4),
        edns in any::<bool>(),
        cut in 0..4_usize,
    ) {
        let mut bytes = query("a.Wild.example");
        if edns {
            bytes = with_edns(bytes, 4096, &[0, 10, 0, 2, 1, 2]);
        }
        spoil(&mut bytes, 0, mutations, cut);
        Conversation::new().ask(Transport::Udp, &bytes);
    }

    /// Of an answer as it was written, exactly what counts is learned, whatever the order.
    #[test]
    fn what_counts_is_learned(records in proptest::collection::vec(any_record(), 0..9)) {
        let bytes = written(&records);
        let message = Message::from_vec(&bytes).expect("a well-formed answer");
        let (outcome, known) = heard(&bytes);
        assert!(matches!(outcome, Answer::Pass(_)), "{outcome:?}: {records:?}");
        assert_eq!(known, rule::addresses(&message), "{records:?}");
    }

    /// Nothing is learned that the rule does not find in what hickory reads.
    #[test]
    fn nothing_is_learned_that_does_not_count(
        records in proptest::collection::vec(any_record(), 1..7),
        mutations in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..5),
        cut in 0..8_usize,
    ) {
        let mut bytes = written(&records);
        // Past the transaction: an answer with another is simply not heard.
        spoil(&mut bytes, 2, mutations, cut);
        let mut conversation = Conversation::new();
        conversation.ask(Transport::Udp, &query("www.example.com"));
        conversation.hear(Transport::Udp, true, &bytes);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut conversation = Conversation::new();
        conversation.ask(Transport::Udp, &bytes);
        conversation.ask(Transport::Udp, &query("www.example.com"));
        // The transaction of the query, so that the rest is read at all.
        let mut bytes = bytes;
        if bytes.len() > 32 {
            bytes[..2].copy_from_slice(&[0x12, 0x34]);
            bytes[2] |= 0x80;
            bytes[4..6].copy_from_slice(&[0, 1]);
            bytes[12..29].copy_from_slice(&wire("www.example.com"));
        }
        conversation.hear(Transport::Udp, true, &bytes);
    }
}

/// One record of an answer: who owns it, what it says, and how its names are written.
#[derive(Clone, Debug)]
struct Written {
    owner: &'static str,
    says: Says,
    forms: (Form, Form),
}

#[derive(Clone, Debug)]
enum Says {
    Address(u8),
    Alias(&'static str),
    Service {
        priority: u16,
        target: &'static str,
        hints: u8,
    },
    /// Another type, and an address of another class.
    Other,
}

const NAMES: [&str; 7] = [
    "www.example.com",
    "WWW.example.COM",
    "edge.cdn.example",
    "cdn.example",
    "a.b.c.d.example.com",
    "Edge.CDN.example",
    "w.example.com",
];

fn any_record() -> impl Strategy<Value = Written> {
    let name = || select(&NAMES[..]);
    let form = || {
        prop_oneof![Just(Form::Whole), (0..3_usize).prop_map(|after| Form::Compressed { after }),]
    };
    let target = prop_oneof![Just(""), name()];
    let says = prop_oneof![
        4 => (1..250_u8).prop_map(Says::Address),
        3 => name().prop_map(Says::Alias),
        1 => (0..3_u16, target, 0..5_u8).prop_map(|(priority, target, hints)| {
            Says::Service { priority, target, hints }
        }),
        1 => Just(Says::Other),
    ];
    (name(), says, (form(), form())).prop_map(|(owner, says, forms)| Written { owner, says, forms })
}

fn written(records: &[Written]) -> Vec<u8> {
    let mut writer = Writer::answer("www.example.com");
    for Written { owner, says, forms } in records {
        let owner = (*owner, forms.0);
        match says {
            Says::Address(last) if last % 3 == 0 => {
                writer.address(owner, &format!("2001:db8::{last:x}"));
            }
            Says::Address(last) => writer.address(owner, &format!("192.0.2.{last}")),
            Says::Alias(target) => writer.alias(owner, (target, forms.1)),
            Says::Service { priority, target, hints } => writer.record(owner, 65, 60, |it| {
                it.raw(&priority.to_be_bytes());
                it.name(target, Form::Whole);
                if *hints > 0 {
                    it.raw(&[0, 4, 0, hints * 4]);
                    (0..*hints).for_each(|last| it.raw(&[198, 51, 100, last]));
                }
            }),
            Says::Other => {
                writer.record(owner, 16, 60, |it| it.raw(b"\x03txt"));
                writer.record(owner, 257, 60, |it| it.raw(b"\0\x05issuea.example"));
            }
        }
    }
    writer.finish()
}

/// Asks, hears, and returns what is known then.
fn heard(bytes: &[u8]) -> (Answer, BTreeSet<Address>) {
    let world = world();
    put(&world, &workload(), &query("www.example.com"));
    let outcome = get(&world, bytes);
    let known = world.facts.borrow().keys().map(|key| key.address).collect();
    (outcome, known)
}

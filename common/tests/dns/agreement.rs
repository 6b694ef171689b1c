//! Agreement with hickory-proto on mutated and random messages.

use exeat_common::dns::Transport;
use hickory_proto::rr::{Name, RData, rdata};
use proptest::prelude::{ProptestConfig, any, proptest};

use crate::{a, answer, oracle::Conversation, query, support::wire, with_edns};

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

    /// Nothing is learned that hickory does not find among the answers.
    #[test]
    fn nothing_is_learned_that_is_not_in_the_answer(
        mutations in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..5),
        cut in 0..8_usize,
    ) {
        let mut conversation = Conversation::new();
        conversation.ask(Transport::Udp, &query("www.example.com"));
        let target = Name::from_ascii("edge.cdn.example").expect("a name");
        let mut bytes = answer("www.example.com", &[
            ("www.example.com", RData::CNAME(rdata::CNAME(target)), 60),
            ("edge.cdn.example", a("192.0.2.1"), 60),
            ("edge.cdn.example", a("2001:db8::1"), 60),
        ]);
        // Past the transaction: an answer with another is simply not heard.
        spoil(&mut bytes, 2, mutations, cut);
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

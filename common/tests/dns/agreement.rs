//! Agreement with hickory-proto on mutated and random messages.

use exeat_common::{
    address::Address,
    dns::{NameBuffer, read_question},
};
use hickory_proto::{
    op::Message,
    rr::{Name, RData, rdata},
};
use proptest::prelude::{ProptestConfig, any, proptest};

use crate::{
    a, answer, get, put, query,
    support::{World, wire, workload},
    with_bytes, with_edns, world,
};

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
        for (at, byte) in mutations {
            let at = usize::from(at) % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len() - cut);
        let mut buffer = NameBuffer::new();
        let world = World::default();
        let ours = with_bytes(&bytes, |message| read_question(message, &mut buffer, &world));
        if let (Ok(ours), Ok(theirs)) = (ours, Message::from_vec(&bytes)) {
            let question = theirs.queries.first().expect("one question");
            assert_eq!(theirs.queries.len(), 1);
            assert_eq!(u16::from(question.query_type()), ours.query_type);
            let labels: Vec<u8> = question
                .name()
                .iter()
                .flat_map(|label| {
                    let length = u8::try_from(label.len()).expect("a label");
                    std::iter::once(length).chain(label.to_ascii_lowercase())
                })
                .chain([0])
                .collect();
            assert_eq!(&buffer.key()[..ours.name.length], labels);
        }
    }

    /// Nothing is learned that hickory does not find among the answers.
    #[test]
    fn nothing_is_learned_that_is_not_in_the_answer(
        mutations in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..5),
        cut in 0..8_usize,
    ) {
        let world = world();
        put(&world, &workload(), &query("www.example.com"));
        let target = Name::from_ascii("edge.cdn.example").expect("a name");
        let mut bytes = answer("www.example.com", &[
            ("www.example.com", RData::CNAME(rdata::CNAME(target)), 60),
            ("edge.cdn.example", a("192.0.2.1"), 60),
            ("edge.cdn.example", a("2001:db8::1"), 60),
        ]);
        for (at, byte) in mutations {
            // Past the header: a changed transaction is simply not heard.
            let at = 2 + usize::from(at) % (bytes.len() - 2);
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len() - cut);
        let _heard = get(&world, &bytes);
        let known: Vec<Address> = world.facts.borrow().keys().map(|key| key.address).collect();
        if let Ok(theirs) = Message::from_vec(&bytes) {
            let found: Vec<Address> = theirs
                .answers
                .iter()
                .filter_map(|record| record.data.ip_addr())
                .map(Address::from)
                .collect();
            for address in known {
                assert!(found.contains(&address), "{address:?} from {bytes:02x?}");
            }
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let world = world();
        let _asked = put(&world, &workload(), &bytes);
        put(&world, &workload(), &query("www.example.com"));
        // The transaction of the query, so that the rest is read at all.
        let mut bytes = bytes;
        if bytes.len() > 32 {
            bytes[..2].copy_from_slice(&[0x12, 0x34]);
            bytes[2] |= 0x80;
            bytes[4..6].copy_from_slice(&[0, 1]);
            bytes[12..29].copy_from_slice(&wire("www.example.com"));
        }
        let _heard = get(&world, &bytes);
    }
}

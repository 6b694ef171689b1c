//! TCP connections to resolvers: what a resolver puts together is what was judged, whoever wrote
//! the segments, and honest clients get through.

#![cfg(test)]

mod support;

use std::collections::BTreeMap;

use exeat_common::{
    abi::{StreamValue, stream_part},
    bytes::Bytes,
    dns::stream::{LENGTH_BYTES, Piece, Segment, accept, is_length, locate, proceed},
    flow::protocol,
    packet::{HEADER_BUFFER_BYTES, Packet, tcp_flag},
};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use support::{POD, RESOLVER, World, address, workload};

/// Close to the end of the numbers, so that they wrap.
const FIRST: u32 = u32::MAX - 70;
const TRANSPORT: usize = 34;

fn packet(flags: u8, length: usize) -> Packet {
    Packet {
        protocol: protocol::TCP,
        flow_protocol: protocol::TCP,
        detail: flags,
        transport: TRANSPORT,
        payload: TRANSPORT + 20,
        payload_length: length,
        ..Packet::udp((address(POD), 4000), (address(RESOLVER), 53))
    }
}

fn header(sequence: u32, acknowledged: u32) -> [u8; HEADER_BUFFER_BYTES] {
    let mut header = [0; HEADER_BUFFER_BYTES];
    header[TRANSPORT + 4..TRANSPORT + 8].copy_from_slice(&sequence.to_be_bytes());
    header[TRANSPORT + 8..TRANSPORT + 12].copy_from_slice(&acknowledged.to_be_bytes());
    header
}

/// The resolver accepts a connection that begins at `first`.
fn handshake(world: &World, first: u32) {
    let Packet { source, destination, source_port, destination_port, .. } = packet(0, 0);
    let back = Packet {
        source: destination,
        destination: source,
        source_port: destination_port,
        destination_port: source_port,
        ..packet(tcp_flag::SYN | tcp_flag::ACK, 0)
    };
    accept(&workload(), &back, &Bytes::new(&header(7, first), 256), world);
}

/// A message of `length` bytes that is like no other, and full of what looks like a length.
fn message(number: u8, length: u16) -> Vec<u8> {
    assert!(is_length(length) && length <= 255);
    let byte = |at: u16| if at.is_multiple_of(2) { 0 } else { (u16::from(number) * 7 + at) % 40 };
    (0..length).map(|at| u8::try_from(byte(at)).expect("small")).collect()
}

fn prefixed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("a message");
    [&length.to_be_bytes()[..], message].concat()
}

/// What becomes of a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Through,
    Dropped,
    Reset,
}

/// Carries a segment as the kernel does: all its messages have to be whole and granted.
fn carry(
    world: &World,
    flags: u8,
    number: u32,
    bytes: &[u8],
    granted: impl Fn(&[u8]) -> bool,
) -> Fate {
    let packet = packet(flags, bytes.len());
    let head = if let [a, b, ..] = bytes { u16::from_be_bytes([*a, *b]) } else { 0 };
    let bytes_of = header(number, 0);
    let segment = Segment::read(&packet, &Bytes::new(&bytes_of, 256), head).expect("a header");
    let (piece, stream) = locate(&workload(), &packet, segment, world);
    let announced = if piece == Piece::Announced { stream.announced.into() } else { 0 };
    match piece {
        Piece::Stray => return Fate::Dropped,
        Piece::Broken => return Fate::Reset,
        Piece::Length => {}
        Piece::Messages | Piece::Announced => match split(bytes, announced) {
            None => return Fate::Dropped,
            Some(messages) if !messages.iter().all(|it| granted(it)) => return Fate::Reset,
            Some(_) => {}
        },
    }
    proceed(&workload(), &packet, segment, &stream, world);
    Fate::Through
}

/// The messages in `bytes`; none if they do not come out even.
fn split(bytes: &[u8], announced: usize) -> Option<Vec<Vec<u8>>> {
    let (mut messages, mut rest, mut announced) = (Vec::new(), bytes, announced);
    while !rest.is_empty() {
        if announced == 0 {
            let (length, tail) = rest.split_first_chunk()?;
            announced = usize::from(u16::from_be_bytes(*length));
            rest = tail;
        }
        let (message, tail) = rest.split_at_checked(announced)?;
        messages.push(message.to_vec());
        (rest, announced) = (tail, 0);
    }
    Some(messages)
}

fn send(world: &World, number: u32, bytes: &[u8]) -> Fate {
    carry(world, tcp_flag::ACK, number, bytes, |message| message[0] == 0)
}

fn last(world: &World) -> StreamValue {
    *world.streams.borrow().values().next().expect("a stream")
}

#[test]
fn whole_messages_follow_each_other_and_are_sent_again() {
    let world = World::default();
    handshake(&world, FIRST);
    let (one, two) = (prefixed(&message(1, 60)), prefixed(&message(2, 20)));
    let next = FIRST.wrapping_add(62);
    assert_eq!(send(&world, next, &two), Fate::Dropped, "what comes too early");
    assert_eq!(send(&world, FIRST, &one), Fate::Through);
    assert_eq!(send(&world, FIRST, &one), Fate::Through, "once more");
    assert_eq!(send(&world, FIRST.wrapping_add(2), &two), Fate::Dropped, "within the first");
    assert_eq!(send(&world, FIRST, &two), Fate::Dropped, "shorter than what went");
    assert_eq!(send(&world, FIRST, &[&one[..], &two].concat()), Fate::Dropped, "longer");
    let both = [&two[..], &one].concat();
    assert_eq!(send(&world, next, &both), Fate::Through, "two in one");
    assert_eq!(send(&world, next, &both), Fate::Through, "and once more");
    assert_eq!(send(&world, FIRST, &one), Fate::Dropped, "long gone");
    assert_eq!(last(&world).next, next.wrapping_add(84));
}

#[test]
fn a_length_may_go_ahead() {
    let world = World::default();
    handshake(&world, FIRST);
    let whole = prefixed(&message(1, 60));
    let (length, body) = whole.split_at(LENGTH_BYTES);
    let behind = FIRST.wrapping_add(2);
    assert_eq!(send(&world, FIRST, length), Fate::Through);
    assert_eq!(send(&world, FIRST, length), Fate::Through, "once more");
    assert_eq!(send(&world, FIRST, &[0, 61]), Fate::Dropped, "another length in its place");
    assert_eq!(send(&world, behind, &body[..40]), Fate::Dropped, "not whole");
    assert_eq!(send(&world, FIRST, &whole), Fate::Dropped, "not what went");
    assert_eq!(send(&world, behind, body), Fate::Through);
    assert_eq!(last(&world).part, stream_part::JOINED);
    assert_eq!(send(&world, behind, body), Fate::Through, "the message once more");
    assert_eq!(send(&world, FIRST, &whole), Fate::Through, "both in one");
    assert_eq!(send(&world, FIRST, length), Fate::Through, "the length once more");
    let more = prefixed(&message(2, 20));
    assert_eq!(send(&world, behind, &[body, &more].concat()), Fate::Dropped, "more behind it");
    assert_eq!(
        send(&world, FIRST, &[&whole[..], &more].concat()),
        Fate::Dropped,
        "more behind both"
    );
    let other = [&[0, 30][..], &message(2, 30), &prefixed(&message(3, 28))].concat();
    assert_eq!(other.len(), whole.len());
    assert_eq!(send(&world, FIRST, &other), Fate::Dropped, "another length in its place");
    // The next one, as two pieces of which the second has more behind it.
    let next = FIRST.wrapping_add(62);
    assert_eq!(send(&world, next, length), Fate::Through);
    let rest = [body, &whole[..]].concat();
    assert_eq!(send(&world, next.wrapping_add(2), &rest), Fate::Through);
    assert_eq!(send(&world, next.wrapping_add(2), &rest), Fate::Through, "once more");
    assert_eq!(send(&world, next.wrapping_add(2), body), Fate::Dropped, "less than what went");
    assert_eq!(last(&world).next, next.wrapping_add(124));
}

#[test]
fn what_is_cut_goes_once_it_is_whole() {
    let world = World::default();
    handshake(&world, FIRST);
    let whole = prefixed(&message(1, 60));
    assert_eq!(send(&world, FIRST, &whole[..1]), Fate::Dropped);
    assert_eq!(send(&world, FIRST, &whole[..30]), Fate::Dropped);
    assert_eq!(send(&world, FIRST.wrapping_add(30), &whole[30..]), Fate::Dropped);
    assert_eq!(send(&world, FIRST, &whole), Fate::Through, "as the sender puts it together");
}

#[test]
fn what_cannot_become_a_question_ends_the_connection() {
    let world = World::default();
    let whole = prefixed(&message(1, 60));
    assert_eq!(send(&world, FIRST, &whole), Fate::Reset, "no handshake was seen");
    handshake(&world, FIRST);
    assert_eq!(send(&world, FIRST, &[0, 11]), Fate::Reset, "shorter than a header");
    assert_eq!(send(&world, FIRST, &[0xff, 0xff]), Fate::Reset, "longer than what is read");
    let urgent = tcp_flag::ACK | tcp_flag::URG;
    assert_eq!(carry(&world, urgent, FIRST, &whole, |_| true), Fate::Reset, "urgent data");
    let mut refused = whole.clone();
    refused[2] = 1;
    assert_eq!(send(&world, FIRST, &refused), Fate::Reset, "a message that is not granted");
    assert_eq!(send(&world, FIRST, &whole), Fate::Through, "the twin");
}

#[test]
fn data_beside_a_syn_is_counted_as_far_as_it_was_taken() {
    let whole = prefixed(&message(1, 60));
    for taken in [0, 62] {
        let world = World::default();
        // A SYN takes up the number before the first byte.
        let syn = FIRST.wrapping_sub(1);
        assert_eq!(carry(&world, tcp_flag::SYN, syn, &whole[..2], |_| true), Fate::Dropped);
        assert_eq!(carry(&world, tcp_flag::SYN, syn, &whole, |_| true), Fate::Through);
        assert!(world.streams.borrow().is_empty());
        handshake(&world, FIRST.wrapping_add(taken));
        let fate = if taken == 0 { Fate::Through } else { Fate::Dropped };
        assert_eq!(send(&world, FIRST, &whole), fate, "{taken} taken");
        assert_eq!(send(&world, FIRST.wrapping_add(62), &whole), Fate::Through, "{taken} taken");
    }
}

#[test]
fn a_handshake_that_is_repeated_changes_nothing() {
    let world = World::default();
    handshake(&world, FIRST);
    let whole = prefixed(&message(1, 60));
    assert_eq!(send(&world, FIRST, &whole), Fate::Through);
    handshake(&world, FIRST);
    let longer = prefixed(&message(2, 100));
    assert_eq!(send(&world, FIRST, &longer), Fate::Dropped);
    // A new connection from the same port.
    handshake(&world, 1_000_000);
    assert_eq!(send(&world, 1_000_000, &longer), Fate::Through);
}

/// What a resolver reads, when of each byte that it has not read yet the last one counts.
#[derive(Default)]
struct Resolver {
    bytes: BTreeMap<u32, u8>,
    last_counts: bool,
}

impl Resolver {
    fn receive(&mut self, number: u32, bytes: &[u8]) {
        for (at, byte) in (number.wrapping_sub(FIRST)..).zip(bytes) {
            let slot = self.bytes.entry(at).or_insert(*byte);
            if self.last_counts {
                *slot = *byte;
            }
        }
    }

    /// Every message that is whole.
    fn read(&self) -> Vec<Vec<u8>> {
        let stream: Vec<u8> = (0..).map_while(|at| self.bytes.get(&at).copied()).collect();
        let (mut messages, mut rest) = (Vec::new(), &stream[..]);
        while let Some((length, tail)) = rest.split_first_chunk() {
            let Some((message, tail)) = tail.split_at_checked(u16::from_be_bytes(*length).into())
            else {
                break;
            };
            messages.push(message.to_vec());
            rest = tail;
        }
        messages
    }
}

/// What an attacker puts into a segment.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let whole = (any::<u8>(), prop_oneof![Just(20_u16), Just(30), Just(40)])
        .prop_map(|(number, length)| prefixed(&message(number, length)));
    let length =
        prop_oneof![Just(20_u16), Just(30), Just(12)].prop_map(|it| it.to_be_bytes().to_vec());
    let body = (any::<u8>(), prop_oneof![Just(20_u16), Just(30)])
        .prop_map(|(number, length)| message(number, length));
    let piece = prop_oneof![4 => whole, 2 => length, 2 => body];
    proptest::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Segments of any content at any place, of which any may get lost behind this point: whatever
    /// the resolver reads is a message that was judged.
    #[test]
    fn a_resolver_reads_what_was_judged(
        segments in proptest::collection::vec((0..40_usize, 0..4_u32, payload(), any::<bool>()), 1..24),
        last_counts in any::<bool>(),
    ) {
        let world = World::default();
        handshake(&world, FIRST);
        let mut resolver = Resolver { last_counts, ..Resolver::default() };
        let judged = std::cell::RefCell::new(Vec::new());
        // Places where something may begin: what was let through before, or just beside.
        let mut places = vec![FIRST];
        for (place, beside, bytes, is_lost) in segments {
            let number = places[places.len() - 1 - place % places.len()].wrapping_add(beside);
            let number = if beside == 3 { number.wrapping_sub(4) } else { number };
            let fate = carry(&world, tcp_flag::ACK, number, &bytes, |message| {
                judged.borrow_mut().push(message.to_vec());
                true
            });
            if fate == Fate::Through {
                if !is_lost {
                    resolver.receive(number, &bytes);
                }
                places.extend([number, last(&world).next]);
            }
            for message in resolver.read() {
                assert!(judged.borrow().contains(&message), "{message:02x?} was never judged");
            }
        }
    }
}

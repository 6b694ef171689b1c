//! Replies to denied packets, written by us and read by another parser.

#![cfg(test)]

use etherparse::{
    EtherType, IcmpEchoHeader, Icmpv4Slice, Icmpv6Slice, IpNumber, LinkSlice, NetSlice,
    PacketBuilder, SlicedPacket, TcpSlice, TransportSlice, icmpv4::DestUnreachableHeader, icmpv6,
};
use exeat_common::{
    bytes::{Bytes, Veil},
    flow::protocol,
    limits::QUOTE_BYTES,
    packet::{HEADER_BUFFER_BYTES, Packet, parse, tcp_flag},
    reply::{ICMP_BYTES, Reply, TCP_BYTES, abort, is_due, refuse},
};
use proptest::prelude::{ProptestConfig, any, proptest};
use zerocopy::IntoBytes as _;

const POD_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const NODE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const POD_PORT: u16 = 40_000;
const PORT: u16 = 443;
const SEQUENCE: u32 = 0xffff_fff0;
const ACKNOWLEDGED: u32 = 0x0102_0304;

struct NoVeil;

impl Veil for NoVeil {
    fn veil(&self, number: usize) -> usize {
        number
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Family {
    V4,
    V6,
}

const BOTH: [Family; 2] = [Family::V4, Family::V6];
const POD_V4: [u8; 4] = [10, 9, 0, 2];
const SITE_V4: [u8; 4] = [192, 0, 2, 1];
const POD_V6: [u8; 16] = [0xfd, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const SITE_V6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xee, 0, 1];

fn builder(family: Family) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    let link = PacketBuilder::ethernet2(POD_MAC, NODE_MAC);
    match family {
        Family::V4 => link.ipv4(POD_V4, SITE_V4, 61),
        Family::V6 => link.ipv6(POD_V6, SITE_V6, 61),
    }
}

fn tcp(family: Family, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut step = builder(family).tcp(POD_PORT, PORT, SEQUENCE, 1000);
    if flags & tcp_flag::SYN != 0 {
        step = step.syn();
    }
    if flags & tcp_flag::FIN != 0 {
        step = step.fin();
    }
    if flags & tcp_flag::RST != 0 {
        step = step.rst();
    }
    if flags & tcp_flag::ACK != 0 {
        step = step.ack(ACKNOWLEDGED);
    }
    let mut frame = Vec::new();
    step.write(&mut frame, payload).expect("a segment");
    frame
}

fn udp(family: Family, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    builder(family).udp(POD_PORT, PORT).write(&mut frame, payload).expect("a datagram");
    frame
}

/// Any protocol, without a header of its own.
fn bare(family: Family, number: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    builder(family).write(&mut frame, IpNumber(number), payload).expect("a packet");
    frame
}

/// Nothing is said about what cannot be read.
fn read(frame: &[u8]) -> Option<(Packet, [u8; HEADER_BUFFER_BYTES], usize)> {
    let mut buffer = [0xaa; HEADER_BUFFER_BYTES];
    let length = frame.len().min(256);
    buffer[..length].copy_from_slice(&frame[..length]);
    let packet = parse(&Bytes::new(&buffer, length), frame.len(), &NoVeil).ok()?;
    Some((packet, buffer, length))
}

/// The reply to the sender of a frame as the kernel side would put it together, if one is due.
fn reply_to(frame: &[u8]) -> Option<Vec<u8>> {
    let (packet, buffer, length) = read(frame)?;
    let header = Bytes::new(&buffer, length);
    // What an earlier reply left behind must not matter.
    let mut reply = Reply { transport: [7; 10], quote: 7, ..Reply::default() };
    if !is_due(&packet, &header) {
        return None;
    }
    assert!(refuse(&packet, &header, &NoVeil, &mut reply));
    Some(assemble(&packet, &reply, frame))
}

/// A denied question or answer of ARP ends in silence, also one that goes to one host.
#[test]
fn arp_is_not_answered_with_icmp() {
    let mut frame = vec![2; 12];
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
    frame.extend([2; 6]);
    frame.extend([10, 9, 0, 9]);
    frame.extend([2; 6]);
    frame.extend([10, 9, 0, 1]);
    assert!(read(&frame).expect("an ARP message").0.arp);
    assert_eq!(reply_to(&frame), None);
}

/// What goes on to the far end of a revoked connection.
fn aborted(frame: &[u8]) -> Vec<u8> {
    let (packet, buffer, length) = read(frame).expect("a packet");
    let mut reply = Reply::default();
    assert!(abort(&packet, &Bytes::new(&buffer, length), &mut reply));
    assemble(&packet, &reply, frame)
}

fn assemble(packet: &Packet, reply: &Reply, frame: &[u8]) -> Vec<u8> {
    let network = if packet.source.is_v4() { reply.v4.as_bytes() } else { reply.v6.as_bytes() };
    let transport = if packet.protocol == protocol::TCP { TCP_BYTES } else { ICMP_BYTES };
    let quote = usize::try_from(reply.quote).expect("small");
    assert!(quote <= QUOTE_BYTES);
    [
        reply.link.as_bytes(),
        network,
        &reply.transport.as_bytes()[..transport],
        &frame[14..14 + quote],
    ]
    .concat()
}

/// Reads a frame with the other parser, which also checks lengths, and the sum of its IP header.
fn sliced(frame: &[u8]) -> SlicedPacket<'_> {
    let packet = SlicedPacket::from_ethernet(frame).expect("a frame");
    if let Some(NetSlice::Ipv4(v4)) = &packet.net {
        let header = v4.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        assert_eq!((header.time_to_live, header.options.len()), (64, 0));
    }
    packet
}

fn hardware(packet: &SlicedPacket<'_>) -> ([u8; 6], [u8; 6], EtherType) {
    let Some(LinkSlice::Ethernet2(link)) = &packet.link else { panic!("Ethernet") };
    (link.source(), link.destination(), link.ether_type())
}

/// Source and destination.
fn ends(packet: &SlicedPacket<'_>) -> (Vec<u8>, Vec<u8>) {
    match &packet.net {
        Some(NetSlice::Ipv4(v4)) => {
            (v4.header().source().to_vec(), v4.header().destination().to_vec())
        }
        Some(NetSlice::Ipv6(v6)) => {
            (v6.header().source().to_vec(), v6.header().destination().to_vec())
        }
        other => panic!("{other:?}"),
    }
}

fn pod_and_site(family: Family) -> (Vec<u8>, Vec<u8>) {
    match family {
        Family::V4 => (POD_V4.to_vec(), SITE_V4.to_vec()),
        Family::V6 => (POD_V6.to_vec(), SITE_V6.to_vec()),
    }
}

/// The reset in a frame, with its checksum checked.
fn reset<'a>(packet: &SlicedPacket<'a>) -> TcpSlice<'a> {
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("{packet:?}") };
    let sum = match &packet.net {
        Some(NetSlice::Ipv4(v4)) => {
            tcp.calc_checksum_ipv4(v4.header().source(), v4.header().destination())
        }
        Some(NetSlice::Ipv6(v6)) => {
            tcp.calc_checksum_ipv6(v6.header().source(), v6.header().destination())
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(tcp.checksum(), sum.expect("a sum"));
    assert!(tcp.rst() && !tcp.syn() && !tcp.fin() && !tcp.psh() && !tcp.urg());
    assert_eq!((tcp.payload().len(), tcp.options().len(), tcp.window_size()), (0, 0, 0));
    tcp.clone()
}

/// RFC 9293 §3.10.7.1, and §3.4 for the length of a segment.
#[test]
fn a_segment_is_answered_as_by_a_host_without_the_connection() {
    use tcp_flag::{ACK, FIN, SYN};
    for family in BOTH {
        // Flags, payload, then of the reset: sequence number, and acknowledgement if it has one.
        for (flags, payload, sequence, acknowledged) in [
            (SYN, 0, 0, Some(SEQUENCE.wrapping_add(1))),
            (SYN, 100, 0, Some(SEQUENCE.wrapping_add(101))),
            (0, 7, 0, Some(SEQUENCE.wrapping_add(7))),
            (FIN, 0, 0, Some(SEQUENCE.wrapping_add(1))),
            (ACK, 0, ACKNOWLEDGED, None),
            (ACK, 1400, ACKNOWLEDGED, None),
            (SYN | ACK, 0, ACKNOWLEDGED, None),
            (FIN | ACK, 3, ACKNOWLEDGED, None),
        ] {
            let frame = tcp(family, flags, &vec![1; payload]);
            let reply = reply_to(&frame).expect("a reply");
            let packet = sliced(&reply);
            let tcp = reset(&packet);
            let said = tcp.ack().then(|| tcp.acknowledgment_number());
            assert_eq!((tcp.sequence_number(), said), (sequence, acknowledged), "{flags:#x}");
            assert_eq!((tcp.source_port(), tcp.destination_port()), (PORT, POD_PORT));
            let (pod, site) = pod_and_site(family);
            assert_eq!(ends(&packet), (site, pod));
            let link = hardware(&packet);
            assert_eq!((link.0, link.1), (NODE_MAC, POD_MAC));
        }
    }
}

#[test]
fn of_a_segment_for_the_far_end_only_the_sequence_number_is_left() {
    for family in BOTH {
        for flags in [tcp_flag::ACK, tcp_flag::RST | tcp_flag::ACK, tcp_flag::RST] {
            let frame = tcp(family, flags, b"secret");
            let reply = aborted(&frame);
            let packet = sliced(&reply);
            let tcp = reset(&packet);
            assert!(!tcp.ack());
            assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number()), (SEQUENCE, 0));
            assert_eq!((tcp.source_port(), tcp.destination_port()), (POD_PORT, PORT));
            assert_eq!(ends(&packet), pod_and_site(family));
            let link = hardware(&packet);
            assert_eq!((link.0, link.1), (POD_MAC, NODE_MAC));
        }
    }
}

/// The quoted packet of an ICMP error, with the kind and the sums of the error checked.
fn quoted(family: Family, reply: &[u8]) -> Vec<u8> {
    let packet = sliced(reply);
    let (pod, site) = pod_and_site(family);
    assert_eq!(ends(&packet), (site, pod));
    match (&packet.transport, &packet.net) {
        (Some(TransportSlice::Icmpv4(icmp)), _) => {
            assert_eq!(family, Family::V4);
            check_v4(icmp);
            icmp.payload().to_vec()
        }
        (Some(TransportSlice::Icmpv6(icmp)), Some(NetSlice::Ipv6(v6))) => {
            let header = v6.header();
            assert!(icmp.is_checksum_valid(header.source(), header.destination()));
            check_v6(icmp);
            icmp.payload().to_vec()
        }
        other => panic!("{other:?}"),
    }
}

fn check_v4(icmp: &Icmpv4Slice<'_>) {
    let header = icmp.header();
    assert_eq!(header.checksum, header.icmp_type.calc_checksum(icmp.payload()));
    let prohibited = DestUnreachableHeader::FilterProhibited;
    assert_eq!(icmp.icmp_type(), etherparse::Icmpv4Type::DestinationUnreachable(prohibited));
}

fn check_v6(icmp: &Icmpv6Slice<'_>) {
    let prohibited = icmpv6::DestUnreachableCode::Prohibited;
    assert_eq!(icmp.icmp_type(), etherparse::Icmpv6Type::DestinationUnreachable(prohibited));
}

#[test]
fn everything_else_is_answered_with_an_error_that_quotes_it() {
    for family in BOTH {
        let headers = if family == Family::V4 { 28 } else { 48 };
        for length in [0, 1, 2, 3, 4, 5, 50, 99, 100, 101, 200, 1400] {
            let frame = udp(family, &vec![0x5a; length]);
            let quoted = quoted(family, &reply_to(&frame).expect("a reply"));
            let wanted = (headers + length).min(QUOTE_BYTES) / 4 * 4;
            assert_eq!(quoted, frame[14..14 + wanted], "{family:?} {length}");
        }
        for (number, payload) in [(132, 40), (47, 3), (4, 60), (50, 0), (255, 9)] {
            let frame = bare(family, number, &vec![1; payload]);
            let quoted = quoted(family, &reply_to(&frame).expect("a reply"));
            assert!(quoted.len() + 3 >= (frame.len() - 14).min(QUOTE_BYTES), "{number}");
            assert!(frame[14..].starts_with(&quoted));
        }
    }
}

#[test]
fn padding_is_not_quoted() {
    let mut frame = udp(Family::V4, b"");
    frame.resize(60, 0xee);
    assert_eq!(quoted(Family::V4, &reply_to(&frame).expect("a reply")).len(), 28);
}

#[test]
fn echo_requests_are_answered_and_other_icmp_is_not() {
    let echo = IcmpEchoHeader { id: 9, seq: 1 };
    let mut frame = Vec::new();
    builder(Family::V4).icmpv4_echo_request(echo.id, echo.seq).write(&mut frame, b"ping").unwrap();
    assert_eq!(quoted(Family::V4, &reply_to(&frame).expect("a reply")), frame[14..]);
    let mut frame = Vec::new();
    builder(Family::V6).icmpv6_echo_request(echo.id, echo.seq).write(&mut frame, b"ping").unwrap();
    assert_eq!(quoted(Family::V6, &reply_to(&frame).expect("a reply")), frame[14..]);
    // Long enough for an error to cite a packet, short enough for neighbour discovery: each is read.
    let message = |kind: u8| [&[kind][..], &[0; 55]].concat();
    for kind in (0..=255).filter(|kind| *kind != 8) {
        let frame = bare(Family::V4, protocol::ICMP, &message(kind));
        assert!(read(&frame).is_some(), "ICMP type {kind}");
        assert_eq!(reply_to(&frame), None, "ICMP type {kind}");
    }
    for kind in (0..=255).filter(|kind| *kind != 128) {
        let frame = bare(Family::V6, protocol::ICMPV6, &message(kind));
        assert!(read(&frame).is_some(), "ICMPv6 type {kind}");
        assert_eq!(reply_to(&frame), None, "ICMPv6 type {kind}");
    }
}

#[test]
fn no_reply_begets_a_reply() {
    for family in BOTH {
        for frame in
            [tcp(family, tcp_flag::SYN, b""), tcp(family, tcp_flag::ACK, b"x"), udp(family, b"x")]
        {
            let reply = reply_to(&frame).expect("a reply");
            assert_eq!(reply_to(&reply), None);
        }
        for flags in [tcp_flag::RST, tcp_flag::RST | tcp_flag::ACK] {
            assert_eq!(reply_to(&tcp(family, flags, b"")), None);
        }
        assert_eq!(reply_to(&aborted(&tcp(family, tcp_flag::ACK, b""))), None);
    }
}

#[test]
fn what_went_to_many_or_came_from_nobody_is_not_answered() {
    const MAC_AT: usize = 0;
    const SOURCE_AT: usize = 26;
    const DESTINATION_AT: usize = 30;
    for segment in [tcp(Family::V4, tcp_flag::SYN, b""), udp(Family::V4, b"x")] {
        let with = |at: usize, bytes: &[u8]| {
            let mut frame = segment.clone();
            frame[at..at + bytes.len()].copy_from_slice(bytes);
            reply_to(&frame)
        };
        assert!(with(DESTINATION_AT, &[240, 240, 0, 1]).is_some(), "a virtual address");
        assert!(with(DESTINATION_AT, &[169, 254, 169, 254]).is_some(), "a metadata service");
        for address in [[224, 0, 0, 1], [255, 255, 255, 255], [0, 0, 0, 0], [127, 0, 0, 1]] {
            assert_eq!(with(SOURCE_AT, &address), None, "from {address:?}");
            assert_eq!(with(DESTINATION_AT, &address), None, "to {address:?}");
        }
        for mac in [[0xff; 6], [1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]] {
            assert_eq!(with(MAC_AT, &mac), None, "to {mac:?}");
        }
    }
    for address in [[0; 16], [0xff; 16]] {
        for at in [22, 38] {
            let mut frame = udp(Family::V6, b"x");
            frame[at..at + 16].copy_from_slice(&address);
            assert_eq!(reply_to(&frame), None, "{address:?} at {at}");
        }
    }
}

/// Options and extension headers are left out of a reset, and quoted in an error.
#[test]
fn the_transport_is_found_behind_options_and_extension_headers() {
    let options = |segment: Vec<u8>| {
        let mut frame = segment;
        frame[14] = 0x47;
        let total = u16::try_from(frame.len() - 14 + 8).unwrap();
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        frame.splice(34..34, [1; 8]);
        frame
    };
    let frame = options(tcp(Family::V4, tcp_flag::SYN, b""));
    let reply = reply_to(&frame).expect("a reply");
    assert_eq!(reset(&sliced(&reply)).acknowledgment_number(), SEQUENCE.wrapping_add(1));
    let frame = options(udp(Family::V4, b"abcd"));
    assert_eq!(quoted(Family::V4, &reply_to(&frame).expect("a reply")), frame[14..]);

    let extended = |segment: Vec<u8>, next: u8| {
        let mut frame = segment;
        frame[20] = protocol::DESTINATION_OPTIONS;
        let length = u16::try_from(frame.len() - 54 + 8).unwrap();
        frame[18..20].copy_from_slice(&length.to_be_bytes());
        frame.splice(54..54, [next, 0, 1, 4, 0, 0, 0, 0]);
        frame
    };
    let frame = extended(tcp(Family::V6, tcp_flag::SYN, b""), protocol::TCP);
    let reply = reply_to(&frame).expect("a reply");
    assert_eq!(reset(&sliced(&reply)).acknowledgment_number(), SEQUENCE.wrapping_add(1));
    let frame = extended(udp(Family::V6, b"abcd"), protocol::UDP);
    assert_eq!(quoted(Family::V6, &reply_to(&frame).expect("a reply")), frame[14..]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn every_reply_is_one_that_another_parser_reads(
        is_v4 in any::<bool>(),
        kind in 0..3_u8,
        payload in proptest::collection::vec(any::<u8>(), 0..200),
        flags in any::<u8>(),
        numbers in any::<(u32, u32, u16, u16)>(),
    ) {
        let family = if is_v4 { Family::V4 } else { Family::V6 };
        let mut frame = match kind {
            0 => tcp(family, flags, &payload),
            1 => udp(family, &payload),
            _ => bare(family, 132, &payload),
        };
        let transport = if is_v4 { 34 } else { 54 };
        if kind == 0 {
            frame[transport..transport + 2].copy_from_slice(&numbers.2.to_be_bytes());
            frame[transport + 2..transport + 4].copy_from_slice(&numbers.3.to_be_bytes());
            frame[transport + 4..transport + 8].copy_from_slice(&numbers.0.to_be_bytes());
            frame[transport + 8..transport + 12].copy_from_slice(&numbers.1.to_be_bytes());
            reset(&sliced(&aborted(&frame)));
        }
        match (kind, reply_to(&frame)) {
            (0, Some(reply)) => drop(reset(&sliced(&reply))),
            (0, None) => assert!(flags & tcp_flag::RST != 0),
            (_, reply) => {
                let quoted = quoted(family, &reply.expect("a reply"));
                assert!(frame[14..].starts_with(&quoted));
            }
        }
    }
}

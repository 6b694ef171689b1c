//! The short way of packets of known flows: it says nothing that the whole judgement would not say, and writes nothing.

use exeat_common::{
    abi::{FlowKey, FlowValue, Workload, direction, workload_flag},
    decide::Decision,
    flow::protocol,
    id::SubjectId,
    known::{Head, Plain, V4_BYTES, V6_BYTES, arrives, leaves, read_v4, read_v6},
    packet::tcp_flag,
    reason::Reason,
    wire::{Arrive, Leave, arrive, leave},
};
use proptest::prelude::{ProptestConfig, any, proptest};

use super::{
    EXACT, SITE, frame, granted, read,
    support::{NOW, POD, WORKLOAD, World, address, workload},
    tcp, udp,
};

const POD_V6: &str = "2001:db8::2";
const SITE_V6: &str = "2001:db8:1::1";

/// A frame that lies in one piece.
struct Slice<'a>(&'a [u8]);

impl<const N: usize> Head<N> for Slice<'_> {
    fn byte<const AT: usize>(&self) -> u8 {
        self.0[AT]
    }

    fn half<const AT: usize>(&self) -> u16 {
        u16::from_be_bytes([self.0[AT], self.0[AT + 1]])
    }

    fn word<const AT: usize>(&self) -> u32 {
        u32::from_ne_bytes([self.0[AT], self.0[AT + 1], self.0[AT + 2], self.0[AT + 3]])
    }
}

/// As the kernel side does it.
fn plain(frame: &[u8]) -> Option<Plain> {
    if frame.len() < V4_BYTES {
        return None;
    }
    read_v4(&Slice(frame), frame.len())
        .or_else(|| if frame.len() < V6_BYTES { None } else { read_v6(&Slice(frame), frame.len()) })
}

/// A pod with an address of each family.
fn pod() -> Workload {
    let mut pod = workload();
    pod.addresses[1] = address(POD_V6);
    Workload { address_count: 2, ..pod }
}

fn flow() -> FlowValue {
    FlowValue {
        generation: 1,
        last_seen: NOW,
        subject: EXACT,
        dialled_port: 0,
        direction: direction::OUTBOUND,
        closing: 0,
        resets: 0,
        reserved: [0; _],
    }
}

/// Both ends of a flow, as text.
type Ends = (&'static str, &'static str);
const V4: Ends = (POD, SITE);
const V6: Ends = (POD_V6, SITE_V6);

fn world(ends: Ends, proto: u8, flow: FlowValue) -> World {
    let world = granted();
    let (local, remote) = ((address(ends.0), 4000), (address(ends.1), 443));
    world.flows.borrow_mut().insert(FlowKey::new(WORKLOAD, proto, local, remote), flow);
    world
}

fn segment(proto: u8, from: u16, to: u16) -> Vec<u8> {
    if proto == protocol::TCP { tcp(from, to, tcp_flag::ACK) } else { udp(from, to, &[7; 40]) }
}

/// What the short way says of a frame of the pod, which must be what the long way says.
fn said(pod: &Workload, world: &World, frame: &[u8]) -> Option<Reason> {
    let reason = leaves(pod, &plain(frame)?, world)?;
    let before = world.flows.borrow().clone();
    let packet = read(frame).expect("a frame that the whole parser reads");
    let judged = leave(Some(pod), &packet, world);
    assert_eq!(judged, Leave::Judged(Decision::allow(reason)), "{frame:x?}");
    assert_eq!(*world.flows.borrow(), before, "nothing to be written for {frame:x?}");
    Some(reason)
}

/// The same for a frame to the pod.
fn passes(pod: &Workload, world: &World, frame: &[u8]) -> bool {
    let Some(plain) = plain(frame) else {
        return false;
    };
    if !arrives(pod, &plain, world) {
        return false;
    }
    let before = world.flows.borrow().clone();
    let packet = read(frame).expect("a frame that the whole parser reads");
    assert_eq!(arrive(Some(pod), &packet, world), Arrive::Pass, "{frame:x?}");
    assert_eq!(*world.flows.borrow(), before, "nothing to be written for {frame:x?}");
    true
}

fn everywhere(check: impl Fn(Ends, u8)) {
    for ends in [V4, V6] {
        for proto in [protocol::TCP, protocol::UDP] {
            check(ends, proto);
        }
    }
}

#[test]
fn packets_of_known_flows_take_it() {
    everywhere(|ends, proto| {
        let out = frame(ends.0, ends.1, proto, &segment(proto, 4000, 443));
        let back = frame(ends.1, ends.0, proto, &segment(proto, 443, 4000));
        let known = world(ends, proto, flow());
        assert_eq!(said(&pod(), &known, &out), Some(Reason::Established));
        assert!(passes(&pod(), &known, &back));
        let inbound = FlowValue { direction: direction::INBOUND, ..flow() };
        let inbound = world(ends, proto, FlowValue { subject: SubjectId::NONE, ..inbound });
        assert_eq!(said(&pod(), &inbound, &out), Some(Reason::Inbound));
        assert!(passes(&pod(), &inbound, &back));
    });
}

#[test]
fn what_has_to_be_judged_or_noted_does_not() {
    everywhere(|ends, proto| {
        let out = frame(ends.0, ends.1, proto, &segment(proto, 4000, 443));
        let back = frame(ends.1, ends.0, proto, &segment(proto, 443, 4000));
        let revoked = FlowValue { direction: direction::REVOKED, ..flow() };
        let older = FlowValue { last_seen: NOW - 1, ..flow() };
        for value in [revoked, older] {
            let world = world(ends, proto, value);
            assert_eq!(said(&pod(), &world, &out), None, "{value:?}");
            assert!(!passes(&pod(), &world, &back), "{value:?}");
        }
        let other_rules = world(ends, proto, FlowValue { generation: 0, ..flow() });
        assert_eq!(said(&pod(), &other_rules, &out), None);
        let known = world(ends, proto, flow());
        for (pod, why) in [
            (Workload { flags: workload_flag::EXEMPT, ..pod() }, "exempt"),
            (Workload { addresses: [address("10.9.0.3"); 4], ..pod() }, "of another address"),
        ] {
            assert_eq!(said(&pod, &known, &out), None, "{why}");
            assert!(!passes(&pod, &known, &back), "{why}");
        }
        assert_eq!(said(&pod(), &granted(), &out), None, "unknown");
        assert!(!passes(&pod(), &granted(), &back), "unknown");
    });
}

#[test]
fn what_is_not_plain_does_not() {
    let known = world(V4, protocol::TCP, flow());
    let good = frame(POD, SITE, protocol::TCP, &segment(protocol::TCP, 4000, 443));
    assert_eq!(said(&pod(), &known, &good), Some(Reason::Established));
    for flag in [tcp_flag::SYN, tcp_flag::FIN, tcp_flag::RST] {
        let turns = frame(POD, SITE, protocol::TCP, &tcp(4000, 443, tcp_flag::ACK | flag));
        assert_eq!(said(&pod(), &known, &turns), None, "flag {flag}");
    }
    for (at, byte, why) in [
        (12, 0x88, "another protocol"),
        (14, 0x46, "options"),
        (14, 0x55, "a version that is not the frame's"),
        (17, 200, "longer than the frame"),
        (20, 0x20, "a first fragment"),
        (21, 1, "a later fragment"),
        (23, protocol::ICMP, "no transport"),
        (46, 0x40, "a TCP header that is too short"),
        (46, 0xf0, "one that is longer than the packet"),
    ] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert_eq!(said(&pod(), &known, &bad), None, "{why}");
    }
    let mut whole = good.clone();
    whole[20] = 0x40;
    assert_eq!(said(&pod(), &known, &whole), Some(Reason::Established), "not to be fragmented");
    for length in 0..good.len() {
        assert_eq!(said(&pod(), &known, &good[..length]), None, "cut to {length}");
    }
}

#[test]
fn neither_resolvers_nor_loopback_are_reached_by_it() {
    for (remote, port) in [(SITE, 53), ("127.0.0.9", 443)] {
        let world = granted();
        let key =
            FlowKey::new(WORKLOAD, protocol::UDP, (address(POD), 4000), (address(remote), port));
        world.flows.borrow_mut().insert(key, flow());
        let out = frame(POD, remote, protocol::UDP, &segment(protocol::UDP, 4000, port));
        assert_eq!(said(&pod(), &world, &out), None, "{remote}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50_000))]

    #[test]
    fn it_never_says_more_than_the_whole_judgement(
        is_v6 in any::<bool>(),
        is_udp in any::<bool>(),
        changes in proptest::collection::vec((12..80_usize, any::<u8>()), 0..4),
        cut in 0..4_usize,
        direction in 0..4_u8,
        (generation, older, flags) in (0..2_u32, 0..2_u32, 0..8_u8),
    ) {
        let ends = if is_v6 { V6 } else { V4 };
        let proto = if is_udp { protocol::UDP } else { protocol::TCP };
        let value = FlowValue { direction, generation, last_seen: NOW - older, ..flow() };
        let world = world(ends, proto, value);
        let pod = Workload { flags, ..pod() };
        for (from, to, ports) in [(ends.0, ends.1, (4000, 443)), (ends.1, ends.0, (443, 4000))] {
            let mut frame = frame(from, to, proto, &segment(proto, ports.0, ports.1));
            for (at, byte) in &changes {
                if let Some(place) = frame.get_mut(*at) {
                    *place = *byte;
                }
            }
            frame.truncate(frame.len() - cut);
            let _left = said(&pod, &world, &frame);
            let _arrived = passes(&pod, &world, &frame);
        }
    }
}

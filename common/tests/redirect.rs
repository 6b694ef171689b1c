//! Where redirected flows go, and which of several answers a datagram socket can tell apart.

#![cfg(test)]

use std::{
    cell::Cell,
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use exeat_common::{
    abi::{BackendKey, BackendValue, Redirect, TargetValue, Workload, target_kind},
    address::Address,
    flow::{Flow, protocol},
    id::{SubjectId, WorkloadId},
    limits::{FLOW_IDLE_DATAGRAM_SECONDS, PEER_SLOTS},
    reason::Reason,
    redirect::{Backends, Caller, End, Peers, Targets, peer_of, room_for, send},
};
use zerocopy::FromZeros as _;

const TARGET: u32 = 3;
const V4: &str = "240.240.0.1";
const V6: &str = "2001:2::1";

struct World {
    target: Option<TargetValue>,
    backends: BTreeMap<BackendKey, BackendValue>,
    /// State of a linear congruential generator.
    drawn: Cell<u64>,
}

impl Backends for World {
    fn backend(&self, key: &BackendKey) -> Option<BackendValue> {
        self.backends.get(key).copied()
    }
}

impl Targets for World {
    fn target(&self, number: u32) -> Option<&TargetValue> {
        self.target.as_ref().filter(|_| number == TARGET)
    }

    fn random(&self) -> u32 {
        let next = self.drawn.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.drawn.set(next);
        u32::try_from(next >> 32).expect("the upper half")
    }

    fn sidecar_port(&self) -> u16 {
        15_001
    }
}

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().expect("an address").into()
}

/// A target with one even backend for each of these ends.
fn target(kind: u8, v4: &[(&str, u16)], v6: &[(&str, u16)]) -> World {
    let mut value = TargetValue::new_zeroed();
    value.kind = kind;
    value.v4 = u32::try_from(v4.len()).expect("few");
    value.v6 = u32::try_from(v6.len()).expect("few");
    let backend = |(text, port): &(&str, u16)| BackendValue {
        address: if text.is_empty() { Address::default() } else { address(text) },
        weight: 1,
        chance: u32::MAX,
        alias: 0,
        port: *port,
        reserved: [0; 2],
    };
    let backends = (0..).zip(v4.iter().chain(v6));
    let backends =
        backends.map(|(index, it)| (BackendKey { target: TARGET, index }, backend(it))).collect();
    World { target: Some(value), backends, drawn: Cell::new(0) }
}

fn workload(sidecar_cgroup: u64) -> Workload {
    Workload { sidecar_cgroup, ..Workload::new_zeroed() }
}

#[track_caller]
fn check(world: &World, dialled: &str, caller: Caller, expected: Result<&[&str], Reason>) {
    let workload = workload(77);
    for proto in [protocol::TCP, protocol::UDP] {
        let flow = Flow {
            workload: Some(&workload),
            destination: address(dialled),
            port: 443,
            protocol: proto,
        };
        let mut met = std::collections::BTreeSet::new();
        for _ in 0..500 {
            match (send(TARGET, &flow, caller, world), expected) {
                (Ok(end), Ok(_)) => {
                    met.insert(format!("{} {}", IpAddr::from(end.address), end.port));
                }
                (result, expected) => assert_eq!(result.map(drop), expected.map(drop)),
            }
        }
        if let Ok(expected) = expected {
            assert_eq!(met.iter().map(String::as_str).collect::<Vec<_>>(), expected);
        }
    }
}

#[test]
fn each_backend_of_the_family_is_met_and_no_other() {
    let world =
        target(target_kind::ENDPOINTS, &[("10.0.0.1", 80), ("10.0.0.2", 81)], &[("fd00::1", 82)]);
    check(&world, V4, Caller::default(), Ok(&["10.0.0.1 80", "10.0.0.2 81"]));
    check(&world, V6, Caller::default(), Ok(&["fd00::1 82"]));
    // Its own family is there, so the other is not taken.
    let crossing = Caller { may_cross: true, ..Caller::default() };
    check(&world, V6, crossing, Ok(&["fd00::1 82"]));
}

#[test]
fn the_other_family_is_taken_where_there_is_no_choice_and_the_socket_can() {
    let world = target(target_kind::GATEWAY, &[("10.0.0.1", 80)], &[]);
    let crossing = Caller { may_cross: true, ..Caller::default() };
    check(&world, V6, crossing, Ok(&["10.0.0.1 80"]));
    check(&world, V6, Caller::default(), Err(Reason::NoUpstream));
    let world = target(target_kind::GATEWAY, &[], &[("fd00::1", 80)]);
    check(&world, V4, crossing, Ok(&["fd00::1 80"]));
    check(&world, V4, Caller::default(), Err(Reason::NoUpstream));
}

#[test]
fn a_draw_that_is_not_kept_goes_to_the_alias() {
    let mut world =
        target(target_kind::ENDPOINTS, &[("10.0.0.1", 80), ("10.0.0.2", 80)], &[("fd00::1", 80)]);
    for (key, backend) in &mut world.backends {
        if key.index == 0 {
            *backend = BackendValue { chance: 0, alias: 1, ..*backend };
        }
    }
    check(&world, V4, Caller::default(), Ok(&["10.0.0.2 80"]));
}

#[test]
fn the_address_that_was_dialled_may_get_another_port() {
    let world = target(target_kind::ENDPOINTS, &[("", 8443)], &[("", 8443)]);
    check(&world, V4, Caller::default(), Ok(&["240.240.0.1 8443"]));
    check(&world, V6, Caller::default(), Ok(&["2001:2::1 8443"]));
}

#[test]
fn without_a_target_or_a_backend_there_is_no_upstream() {
    let mut world = target(target_kind::ENDPOINTS, &[], &[]);
    check(&world, V4, Caller::default(), Err(Reason::NoUpstream));
    world.target = None;
    check(&world, V4, Caller::default(), Err(Reason::NoUpstream));
}

#[test]
fn to_the_sidecar_on_the_loopback_of_the_family() {
    let world = target(target_kind::SIDECAR, &[], &[]);
    check(&world, V4, Caller::default(), Ok(&["127.0.0.1 15001"]));
    check(&world, V6, Caller::default(), Ok(&["::1 15001"]));
    // What comes from it goes where it dials, and what no loopback can carry goes nowhere.
    let own = Caller { is_sidecar: true, ..Caller::default() };
    check(&world, V4, own, Ok(&["240.240.0.1 443"]));
    let bound = Caller { is_bound_to_device: true, ..Caller::default() };
    check(&world, V4, bound, Err(Reason::NoRedirect));
}

#[test]
fn a_sidecar_that_is_not_there_yet_takes_nothing() {
    let world = target(target_kind::SIDECAR, &[], &[]);
    let workload = workload(0);
    let destination = address(V4);
    let flow = Flow { workload: Some(&workload), destination, port: 443, protocol: protocol::TCP };
    assert_eq!(send(TARGET, &flow, Caller::default(), &world), Err(Reason::NoSidecar));
    let nobody = Flow { workload: None, ..flow };
    assert_eq!(send(TARGET, &nobody, Caller::default(), &world), Err(Reason::NoSidecar));
}

#[test]
fn only_flows_with_ports_of_ordinary_sockets_are_sent_elsewhere() {
    let world = target(target_kind::ENDPOINTS, &[("10.0.0.1", 80)], &[]);
    let workload = workload(77);
    let destination = address(V4);
    let flow = Flow { workload: Some(&workload), destination, port: 0, protocol: protocol::ICMP };
    assert_eq!(send(TARGET, &flow, Caller::default(), &world), Err(Reason::NoRedirect));
    let raw = Caller { is_raw: true, ..Caller::default() };
    check(&world, V4, raw, Err(Reason::NoRedirect));
}

fn redirect(dialled: u8, sent_to: u8, last_used: u32) -> Redirect {
    let at = |last| Address::from(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)));
    Redirect {
        dialled: at(dialled),
        sent_to: at(sent_to),
        dialled_port: 53,
        sent_to_port: 5353,
        workload: WorkloadId::new(1),
        subject: SubjectId::NONE,
        target: TARGET,
        last_used,
    }
}

#[test]
fn answers_of_one_end_belong_to_one_destination() {
    let mut peers: Peers = zerocopy::FromZeros::new_zeroed();
    let end = |redirect: &Redirect| End { address: redirect.sent_to, port: redirect.sent_to_port };
    let first = redirect(1, 101, 1_000);
    let index = room_for(&peers, end(&first), 1_000).expect("room");
    peers[index] = first;
    let dialled = End { address: first.dialled, port: first.dialled_port };
    assert_eq!(peer_of(&peers, dialled), Some(index));
    assert_eq!(peer_of(&peers, End { port: 54, ..dialled }), None);
    // Another destination that would be sent to the same end.
    assert_eq!(room_for(&peers, end(&redirect(2, 101, 1_000)), 1_000), Err(Reason::PeerTaken));
    for number in 2..=u8::try_from(PEER_SLOTS).expect("few") {
        let next = redirect(number, 100 + number, 1_000);
        let index = room_for(&peers, end(&next), 1_000).expect("room");
        peers[index] = next;
    }
    let more = redirect(90, 190, 1_000);
    assert_eq!(room_for(&peers, end(&more), 1_000), Err(Reason::ShareUsed));
    // Who was silent for long gives its place.
    let later = 1_000 + FLOW_IDLE_DATAGRAM_SECONDS + 1;
    assert!(room_for(&peers, end(&more), later).is_ok());
    assert!(room_for(&peers, end(&first), later).is_ok());
}

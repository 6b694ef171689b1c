//! The decision, one test a numbered step.

#![cfg(test)]

mod support;

use exeat_common::{
    abi::{RuleKey, RuleValue, Workload, action, mode, setting_flag, workload_flag},
    decide::{Decision, decide, is_still_allowed},
    flow::{Flow, protocol},
    id::{PolicyId, SubjectId, rank},
    reason::{Reason, Verdict},
};
use support::{NOW, RESOLVER, World, address, workload};

const EXACT: SubjectId = SubjectId::pattern(1, true, 3);
const WILD: SubjectId = SubjectId::pattern(2, false, 2);
const NET: SubjectId = SubjectId::prefix(1);
const REDIRECT: RuleValue =
    RuleValue { action: action::REDIRECT, reason: 0, rank: 0, reserved: 0, target: 9 };
const ALLOW_EXACT: RuleValue = RuleValue { rank: rank(true, 3), ..RuleValue::ALLOW };
const UNSUPPORTED: RuleValue = RuleValue {
    action: action::DENY,
    reason: Reason::Unsupported as u8,
    rank: 0,
    reserved: 0,
    target: 0,
};

fn judge(world: &World, workload: Option<&Workload>, to: &str, port: u16, proto: u8) -> Decision {
    decide(&Flow { workload, destination: address(to), port, protocol: proto }, world)
}

#[track_caller]
fn check(world: &World, to: &str, port: u16, verdict: Verdict, reason: Reason) {
    let decision = judge(world, Some(&workload()), to, port, protocol::TCP);
    assert_eq!((decision.verdict, decision.reason), (verdict, reason), "{to} port {port}");
}

#[test]
fn step_1_the_unknown_is_denied_and_loopback_and_the_exempt_pass() {
    let world = World::default();
    let unknown = judge(&world, None, "127.0.0.1", 80, protocol::TCP);
    assert_eq!(unknown, Decision::deny(Reason::UnknownWorkload));
    check(&world, "127.0.0.9", 80, Verdict::Allow, Reason::Loopback);
    check(&world, "::1", 80, Verdict::Allow, Reason::Loopback);
    let exempt = Workload { flags: workload_flag::EXEMPT, ..workload() };
    let decision = judge(&world, Some(&exempt), "192.0.2.9", 80, protocol::TCP);
    assert_eq!(decision, Decision::allow(Reason::Exempt));
}

#[test]
fn step_2_resolvers_pass_and_the_cluster_under_scope_external() {
    let mut world = World::default();
    check(&world, RESOLVER, 53, Verdict::Allow, Reason::TrustedResolver);
    check(&world, RESOLVER, 853, Verdict::Deny, Reason::NotRegistered);
    let icmp = judge(&world, Some(&workload()), RESOLVER, 53, protocol::ICMP);
    assert_eq!(icmp.verdict, Verdict::Deny);
    world.prefix(PolicyId::INTERNAL, "10.0.0.0/8", NET);
    check(&world, "10.1.2.3", 80, Verdict::Deny, Reason::NotRegistered);
    world.flags = setting_flag::SCOPE_EXTERNAL;
    check(&world, "10.1.2.3", 80, Verdict::Allow, Reason::ClusterInternal);
    check(&world, "11.1.2.3", 80, Verdict::Deny, Reason::NotRegistered);
}

#[test]
fn step_3_the_most_specific_with_a_rule_for_the_port_decides() {
    let mut world = World::default();
    world.prefix(support::POLICY, "203.0.113.0/24", NET);
    world.grant(NET, 5432, protocol::TCP, RuleValue::ALLOW);
    check(&world, "203.0.113.9", 5432, Verdict::Allow, Reason::Registered);
    check(&world, "203.0.113.9", 443, Verdict::Deny, Reason::PortNotDeclared);

    // Names decide where the prefix has no rule for the port.
    world.told("203.0.113.9", WILD, NOW + 1);
    world.grant(WILD, 443, protocol::TCP, UNSUPPORTED);
    check(&world, "203.0.113.9", 443, Verdict::Deny, Reason::Unsupported);
    world.told("203.0.113.9", EXACT, NOW + 1);
    world.grant(EXACT, 443, protocol::TCP, ALLOW_EXACT);
    check(&world, "203.0.113.9", 443, Verdict::Allow, Reason::Registered);

    // If names disagree, a redirect beats a direct rule, however specific that is.
    world.grant(WILD, 443, protocol::TCP, REDIRECT);
    let decision = judge(&world, Some(&workload()), "203.0.113.9", 443, protocol::TCP);
    assert_eq!((decision.verdict, decision.subject, decision.target), (Verdict::Redirect, WILD, 9));
}

#[test]
fn step_3_what_a_rule_was_declared_for_counts_and_not_what_carries_it() {
    let mut world = World::default();
    world.told("203.0.113.9", WILD, NOW + 1);
    world.told("203.0.113.9", EXACT, NOW + 1);
    // The exact name is another policy's; here it has what a wildcard of two labels grants.
    world.grant(EXACT, 443, protocol::TCP, RuleValue::ALLOW);
    world.grant(WILD, 443, protocol::TCP, RuleValue { rank: rank(false, 3), ..UNSUPPORTED });
    check(&world, "203.0.113.9", 443, Verdict::Deny, Reason::Unsupported);
    world.grant(EXACT, 443, protocol::TCP, ALLOW_EXACT);
    check(&world, "203.0.113.9", 443, Verdict::Allow, Reason::Registered);
    // Among equals a denial counts.
    world.grant(WILD, 443, protocol::TCP, RuleValue { rank: ALLOW_EXACT.rank, ..UNSUPPORTED });
    check(&world, "203.0.113.9", 443, Verdict::Deny, Reason::Unsupported);
}

#[test]
fn step_3_what_is_open_anywhere_ranks_below_all_else() {
    let mut world = World::default();
    let key = RuleKey::new(support::POLICY, SubjectId::ANYWHERE, 443, protocol::TCP);
    world.rules.insert(key, RuleValue::ALLOW);
    check(&world, "192.0.2.1", 443, Verdict::Allow, Reason::Registered);
    check(&world, "192.0.2.1", 80, Verdict::Deny, Reason::NotRegistered);
    let decision = judge(&world, Some(&workload()), "192.0.2.1", 443, protocol::TCP);
    assert_eq!(decision.subject, SubjectId::ANYWHERE);
    for (port, proto) in [(443, protocol::UDP), (0, protocol::ICMP), (0, protocol::ICMPV6)] {
        assert_eq!(
            judge(&world, Some(&workload()), "192.0.2.1", port, proto).verdict,
            Verdict::Deny
        );
    }
    // Under a prefix and a name that have no rule for the port.
    world.prefix(support::POLICY, "192.0.2.0/24", NET);
    world.grant(NET, 80, protocol::TCP, RuleValue::ALLOW);
    world.told("192.0.2.1", EXACT, NOW + 1);
    world.grant(EXACT, 22, protocol::TCP, RuleValue::ALLOW);
    check(&world, "192.0.2.1", 443, Verdict::Allow, Reason::Registered);
    // Not under those that have one.
    world.grant(EXACT, 443, protocol::TCP, UNSUPPORTED);
    check(&world, "192.0.2.1", 443, Verdict::Deny, Reason::Unsupported);
    check(&world, "192.0.2.2", 443, Verdict::Allow, Reason::Registered);
    world.grant(NET, 443, protocol::TCP, UNSUPPORTED);
    check(&world, "192.0.2.2", 443, Verdict::Deny, Reason::Unsupported);

    // An open flow stays as long as the rule is there.
    let (workload, destination) = (workload(), address("198.51.100.1"));
    let flow = Flow { workload: Some(&workload), destination, port: 443, protocol: protocol::TCP };
    assert!(is_still_allowed(&flow, SubjectId::ANYWHERE, &world));
    assert!(!is_still_allowed(&Flow { port: 80, ..flow }, SubjectId::ANYWHERE, &world));
}

#[test]
fn step_3_facts_expire_and_ports_and_protocols_are_told_apart() {
    let mut world = World::default();
    world.grant(EXACT, 443, protocol::TCP, RuleValue::ALLOW);
    world.told("192.0.2.1", EXACT, NOW);
    check(&world, "192.0.2.1", 443, Verdict::Allow, Reason::Registered);
    check(&world, "192.0.2.1", 80, Verdict::Deny, Reason::PortNotDeclared);
    let udp = judge(&world, Some(&workload()), "192.0.2.1", 443, protocol::UDP);
    assert_eq!(udp.reason, Reason::PortNotDeclared);
    world.later = 1;
    check(&world, "192.0.2.1", 443, Verdict::Deny, Reason::NameExpired);
}

#[test]
fn step_4_the_action_of_the_rule_stands() {
    let mut world = World::default();
    world.told("192.0.2.1", EXACT, NOW + 1);
    let no_upstream = RuleValue { reason: Reason::NoUpstream as u8, ..UNSUPPORTED };
    world.grant(EXACT, 443, protocol::TCP, no_upstream);
    check(&world, "192.0.2.1", 443, Verdict::Deny, Reason::NoUpstream);
    for reason in Reason::ALL {
        let rule = RuleValue { reason: *reason as u8, ..UNSUPPORTED };
        world.grant(EXACT, 443, protocol::TCP, rule);
        let is_denial = matches!(
            reason,
            Reason::NoUpstream | Reason::NoRoute | Reason::RouteUnknown | Reason::Unsupported
        );
        let expected = if is_denial { *reason } else { Reason::Unsupported };
        check(&world, "192.0.2.1", 443, Verdict::Deny, expected);
    }
    // ALLOW_ANY is for what nothing declares, not for what cannot be honoured.
    let relaxed = Workload { mode: mode::ALLOW_ANY, ..workload() };
    let decision = judge(&world, Some(&relaxed), "192.0.2.1", 443, protocol::TCP);
    assert_eq!(decision.verdict, Verdict::Deny);
}

#[test]
fn step_5_what_nothing_declares_is_denied_unless_anything_goes() {
    let world = World::default();
    check(&world, "192.0.2.1", 443, Verdict::Deny, Reason::NotRegistered);
    let relaxed = Workload { mode: mode::ALLOW_ANY, ..workload() };
    let decision = judge(&world, Some(&relaxed), "192.0.2.1", 443, protocol::TCP);
    assert_eq!(decision, Decision::allow(Reason::AllowAny));
    // A mode that is not known here denies.
    let strange = Workload { mode: u8::MAX, ..workload() };
    let decision = judge(&world, Some(&strange), "192.0.2.1", 443, protocol::TCP);
    assert_eq!(decision, Decision::deny(Reason::NotRegistered));
}

#[test]
fn step_5_what_nothing_declares_goes_to_the_default_target() {
    let mut world = World::default();
    world.told("192.0.2.1", EXACT, NOW + 1);
    world.grant(EXACT, 443, protocol::TCP, RuleValue::ALLOW);
    let behind = Workload { mode: mode::GATEWAY, default_target: 4, ..workload() };
    let decision = judge(&world, Some(&behind), "192.0.2.1", 80, protocol::TCP);
    assert_eq!((decision.verdict, decision.target), (Verdict::Redirect, 4));
    assert_eq!((decision.reason, decision.subject), (Reason::AllowAny, SubjectId::NONE));
    let decision = judge(&world, Some(&behind), "192.0.2.1", 443, protocol::TCP);
    assert_eq!((decision.verdict, decision.reason), (Verdict::Allow, Reason::Registered));
}

#[test]
fn where_nothing_can_redirect_a_redirect_is_a_denial() {
    let mut world = World::default();
    world.told("192.0.2.1", EXACT, NOW + 1);
    world.grant(EXACT, 443, protocol::TCP, REDIRECT);
    let redirect = judge(&world, Some(&workload()), "192.0.2.1", 443, protocol::TCP);
    let decision = redirect.without_redirect();
    assert_eq!((decision.verdict, decision.reason), (Verdict::Deny, Reason::NoRedirect));
    assert_eq!(decision.subject, EXACT);
    let behind = Workload { mode: mode::GATEWAY, default_target: 4, ..workload() };
    let redirect = judge(&world, Some(&behind), "192.0.2.9", 443, protocol::TCP);
    assert_eq!(redirect.without_redirect().reason, Reason::NoRedirect);
    for other in [Decision::allow(Reason::Registered), Decision::deny(Reason::NoRoute)] {
        assert_eq!(other.without_redirect(), other);
    }
}

#[test]
fn echo_needs_the_grant_and_no_number_of_a_packet_is_the_grant() {
    let mut world = World::default();
    world.told("192.0.2.1", EXACT, NOW + 1);
    world.grant(EXACT, 443, protocol::TCP, RuleValue::ALLOW);
    let to = |port, proto| judge(&world, Some(&workload()), "192.0.2.1", port, proto).verdict;
    assert_eq!(to(0, protocol::ICMP), Verdict::Allow);
    assert_eq!(to(0, protocol::ICMPV6), Verdict::Allow);
    for proto in (0..=u8::MAX).filter(|it| !matches!(*it, protocol::ICMP | protocol::ICMPV6)) {
        assert_eq!(to(0, proto), Verdict::Deny, "protocol {proto}");
    }
}

#[test]
fn an_open_flow_needs_its_rule_and_not_its_fact() {
    let mut world = World::default();
    world.grant(EXACT, 443, protocol::TCP, RuleValue::ALLOW);
    let workload = workload();
    let destination = address("192.0.2.1");
    let flow = Flow { workload: Some(&workload), destination, port: 443, protocol: protocol::TCP };
    assert!(is_still_allowed(&flow, EXACT, &world));
    assert!(!is_still_allowed(&Flow { port: 80, ..flow }, EXACT, &world));
    assert!(!is_still_allowed(&Flow { workload: None, ..flow }, EXACT, &world));
}

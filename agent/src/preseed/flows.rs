//! Which open connections of a workload stay. Pure; why it is right stands in [`super`].

use std::{collections::BTreeMap, net::IpAddr};

use exeat_common::{
    abi::{FlowKey, RuleKey, Workload, action},
    address::Address,
    decide::decide,
    dns::learn::is_guarded,
    flow::{Flow, protocol},
    id::{PolicyId, SubjectId},
    limits::FLOWS_ENTRIES,
    reason::{Reason, Verdict},
};

use super::NewFlow;
use crate::{
    policy::{
        image::{Image, rules_of},
        image_tables::{Facts, ImageTables},
    },
    workloads::sockets::{Connection, Sockets},
};

/// Connections adopted of one workload. Thirty-two that have as many fill the table.
const FLOWS_PER_WORKLOAD: usize = FLOWS_ENTRIES / 32;

/// What becomes of a workload's connections.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Adoption {
    pub flows: Vec<NewFlow>,
    /// Those that are not adopted and that the tables deny from now on.
    pub left: usize,
}

/// What happens to one connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// The tables allow it at any time, or it never leaves the workload.
    Allowed,
    /// It stays, held to the rule of this subject; none for one that came in.
    Kept(SubjectId),
    Left,
}

/// Decides which of the connections are remembered as flows. `facts` are those the workload is
/// given at the same time; their times play no part.
pub fn adopt(workload: &Workload, sockets: &Sockets, image: &Image, facts: &Facts) -> Adoption {
    let ports = ports_by_name(image, workload.policy);
    let tables = ImageTables { image, facts, now: 0 };
    let mut adoption = Adoption::default();
    for connection in &sockets.connections {
        let is_inbound = sockets.is_listening(connection.local);
        match fate(workload, connection, is_inbound, &ports, &tables) {
            Fate::Allowed => {}
            Fate::Kept(subject) if adoption.flows.len() < FLOWS_PER_WORKLOAD => {
                adoption.flows.push(flow(workload, connection, subject));
            }
            Fate::Kept(_) | Fate::Left => adoption.left += 1,
        }
    }
    adoption
}

fn fate(
    workload: &Workload,
    connection: &Connection,
    is_inbound: bool,
    ports: &BTreeMap<u16, SubjectId>,
    tables: &ImageTables<'_>,
) -> Fate {
    let remote: Address = connection.remote.ip().into();
    if is_loopback(connection.local.ip()) || is_loopback(connection.remote.ip()) {
        return Fate::Allowed;
    }
    if !is_own(workload, connection.local.ip().into()) {
        return Fate::Left;
    }
    if is_inbound {
        return Fate::Kept(SubjectId::NONE);
    }
    let flow = Flow {
        workload: Some(workload),
        destination: remote,
        port: connection.remote.port(),
        protocol: protocol::TCP,
    };
    let decision = decide(&flow, tables);
    match (decision.verdict, decision.reason) {
        // A fact ends, and the connection shall not end with it.
        (Verdict::Allow, Reason::Registered) if !decision.subject.is_prefix() => {
            Fate::Kept(decision.subject)
        }
        (Verdict::Allow, _) => Fate::Allowed,
        // Nothing says anything about this address.
        (_, Reason::NotRegistered | Reason::PortNotDeclared | Reason::AllowAny)
            if !is_guarded(remote, tables) =>
        {
            ports.get(&flow.port).map_or(Fate::Left, |subject| Fate::Kept(*subject))
        }
        // A rule speaks of this address and denies it, or leads elsewhere.
        _ => Fate::Left,
    }
}

/// TCP ports that the policy allows under some name, and the least specific pattern of each: an
/// address that no exact name has any more is most likely that of a name nobody could list.
fn ports_by_name(image: &Image, policy: PolicyId) -> BTreeMap<u16, SubjectId> {
    let mut ports = BTreeMap::new();
    for (key, rule) in image.rules.range(rules_of(policy)) {
        let is_of_name = key.subject.is_some() && !key.subject.is_prefix();
        let is_of_tcp = *key == RuleKey::new(policy, key.subject, key.port, protocol::TCP);
        if is_of_name && is_of_tcp && rule.action == action::ALLOW {
            // Rules are sorted by subject, and the least specific is the least.
            ports.entry(key.port).or_insert(key.subject);
        }
    }
    ports
}

fn flow(workload: &Workload, connection: &Connection, subject: SubjectId) -> NewFlow {
    let key = FlowKey {
        workload: workload.id,
        local: connection.local.ip().into(),
        remote: connection.remote.ip().into(),
        local_port: connection.local.port(),
        remote_port: connection.remote.port(),
        protocol: protocol::TCP,
        reserved: [0; 3],
    };
    NewFlow { key, subject, is_closing: connection.is_closing }
}

/// The wire lets nothing else out.
fn is_own(workload: &Workload, local: Address) -> bool {
    let count = usize::from(workload.address_count);
    count == 0 || workload.addresses.iter().take(count).any(|address| *address == local)
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use exeat_common::{
        abi::{
            Fact, FactKey, FactValue, RuleKey, RuleValue, Settings, WildcardLimits, Workload,
            action, mode,
        },
        address::Address,
        flow::protocol::{TCP, UDP},
        id::{PolicyId, SubjectId, WorkloadId},
    };

    use super::{Fate, Sockets, adopt, fate, ports_by_name};
    use crate::{
        policy::{
            image::{Image, Prefix},
            image_tables::{Facts, ImageTables},
        },
        workloads::sockets::Connection,
    };

    const POLICY: PolicyId = PolicyId::new(4);
    const WIDE: SubjectId = SubjectId::pattern(9, false, 2);
    const EXACT: SubjectId = SubjectId::pattern(1, true, 3);
    const NET: SubjectId = SubjectId::prefix(1);
    const CLOSED_NET: SubjectId = SubjectId::prefix(2);
    const CLUSTER: SubjectId = SubjectId::prefix(3);

    fn address(text: &str) -> Address {
        text.parse::<std::net::IpAddr>().expect("an address").into()
    }

    fn workload() -> Workload {
        let unset = Address::default();
        Workload {
            id: WorkloadId::new(2),
            policy: POLICY,
            mode: mode::REGISTRY_ONLY,
            flags: 0,
            address_count: 2,
            reserved: 0,
            default_target: 0,
            sidecar_cgroup: 0,
            netns_cookie: 0,
            addresses: [address("10.9.0.2"), address("fd00:9::2"), unset, unset],
        }
    }

    /// Names with ports 443 (both patterns), 5432 (the wide one), 6000 (denied), 7000 (UDP); a net
    /// with port 22, a net whose 443 is denied, and a net inside the cluster.
    fn image() -> Image {
        let mut image = Image { settings: Some(settings()), ..Image::default() };
        let mut rule = |subject, port, protocol, action| {
            let value = RuleValue { action, ..RuleValue::ALLOW };
            image.rules.insert(RuleKey::new(POLICY, subject, port, protocol), value);
            image.rules.insert(RuleKey::grant(POLICY, subject), value);
        };
        rule(EXACT, 443, TCP, action::ALLOW);
        rule(WIDE, 443, TCP, action::ALLOW);
        rule(WIDE, 5432, TCP, action::ALLOW);
        rule(EXACT, 6000, TCP, action::DENY);
        rule(EXACT, 7000, UDP, action::ALLOW);
        rule(NET, 22, TCP, action::ALLOW);
        rule(CLOSED_NET, 443, TCP, action::DENY);
        for (policy, base, bits, subject) in [
            (POLICY, "198.51.100.0", 120, NET),
            (POLICY, "203.0.113.0", 120, CLOSED_NET),
            (PolicyId::INTERNAL, "10.9.0.0", 112, CLUSTER),
        ] {
            image.prefixes.insert(Prefix { policy, address: address(base), bits }, subject);
        }
        image
    }

    fn settings() -> Settings {
        Settings {
            generation: 1,
            flags: 0,
            grace_seconds: 30,
            minimum_ttl_seconds: 30,
            longest_wildcard_bytes: 0,
            cgroup_depths: [0; _],
            resolver_ports: 0,
            query_types: [0; _],
            wildcards: WildcardLimits { queries_per_second: 0, label_bytes: 0, entropy_bits: 0 },
            sidecar_port: 0,
            reserved: [0; _],
        }
    }

    #[track_caller]
    fn check(local: &str, remote: &str, expected: Fate) {
        let image = image();
        let mut facts = Facts::new();
        let key = FactKey { workload: WorkloadId::new(2), address: address("192.0.2.7") };
        let mut value = FactValue { slots: [0; _] };
        value.slots[0] = Fact { pattern: EXACT, expiry: u32::MAX }.pack();
        facts.insert(key, value);
        let parse = |text: &str| text.parse().expect("a socket address");
        let connection =
            Connection { local: parse(local), remote: parse(remote), is_closing: false };
        let tables = ImageTables { image: &image, facts: &facts, now: 0 };
        let ports = ports_by_name(&image, POLICY);
        let is_inbound = connection.local.port() == 80;
        let fate = fate(&workload(), &connection, is_inbound, &ports, &tables);
        assert_eq!(fate, expected, "{local} to {remote}");
    }

    #[test]
    fn what_some_name_allows_stays_under_the_least_specific_one() {
        check("10.9.0.2:4000", "192.0.2.1:443", Fate::Kept(WIDE));
        check("10.9.0.2:4000", "192.0.2.1:5432", Fate::Kept(WIDE));
        check("[fd00:9::2]:4000", "[2001:db8::1]:443", Fate::Kept(WIDE));
    }

    #[test]
    fn what_a_resolved_name_has_stays_under_that_name() {
        check("10.9.0.2:4000", "192.0.2.7:443", Fate::Kept(EXACT));
        check("10.9.0.2:4000", "192.0.2.7:5432", Fate::Kept(WIDE));
    }

    #[test]
    fn what_no_rule_could_allow_ends() {
        check("10.9.0.2:4000", "192.0.2.1:22", Fate::Left);
        check("10.9.0.2:4000", "192.0.2.1:6000", Fate::Left);
        check("10.9.0.2:4000", "192.0.2.1:7000", Fate::Left);
        check("10.9.0.2:4000", "203.0.113.9:443", Fate::Left);
        check("10.9.0.3:4000", "192.0.2.1:443", Fate::Left);
    }

    #[test]
    fn what_no_answer_could_open_ends() {
        check("10.9.0.2:4000", "169.254.169.254:443", Fate::Left);
        check("10.9.0.2:4000", "10.9.0.9:443", Fate::Left);
        check("[fd00:9::2]:4000", "[fe80::1]:443", Fate::Left);
    }

    #[test]
    fn what_the_tables_allow_at_any_time_needs_nothing() {
        check("10.9.0.2:4000", "198.51.100.9:22", Fate::Allowed);
        check("127.0.0.1:4000", "127.0.0.1:22", Fate::Allowed);
    }

    #[test]
    fn what_came_in_stays_wherever_it_came_from() {
        check("10.9.0.2:80", "192.0.2.1:50000", Fate::Kept(SubjectId::NONE));
        check("10.9.0.2:80", "10.9.0.9:50000", Fate::Kept(SubjectId::NONE));
    }

    #[test]
    fn a_connection_is_a_flow_as_the_wire_sees_it() {
        let mut sockets = Sockets::default();
        for (local, remote, is_closing) in
            [("10.9.0.2:4000", "192.0.2.1:443", true), ("10.9.0.2:80", "192.0.2.1:50000", false)]
        {
            let parse = |text: &str| text.parse().expect("a socket address");
            let (local, remote) = (parse(local), parse(remote));
            sockets.connections.insert(Connection { local, remote, is_closing });
        }
        sockets.listening.insert("[::]:80".parse().expect("a socket address"));
        let adoption = adopt(&workload(), &sockets, &image(), &Facts::new());
        let flows: Vec<_> = adoption
            .flows
            .iter()
            .map(|it| (it.key.local_port, it.key.remote_port, it.subject, it.is_closing))
            .collect();
        assert_eq!(flows, [(80, 50000, SubjectId::NONE, false), (4000, 443, WIDE, true)]);
        assert_eq!(adoption.left, 0);
        assert!(adoption.flows.iter().all(|it| it.key.local == address("10.9.0.2")));
    }
}

//! No verdict comes from nowhere: under `REGISTRY_ONLY`, what is not denied is declared, on that
//! port and protocol, by an object that was not refused.
//!
//! What the specification of the kinds lets through without a declaration of the name or address
//! itself, and this test as well:
//! - HTTP to port 80 of a host that only a `VirtualService` has;
//! - the ports of an ASM egress policy, through its gateway;
//! - names of `ExternalName` Services, where the name they stand for is declared;
//! - the address of one entry on the port of another, where both declare one host in one namespace
//!   and so are one service.

use std::collections::BTreeSet;

use exeat_agent::{registry::host::HostPattern, trial::Verdict};

use super::{
    super::{
        generate,
        manifest::{Body, Object},
        world::{Flow, World},
        yaml,
    },
    Tally, assert_seen,
    claims::{Place, PortKey, alias, claims, host, is_refused, probes, spoken_of},
    count, each_seed,
    setting::{Alone, ip, names},
};

const CASES: u64 = 400;
const RESOLVER: &str = "10.96.0.10";

#[test]
fn what_is_not_denied_is_declared() {
    let tally = each_seed(CASES, check);
    let seen = [
        ("allow", 1_000),
        ("redirect-sidecar", 200),
        ("redirect-gateway", 100),
        ("deny", 2_000),
        ("ServiceEntry", 1_000),
        ("ExternalService", 100),
        ("Service", 200),
        ("Endpoints", 20),
        ("EndpointSlice", 20),
        ("VirtualService", 50),
        ("ASMEgressTrafficPolicy", 50),
        ("alias", 4),
    ];
    assert_seen(&tally, &seen);
}

/// The world with nothing in it that opens what is not declared.
pub(super) fn closed(mut world: World) -> World {
    "REGISTRY_ONLY".clone_into(&mut world.mode);
    world.agent.matching = None;
    world.agent.scope = None;
    for object in &mut world.registry {
        if let Body::Sidecar(sidecar) = &mut object.body {
            sidecar.spec.outbound_traffic_policy = None;
        }
    }
    world
}

/// Whether a flow is let through whatever is declared.
pub(super) fn is_exempt(flow: &Flow) -> bool {
    flow.client.host_network
        || ip(&flow.dest.ip).is_loopback()
        || flow.dest.ip == RESOLVER && flow.dest.port == 53
}

fn check(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut world = closed(generate::world(seed));
    world.expect.extend(probes(&world));
    let mut alone = Alone::new(&world);
    for flow in world.expect.iter().filter(|it| !is_exempt(it)) {
        let outcome = alone.judge(flow);
        count(tally, outcome.verdict.as_str());
        if outcome.verdict == Verdict::Deny {
            continue;
        }
        let port = (flow.dest.port, flow.dest.proto == "udp");
        let by = declarers(&world, &names(flow), &flow.dest.ip, port);
        let Some(by) = by.first() else {
            let small = World { expect: vec![flow.clone()], ..world.clone() };
            return Err(format!("nothing declares it: {outcome:?}\n{}", yaml::case(&small)));
        };
        count(tally, *by);
    }
    Ok(())
}

/// The kinds of the objects that declare a destination.
fn declarers(
    world: &World,
    names: &[HostPattern],
    address: &str,
    port: PortKey,
) -> Vec<&'static str> {
    let net = Place::Net(ip(address).into());
    let is_there = |place: &Place| {
        names.iter().any(|name| place.holds_name(name))
            || matches!((place, &net), (Place::Net(net), Place::Net(ip)) if net.contains(ip))
    };
    let only_aliases = world.agent.external_name.as_deref() == Some("alias");
    let mut kinds = Vec::new();
    for object in world.registry.iter().filter(|it| !only_aliases || alias(it).is_none()) {
        let mut all = claims(object).into_iter().chain(spoken_of(object));
        if all.any(|it| is_there(&it.place) && it.ports.contains(&port)) {
            kinds.push(object.kind());
        }
    }
    let objects = || world.registry.iter().filter(|it| !is_refused(it));
    let has_place = |it: &&Object| claims(it).iter().any(|it| is_there(&it.place));
    let has_port = |it: &Object| claims(it).iter().any(|it| it.ports.contains(&port));
    if kinds.is_empty()
        && objects()
            .filter(has_place)
            .any(|a| objects().any(|b| is_one_service(a, b) && has_port(b)))
    {
        kinds.push("united entries");
    }
    let aliases = world.registry.iter().filter_map(alias);
    for (_, target) in aliases.filter(|it| names.contains(&it.0)) {
        if !declarers(world, &[target], address, port).is_empty() {
            kinds.push("alias");
        }
    }
    kinds
}

/// Whether two entries declare a common host in one namespace.
fn is_one_service(a: &Object, b: &Object) -> bool {
    let (Body::ServiceEntry(one), Body::ServiceEntry(other)) = (&a.body, &b.body) else {
        return false;
    };
    let hosts =
        |hosts: &[String]| -> BTreeSet<HostPattern> { hosts.iter().map(|it| host(it)).collect() };
    a.meta.namespace == b.meta.namespace
        && !hosts(&one.spec.hosts).is_disjoint(&hosts(&other.spec.hosts))
}

//! Who declares less opens nothing: where nothing stands behind anything, no flow that was denied
//! is let through after an object or a port is taken away, `exportTo` is narrowed, or a Sidecar
//! imports less.
//!
//! What the specification of the kinds itself opens by narrowing, and this test leaves out:
//! - routes: without an entry, a `VirtualService` takes HTTP to port 80 to where it leads; a
//!   Sidecar that imports less may hide routes that refuse part of a host; and a route without a
//!   port goes to the only port of its destination, once the others are gone;
//! - `ExternalName`: the name of the Service is declared by the Service itself once the name it
//!   stands for is not, which may have been refused;
//! - a name and an address of one flow, declared by different objects: the address decides until
//!   it is gone;
//! - a Sidecar of one's own, which takes the place of the root namespace's.

use exeat_agent::{
    registry::host::HostPattern,
    trial::{Outcome, Verdict},
};

use super::{
    super::{
        dice::Dice,
        manifest::{Body, Listener, Meta, Object, Sidecar, SidecarSpec},
        world::{Flow, World},
        yaml,
    },
    Tally, apart, assert_seen,
    claims::{Place, alias, claims, host, probes},
    count,
    declared::is_exempt,
    each_seed,
    setting::{Alone, ip, names},
};

const CASES: u64 = 300;
/// Ways of narrowing that are tried in each world, each from the whole world.
const TRIES: usize = 4;

type Narrow = fn(&mut Dice, &mut World) -> Option<()>;

const WAYS: [(&str, Narrow); 5] = [
    ("an object less", drop_object),
    ("a port less", drop_port),
    ("exportTo narrowed", narrow_export),
    ("imports fewer", drop_import),
    ("a Sidecar more", add_sidecar),
];

#[test]
fn narrowing_opens_nothing() {
    let tally = each_seed(CASES, check);
    for (way, _) in WAYS {
        let least =
            [("", 60), (": still denied", 800), (": denied now", 20), (": still open", 200)];
        for (what, least) in least {
            assert_seen(&tally, &[(&format!("{way}{what}"), least)]);
        }
    }
}

fn check(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut world = apart::world(seed);
    world.expect.extend(probes(&world));
    let mut dice = Dice::new(!seed);
    let flows: Vec<Flow> =
        world.expect.iter().filter(|it| !is_left_out(&world, it)).cloned().collect();
    let mut alone = Alone::new(&world);
    let before: Vec<Outcome> = flows.iter().map(|it| alone.judge(it)).collect();
    for _ in 0..TRIES {
        let (way, narrow) = WAYS[dice.below(WAYS.len())];
        let mut narrowed = world.clone();
        if narrow(&mut dice, &mut narrowed).is_none() {
            continue;
        }
        count(tally, way);
        let mut alone = Alone::new(&narrowed);
        for (flow, before) in flows.iter().zip(&before) {
            let after = alone.judge(flow);
            let [was_open, is_open] = [before, &after].map(|it| it.verdict != Verdict::Deny);
            let what = match (was_open, is_open) {
                (false, false) => "still denied",
                (true, false) => "denied now",
                (true, true) => "still open",
                (false, true) => {
                    let small = |world: &World| {
                        yaml::case(&World { expect: vec![flow.clone()], ..world.clone() })
                    };
                    let [a, b] = [small(&world), small(&narrowed)];
                    return Err(format!("{way}: {before:?}\n{after:?}\n{a}\nnarrowed:\n{b}"));
                }
            };
            count(tally, format!("{way}: {what}"));
        }
    }
    Ok(())
}

fn is_left_out(world: &World, flow: &Flow) -> bool {
    let names = names(flow);
    let address = Place::Net(ip(&flow.dest.ip).into());
    let mut by_name = Vec::new();
    let mut by_address = Vec::new();
    for object in &world.registry {
        let claims = claims(object);
        let holds_name = |place: &Place| names.iter().any(|name| place.holds_name(name));
        if claims.iter().any(|it| it.place.meets(&address)) {
            by_address.push(object);
        }
        if claims.iter().any(|it| holds_name(&it.place)) {
            by_name.push(object);
        }
    }
    let is_alias = |name: &HostPattern| {
        world.registry.iter().filter_map(alias).any(|(alias, _)| alias == *name)
    };
    is_exempt(flow)
        || names.len() > 1
        || names.iter().any(is_alias)
        || !names.is_empty() && !by_address.is_empty()
        || is_routed(world, &names, &by_address)
}

/// Whether a route speaks of the flow's name, or of a host of who declares its address.
fn is_routed(world: &World, names: &[HostPattern], by_address: &[&Object]) -> bool {
    let mut hosts: Vec<Place> = names.iter().cloned().map(Place::Host).collect();
    hosts.extend(by_address.iter().flat_map(|it| claims(it)).map(|it| it.place));
    world.registry.iter().any(|object| match &object.body {
        Body::VirtualService(routes) => routes
            .spec
            .hosts
            .iter()
            .any(|it| hosts.iter().any(|place| place.meets(&Place::Host(host(it))))),
        _ => false,
    })
}

/// One of the objects that `of` finds something in, and what it found.
fn choose<T>(
    dice: &mut Dice,
    world: &World,
    of: impl Fn(&Object) -> Option<T>,
) -> Option<(usize, T)> {
    let mut fitting: Vec<(usize, T)> = world
        .registry
        .iter()
        .enumerate()
        .filter_map(|(index, object)| of(object).map(|it| (index, it)))
        .collect();
    if fitting.is_empty() {
        return None;
    }
    Some(fitting.swap_remove(dice.below(fitting.len())))
}

fn drop_object(dice: &mut Dice, world: &mut World) -> Option<()> {
    let declares = |object: &Object| {
        let is_one = matches!(
            object.body,
            Body::ServiceEntry(_) | Body::ExternalService(_) | Body::Service(_)
        );
        is_one.then_some(())
    };
    let (index, ()) = choose(dice, world, declares)?;
    world.registry.remove(index);
    Some(())
}

fn drop_port(dice: &mut Dice, world: &mut World) -> Option<()> {
    let ports = |object: &Object| {
        let ports = match &object.body {
            Body::ServiceEntry(it) => it.spec.ports.len(),
            Body::ExternalService(it) => it.spec.ports.len(),
            Body::Service(it) => it.spec.ports.len(),
            _ => 0,
        };
        (ports > 0).then_some(ports)
    };
    let (index, ports) = choose(dice, world, ports)?;
    let port = dice.below(ports);
    match &mut world.registry[index].body {
        Body::ServiceEntry(it) => drop(it.spec.ports.remove(port)),
        Body::ExternalService(it) => drop(it.spec.ports.remove(port)),
        Body::Service(it) => drop(it.spec.ports.remove(port)),
        _ => {}
    }
    Some(())
}

fn narrow_export(dice: &mut Dice, world: &mut World) -> Option<()> {
    let default = world.mesh.as_ref().map_or(&[][..], |it| &it.default_service_export_to);
    let is_public = |list: &[String]| match list {
        [] => default.is_empty() || default == ["*"],
        list => list == ["*"],
    };
    let public = |object: &Object| match &object.body {
        Body::ServiceEntry(it) => is_public(&it.spec.export_to).then_some(()),
        _ => None,
    };
    let (index, ()) = choose(dice, world, public)?;
    if let Body::ServiceEntry(entry) = &mut world.registry[index].body {
        entry.spec.export_to = vec![".".to_owned()];
    }
    Some(())
}

/// Takes away an item that imports, unless it is the last of its listener.
fn drop_import(dice: &mut Dice, world: &mut World) -> Option<()> {
    let items = |object: &Object| {
        let Body::Sidecar(sidecar) = &object.body else { return None };
        let mut items = Vec::new();
        for (at, listener) in sidecar.spec.egress.iter().enumerate() {
            let importing =
                listener.hosts.iter().enumerate().filter(|(_, it)| !it.starts_with('~'));
            let importing: Vec<(usize, usize)> = importing.map(|(item, _)| (at, item)).collect();
            if importing.len() > 1 {
                items.extend(importing);
            }
        }
        (!items.is_empty()).then_some(items)
    };
    let (index, items) = choose(dice, world, items)?;
    let (listener, item) = items[dice.below(items.len())];
    if let Body::Sidecar(sidecar) = &mut world.registry[index].body {
        sidecar.spec.egress[listener].hosts.remove(item);
    }
    Some(())
}

/// Gives the namespace of a client a Sidecar, unless one is for it already.
fn add_sidecar(dice: &mut Dice, world: &mut World) -> Option<()> {
    let root = world.mesh.as_ref().and_then(|it| it.root_namespace.as_deref());
    let root = root.unwrap_or("istio-system");
    let namespace = &world.expect[dice.below(world.expect.len())].client.namespace;
    let is_for_it = |object: &Object| {
        matches!(object.body, Body::Sidecar(_))
            && (object.meta.namespace == *namespace || object.meta.namespace == root)
    };
    if world.registry.iter().any(is_for_it) {
        return None;
    }
    let hosts = dice.some(&["./*", "team-b/*", "*/api.example.com", "*/*.internal.test"], 1, 2);
    let egress = vec![Listener { hosts, ..Listener::default() }];
    let meta = Meta { name: "more".to_owned(), namespace: namespace.clone(), ..Meta::default() };
    let body = Body::Sidecar(Sidecar { spec: SidecarSpec { egress, ..SidecarSpec::default() } });
    let api_version = "networking.istio.io/v1".to_owned();
    world.registry.push(Object { api_version, meta, body });
    Some(())
}

//! Closes patterns and prefixes over each other, per port.
//!
//! The kernel matches a name or an address once, to the most specific subject of all. So every
//! subject must carry, for each policy, what the shorter ones visible to that policy grant.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::view::{Ports, View};
use crate::registry::host::HostPattern;

/// What `view` grants to each pattern of `universe`: its own ports first, then those of the longest
/// wildcard that covers it, and so on. Patterns that it grants nothing are left out.
pub(super) fn names(view: &View, universe: &BTreeSet<HostPattern>) -> BTreeMap<HostPattern, Ports> {
    let mut closed = BTreeMap::new();
    for pattern in concerned(view, universe) {
        let mut ports = Ports::new();
        inherit(&mut ports, view.names.get(pattern));
        for wide in pattern.covering() {
            inherit(&mut ports, view.names.get(&wide));
        }
        closed.insert(pattern.clone(), ports);
    }
    closed
}

/// The patterns of `universe` that `view` grants anything.
fn concerned<'a>(view: &View, universe: &'a BTreeSet<HostPattern>) -> BTreeSet<&'a HostPattern> {
    let mut concerned = BTreeSet::new();
    let mut walked: Option<&HostPattern> = None;
    for pattern in view.names.keys() {
        concerned.extend(universe.get(pattern));
        // In order of names a wildcard comes before everything below it: walk each part once.
        if !pattern.is_wildcard() || walked.is_some_and(|wide| wide.covers(pattern)) {
            continue;
        }
        let apex = pattern.apex();
        let below = universe.range(&apex..);
        concerned.extend(
            below.take_while(|other| other.is_within(&apex)).filter(|other| pattern.covers(other)),
        );
        walked = Some(pattern);
    }
    concerned
}

/// What `view` grants to each prefix of `universe` and of its own: its own ports first, then those
/// of the longest prefix around it.
pub(super) fn prefixes(view: &View, universe: &BTreeSet<IpNet>) -> BTreeMap<IpNet, Ports> {
    let lengths: BTreeSet<(bool, u8)> =
        view.prefixes.keys().map(|net| (net.addr().is_ipv4(), net.prefix_len())).collect();
    let mut closed = BTreeMap::new();
    for net in view.prefixes.keys().chain(universe) {
        let family = net.addr().is_ipv4();
        let mut ports = Ports::new();
        for (_, length) in lengths.range((family, 0)..=(family, net.prefix_len())).rev() {
            let around = IpNet::new_assert(net.addr(), *length).trunc();
            inherit(&mut ports, view.prefixes.get(&around));
        }
        if !ports.is_empty() {
            closed.insert(*net, ports);
        }
    }
    closed
}

/// Adds the ports that a less specific subject has and this one has not.
fn inherit(ports: &mut Ports, from: Option<&Ports>) {
    for (key, granted) in from.into_iter().flatten() {
        ports.entry(*key).or_insert_with(|| granted.clone());
    }
}

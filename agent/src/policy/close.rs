//! Closes patterns and prefixes over each other, per port.
//!
//! The kernel matches a name or an address once, to the most specific subject of all. So every
//! subject must carry, for each policy, what the shorter ones visible to that policy grant.

use std::sync::Arc;

use ipnet::IpNet;

use super::view::{Ports, View};
use crate::registry::host::HostPattern;

/// What `view` grants to `pattern`: its own ports first, then those of the longest wildcard that
/// covers it, and so on. `wider` are the wildcards that cover it, the longest first.
pub(super) fn name<'a>(
    view: &View,
    pattern: &HostPattern,
    wider: impl IntoIterator<Item = &'a HostPattern>,
) -> Option<Arc<Ports>> {
    let wider = wider.into_iter().filter_map(|wide| view.names.get(wide));
    unite(view.names.get(pattern).into_iter().chain(wider))
}

/// What `view` grants to `net`: its own ports first, then those of the longest prefix around it,
/// and so on. `around` are the prefixes around it, the longest first.
pub(super) fn prefix<'a>(
    view: &View,
    net: &IpNet,
    around: impl IntoIterator<Item = &'a IpNet>,
) -> Option<Arc<Ports>> {
    let around = around.into_iter().filter_map(|net| view.prefixes.get(net));
    unite(view.prefixes.get(net).into_iter().chain(around))
}

/// The prefixes that hold all of `net`, itself left out, the longest first.
pub(super) fn around(net: IpNet) -> impl Iterator<Item = IpNet> {
    (0..net.prefix_len()).rev().map(move |length| IpNet::new_assert(net.addr(), length).trunc())
}

/// The ports of all, each as the first has it.
fn unite<'a>(mut all: impl Iterator<Item = &'a Arc<Ports>>) -> Option<Arc<Ports>> {
    let mut united = Arc::clone(all.next()?);
    for wider in all {
        // Shared with the view as long as nothing is added.
        if wider.keys().any(|key| !united.contains_key(key)) {
            let own = Arc::make_mut(&mut united);
            for (key, granted) in &**wider {
                own.entry(*key).or_insert_with(|| granted.clone());
            }
        }
    }
    Some(united)
}

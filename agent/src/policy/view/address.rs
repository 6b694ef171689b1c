//! The ports of one declared or virtual address, and those that are open to every address.

use std::{collections::BTreeSet, sync::Arc};

use ipnet::IpNet;

use super::{
    Action, Granted, Ports,
    action::{Dial, Dialled},
    sight::Sight,
};
use crate::{
    config::Matching,
    policy::services::{Claim, by_age_of_host, declaration::Port},
    registry::{
        port::Class,
        report::{Code, Report},
    },
};

impl<'a> Sight<'a> {
    /// What the client may do with addresses in `net` and nothing narrower.
    pub(super) fn address(&self, net: &'a IpNet, reports: &mut BTreeSet<Report>) -> Ports {
        let mut ports = Ports::new();
        for claim in self.services.claims(net) {
            let Some(chosen) = self.choose(&claim.host, reports) else {
                continue;
            };
            if !chosen.parts.iter().any(|part| Arc::ptr_eq(part, &claim.declaration)) {
                continue;
            }
            for (port, owner) in &chosen.ports {
                let dialled =
                    if claim.is_virtual { Dialled::Virtual(*net) } else { Dialled::Address(*net) };
                for key in keys(claim, port, net) {
                    let dial = Dial { chosen: &chosen, port, owner, dialled };
                    let action = self.action(dial, reports);
                    let entry = Arc::clone(&claim.declaration.entry);
                    add(&mut ports, net, key, Granted { entry, rank: 0, action }, reports);
                }
            }
        }
        ports
    }

    /// Ports that `match: istio-compat` opens to every address: of entries that have no address
    /// and carry no name, the oldest.
    pub(super) fn anywhere(&self, reports: &mut BTreeSet<Report>) -> Ports {
        let mut ports = Ports::new();
        if self.services.settings.matching != Matching::IstioCompat {
            return ports;
        }
        let mut by_age: Vec<_> = self.services.declarations().collect();
        by_age.sort_by(|(a, by_a), (b, by_b)| by_age_of_host((*a, &***by_a), (*b, &***by_b)));
        for (host, declaration) in by_age {
            let chosen = self.choose(host, reports);
            let Some(chosen) = chosen.filter(|it| it.first.by_name && !it.has_addresses()) else {
                continue;
            };
            for (port, owner) in &chosen.ports {
                let is_plain = port.protocol.class() == Class::Tcp;
                if is_plain && Arc::ptr_eq(owner, declaration) && owner.alias_of.is_none() {
                    let dialled = Dialled::Anything;
                    let dial = Dial { chosen: &chosen, port, owner, dialled };
                    ports.entry(port.key()).or_insert_with(|| Granted {
                        entry: Arc::clone(&owner.entry),
                        rank: 0,
                        action: self.action(dial, reports),
                    });
                }
            }
        }
        ports
    }
}

/// The port numbers under which a claimed address is dialled: the service's, or, where the
/// endpoints are dialled themselves, those of the endpoints.
fn keys(claim: &Claim, port: &Port, net: &IpNet) -> Vec<(u16, u8)> {
    if !claim.is_instance {
        return vec![port.key()];
    }
    // They are sorted, and there may be many.
    let first = port.instances.partition_point(|it| it.ip() < net.addr());
    let own = port.instances.iter().skip(first).take_while(|it| it.ip() == net.addr());
    own.map(|it| (it.port(), port.protocol.transport())).collect()
}

/// Adds one port of one address, unless an older declaration has it.
fn add(
    ports: &mut Ports,
    net: &IpNet,
    key: (u16, u8),
    granted: Granted,
    reports: &mut BTreeSet<Report>,
) {
    match ports.get(&key) {
        None => {
            ports.insert(key, granted);
        }
        Some(older) if older.entry != granted.entry => {
            let message = format!("{net} port {} belongs to the older {}", key.0, older.entry);
            let report = Report::new(Code::VipConflict, &granted.entry, "spec.addresses", message);
            reports.insert(report);
        }
        // Another host of the same object: what denies one of them denies the address.
        Some(older) => {
            let is_denied = |action: &Action| matches!(action, Action::Deny(_));
            if is_denied(&granted.action) && !is_denied(&older.action) {
                ports.insert(key, granted);
            }
        }
    }
}

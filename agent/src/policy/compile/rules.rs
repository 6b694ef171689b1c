//! The rules and prefixes of every policy.

use std::collections::BTreeMap;

use exeat_common::{
    abi::{RuleKey, RuleValue, action},
    id::{PolicyId, SubjectId},
    reason::Reason,
};
use ipnet::{IpNet, Ipv4Net};

use super::{region::Region, targets::Numbering, universe::Universe};
use crate::{
    policy::{
        close,
        ids::Ids,
        image::Prefix,
        view::{ANSWER, Action, Denial, Granted, Ports, View},
    },
    registry::cidr,
};

/// What goes into the tables for one policy.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) rules: Vec<(RuleKey, RuleValue)>,
    pub(super) prefixes: Vec<(Prefix, SubjectId)>,
}

/// The rules and prefixes that every policy has in `region`.
pub(super) fn write(
    region: &Region,
    universe: &Universe,
    numbering: &mut Numbering<'_>,
) -> BTreeMap<PolicyId, Written> {
    let mut written: BTreeMap<PolicyId, Written> =
        universe.fitting().map(|(policy, _)| (policy, Written::default())).collect();
    for pattern in &region.patterns {
        let Some(subject) = numbering.ids.patterns().get(pattern).copied() else {
            continue;
        };
        let wider = universe.covering(pattern);
        for ((policy, group), written) in universe.fitting().zip(written.values_mut()) {
            if let Some(ports) = close::name(&group.view, pattern, &wider) {
                written.add_ports(policy, subject, &ports, numbering);
            }
        }
    }
    for net in &region.nets {
        write_net(*net, universe, numbering, &mut written);
    }
    for ((policy, group), written) in universe.fitting().zip(written.values_mut()) {
        written.add_ports(policy, SubjectId::ANYWHERE, &group.view.anywhere, numbering);
    }
    written
}

/// A retired prefix keeps its rules for the flows it carried, but is not found any more.
fn write_net(
    net: IpNet,
    universe: &Universe,
    numbering: &mut Numbering<'_>,
    written: &mut BTreeMap<PolicyId, Written>,
) {
    let is_retired = universe.is_retired(&net);
    if !is_retired && !universe.nets.contains_key(&net) {
        return;
    }
    let subject = numbering.ids.prefix(net);
    let around = universe.around(net);
    for ((policy, group), written) in universe.fitting().zip(written.values_mut()) {
        let is_own = group.view.prefixes.contains_key(&net);
        if is_own {
            written.prefixes.push((prefix(policy, net), subject));
        }
        if (is_own || is_retired)
            && let Some(ports) = close::prefix(&group.view, &net, &around)
        {
            written.add_ports(policy, subject, &ports, numbering);
        }
    }
}

impl Written {
    fn add_ports(
        &mut self,
        policy: PolicyId,
        subject: SubjectId,
        ports: &Ports,
        numbering: &mut Numbering<'_>,
    ) {
        let mut mark: Option<RuleValue> = None;
        for (&(port, protocol), granted) in ports {
            let value = rule(granted, numbering);
            let (key, open) = match (port, protocol) {
                // It is asked for, and leads nowhere by itself.
                ANSWER => (RuleKey::answer(policy, subject), denied(granted.rank)),
                _ => (RuleKey::new(policy, subject, port, protocol), value),
            };
            self.rules.push((key, value));
            // The subject is open if any of its ports is.
            mark = mark.filter(|mark| mark.action == action::ALLOW).or(Some(open));
        }
        // Echo and names have no port: being open to every address on some grants them nothing.
        if let Some(mark) = mark.filter(|_| subject != SubjectId::ANYWHERE) {
            self.rules.push((RuleKey::grant(policy, subject), mark));
        }
    }

    /// A short IPv6 prefix such as `::/0` holds the 16-byte form of every IPv4 address. A prefix
    /// without rules takes them out again, unless IPv4 is declared as well.
    pub(super) fn keep_ipv4_out(&mut self, policy: PolicyId, view: &View, ids: &mut Ids) {
        let all = IpNet::V4(Ipv4Net::default());
        let swallows = view.prefixes.keys().any(|net| cidr::swallows_ipv4(*net));
        if swallows && !view.prefixes.contains_key(&all) {
            self.prefixes.push((prefix(policy, all), ids.prefix(all)));
        }
    }
}

const fn denied(rank: u8) -> RuleValue {
    let reason = Reason::Unsupported as u8;
    RuleValue { action: action::DENY, reason, rank, reserved: 0, target: 0 }
}

fn rule(granted: &Granted, numbering: &mut Numbering<'_>) -> RuleValue {
    let (action, reason, target) = match &granted.action {
        Action::Allow => (action::ALLOW, 0, 0),
        Action::Deny(Denial { reason, .. }) => (action::DENY, *reason as u8, 0),
        Action::To(target) => (action::REDIRECT, 0, numbering.target(target)),
    };
    RuleValue { action, reason, rank: granted.rank, reserved: 0, target }
}

pub(super) fn prefix(policy: PolicyId, net: IpNet) -> Prefix {
    Prefix { policy, address: net.addr().into(), bits: cidr::bits(net) }
}

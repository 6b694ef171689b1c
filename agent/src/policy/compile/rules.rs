//! The rules and prefixes of every policy.

use std::collections::{BTreeMap, BTreeSet};

use exeat_common::{
    abi::{RuleKey, RuleValue, action},
    id::{PolicyId, SubjectId},
    limits::RULES_ENTRIES,
};
use ipnet::{IpNet, Ipv4Net};

use super::{
    names::{Admitted, Numbers},
    report_full,
    targets::{self, Fallback},
};
use crate::{
    policy::{
        close,
        directory::{Directory, Grant},
        ids::{Group, Ids},
        image::{Image, Prefix},
        view::{Action, Denial, Granted, Ports, View},
    },
    registry::{cidr, host::HostPattern, report::Report},
};

/// A view after its patterns and prefixes were closed over each other.
pub(super) struct Closed<'a> {
    group: &'a Group,
    names: BTreeMap<HostPattern, Ports>,
    prefixes: BTreeMap<IpNet, Ports>,
}

impl Closed<'_> {
    /// Rules it needs: one a port, and the mark of each subject but the one that stands for every
    /// address.
    fn rules(&self) -> usize {
        let ports = self.names.values().chain(self.prefixes.values());
        ports.map(|ports| ports.len() + 1).sum::<usize>() + self.group.view.anywhere.len()
    }
}

/// Closes every view over all patterns in the tables. What then does not fit is left out, the
/// largest first. `other_nets` have numbers, but no policy.
pub(super) fn close<'a>(
    admitted: &Admitted<'a>,
    numbers: &Numbers,
    other_nets: &[IpNet],
    ids: &mut Ids,
    reports: &mut BTreeSet<Report>,
) -> BTreeMap<PolicyId, Closed<'a>> {
    let patterns = numbers.current.keys().chain(numbers.retired.keys());
    let patterns: BTreeSet<HostPattern> = patterns.cloned().collect();
    let nets = admitted.groups.values();
    let nets: BTreeSet<IpNet> = nets
        .flat_map(|group| group.view.prefixes.keys().copied())
        .chain(other_nets.iter().copied())
        .chain([IpNet::V4(Ipv4Net::default())])
        .collect();
    let retired: BTreeSet<IpNet> =
        ids.retired_prefixes(&nets).into_iter().map(|(net, _)| net).collect();
    let mut closed: BTreeMap<PolicyId, Closed<'a>> = BTreeMap::new();
    for (policy, group) in &admitted.groups {
        let view = Closed {
            group,
            names: close::names(&group.view, &patterns),
            prefixes: close::prefixes(&group.view, &retired),
        };
        closed.insert(*policy, view);
    }
    while closed.values().map(Closed::rules).sum::<usize>() > RULES_ENTRIES {
        let largest = closed.iter().max_by_key(|(_, view)| view.rules());
        let Some(policy) = largest.map(|(policy, _)| *policy) else {
            break;
        };
        if let Some(view) = closed.remove(&policy) {
            report_full(view.group, "the rules", reports);
        }
    }
    closed
}

/// Fills the rule, prefix and target tables, says what the subjects are, and returns what becomes
/// of flows that no rule covers.
pub(super) fn write(
    closed: &BTreeMap<PolicyId, Closed<'_>>,
    numbers: &Numbers,
    ids: &mut Ids,
    image: &mut Image,
    directory: &mut Directory,
) -> BTreeMap<PolicyId, Fallback> {
    let mut fallbacks = BTreeMap::new();
    for (pattern, subject) in numbers.current.iter().chain(&numbers.retired) {
        directory.subjects.insert(*subject, pattern.to_string());
    }
    for (policy, view) in closed {
        for (pattern, ports) in &view.names {
            let number = numbers.current.get(pattern);
            if let Some(subject) = number.or_else(|| numbers.retired.get(pattern)) {
                write_ports(*policy, *subject, ports, ids, image, directory);
            }
        }
        for (net, ports) in &view.prefixes {
            let subject = ids.prefix(*net);
            write_ports(*policy, subject, ports, ids, image, directory);
            directory.subjects.insert(subject, text(*net));
            // A retired prefix keeps its rules for the flows it carried, but is not found any more.
            if view.group.view.prefixes.contains_key(net) {
                image.prefixes.insert(prefix(*policy, *net), subject);
            }
        }
        keep_ipv4_out(*policy, view, ids, image);
        let View { anywhere, unmatched, .. } = &view.group.view;
        if !anywhere.is_empty() {
            write_ports(*policy, SubjectId::ANYWHERE, anywhere, ids, image, directory);
            directory.subjects.insert(SubjectId::ANYWHERE, "any address".to_owned());
        }
        fallbacks.insert(*policy, Fallback::of(unmatched, ids, image));
    }
    fallbacks
}

fn write_ports(
    policy: PolicyId,
    subject: SubjectId,
    ports: &Ports,
    ids: &mut Ids,
    image: &mut Image,
    directory: &mut Directory,
) {
    let mut grants = Vec::with_capacity(ports.len());
    let mut mark: Option<RuleValue> = None;
    for (&(port, protocol), granted) in ports {
        let value = rule(granted, ids, image);
        let key = RuleKey::new(policy, subject, port, protocol);
        image.rules.insert(key, value);
        // The subject is open if any of its ports is.
        mark = mark.filter(|mark| mark.action == action::ALLOW).or(Some(value));
        grants.push(Grant {
            port,
            protocol,
            entry: std::sync::Arc::clone(&granted.entry),
            action: granted.action.clone(),
        });
    }
    if let Some(mark) = mark {
        // Echo and names have no port: being open to every address on some grants them nothing.
        if subject != SubjectId::ANYWHERE {
            image.rules.insert(RuleKey::grant(policy, subject), mark);
        }
        directory.grants.insert((policy, subject), grants);
    }
}

fn rule(granted: &Granted, ids: &mut Ids, image: &mut Image) -> RuleValue {
    let rule = |action, reason, target| RuleValue { action, reason, reserved: [0; 2], target };
    match &granted.action {
        Action::Allow => RuleValue::ALLOW,
        Action::Deny(Denial { reason, .. }) => rule(action::DENY, *reason as u8, 0),
        Action::To(target) => rule(action::REDIRECT, 0, targets::number(target, ids, image)),
    }
}

fn prefix(policy: PolicyId, net: IpNet) -> Prefix {
    Prefix { policy, address: net.addr().into(), bits: cidr::bits(net) }
}

/// A short IPv6 prefix such as `::/0` holds the 16-byte form of every IPv4 address. A prefix
/// without rules takes them out again, unless IPv4 is declared as well.
fn keep_ipv4_out(policy: PolicyId, view: &Closed<'_>, ids: &mut Ids, image: &mut Image) {
    let swallows = |net: &IpNet| cidr::swallows_ipv4(*net);
    if view.group.view.prefixes.keys().any(swallows) {
        let all = IpNet::V4(Ipv4Net::default());
        let hole = prefix(policy, all);
        image.prefixes.entry(hole).or_insert_with(|| ids.prefix(all));
    }
}

/// A single address is written without its length.
fn text(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

//! The rules and prefixes of every policy.

use std::collections::{BTreeMap, BTreeSet};

use exeat_common::{
    abi::{RuleKey, RuleValue, action},
    id::{PolicyId, SubjectId},
    limits::RULES_ENTRIES,
    reason::Reason,
};
use ipnet::{IpNet, Ipv4Net};

use super::{
    names::{Admitted, Numbers},
    report_full,
};
use crate::{
    policy::{
        close,
        directory::{Directory, Grant},
        ids::{Group, Ids},
        image::{Image, Prefix},
        view::{Action, Denial, Granted, Ports},
    },
    registry::{
        cidr,
        host::HostPattern,
        report::{Code, Report},
    },
};

/// A view after its patterns and prefixes were closed over each other.
pub(super) struct Closed<'a> {
    group: &'a Group,
    names: BTreeMap<HostPattern, Ports>,
    prefixes: BTreeMap<IpNet, Ports>,
}

impl Closed<'_> {
    /// Rules it needs: one a port, and the mark of each subject.
    fn rules(&self) -> usize {
        let ports = self.names.values().chain(self.prefixes.values());
        ports.map(|ports| ports.len() + 1).sum()
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

/// Fills the rule and prefix tables, and says what the subjects are.
pub(super) fn write(
    closed: &BTreeMap<PolicyId, Closed<'_>>,
    numbers: &Numbers,
    ids: &mut Ids,
    image: &mut Image,
    directory: &mut Directory,
) {
    for (pattern, subject) in numbers.current.iter().chain(&numbers.retired) {
        directory.subjects.insert(*subject, pattern.to_string());
    }
    for (policy, view) in closed {
        for (pattern, ports) in &view.names {
            let number = numbers.current.get(pattern);
            if let Some(subject) = number.or_else(|| numbers.retired.get(pattern)) {
                write_ports(*policy, *subject, ports, image, directory);
            }
        }
        for (net, ports) in &view.prefixes {
            let subject = ids.prefix(*net);
            write_ports(*policy, subject, ports, image, directory);
            directory.subjects.insert(subject, text(*net));
            // A retired prefix keeps its rules for the flows it carried, but is not found any more.
            if view.group.view.prefixes.contains_key(net) {
                image.prefixes.insert(prefix(*policy, *net), subject);
            }
        }
        keep_ipv4_out(*policy, view, ids, image);
    }
}

fn write_ports(
    policy: PolicyId,
    subject: SubjectId,
    ports: &Ports,
    image: &mut Image,
    directory: &mut Directory,
) {
    let mut grants = Vec::with_capacity(ports.len());
    let mut mark: Option<RuleValue> = None;
    for (&(port, protocol), granted) in ports {
        let value = rule(granted);
        let key = RuleKey::new(policy, subject, port, protocol);
        image.rules.insert(key, value);
        // The subject is open if any of its ports is.
        mark = mark.filter(|mark| mark.action == action::ALLOW).or(Some(value));
        grants.push(Grant {
            port,
            protocol,
            entry: std::sync::Arc::clone(&granted.entry),
            denied: denial_code(granted),
        });
    }
    if let Some(mark) = mark {
        image.rules.insert(RuleKey::grant(policy, subject), mark);
        directory.grants.insert((policy, subject), grants);
    }
}

fn rule(granted: &Granted) -> RuleValue {
    match &granted.action {
        Action::Allow => RuleValue::ALLOW,
        Action::Deny(Denial { reason, .. }) => denial(*reason),
        Action::To(_) => denial(Reason::NoRedirect),
    }
}

fn denial_code(granted: &Granted) -> Option<Code> {
    match &granted.action {
        Action::Allow => None,
        Action::Deny(Denial { code, .. }) => Some(*code),
        Action::To(_) => Some(Code::Redirect),
    }
}

fn denial(reason: Reason) -> RuleValue {
    RuleValue { action: action::DENY, reason: reason as u8, reserved: [0; 2], target: 0 }
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

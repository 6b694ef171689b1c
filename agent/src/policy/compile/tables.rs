//! The tables of all views, made anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use exeat_common::{
    abi::{ResolverKey, RuleValue, Settings, action, setting_flag},
    id::{PolicyId, SubjectId},
    limits::RULES_ENTRIES,
};

use super::{
    Hosts, Input, ViewOf,
    groups::{self, Numbered},
    names,
    names::Names,
    places::Placing,
    region::Region,
    report_full,
    rules::{self, Written},
    targets::{Fallback, Numbering},
    universe::Universe,
};
use crate::{
    config::{Config, Denied, DnsDenied, Scope},
    policy::{
        directory::{Directory, Subject},
        ids::{Group, Ids},
        image::{Image, MapOp, WireName},
    },
    registry::{host::HostPattern, report::Report},
    workloads::WorkloadKey,
};

/// The tables, and what it takes to change them in a few places.
#[derive(Clone, Debug, Default)]
pub(in crate::policy) struct Tables {
    pub(in crate::policy) image: Image,
    pub(in crate::policy) directory: Directory,
    /// What does not fit.
    pub(in crate::policy) reports: BTreeSet<Report>,
    pub(super) universe: Universe,
    /// What becomes of flows that nothing declares. None for policies that the tables cannot hold.
    pub(super) fallbacks: BTreeMap<PolicyId, Fallback>,
    /// Workloads that do not fit.
    pub(super) placing: BTreeSet<Report>,
    /// The policy of each view, and the places of its workloads in the input.
    pub(super) views: Vec<(PolicyId, Vec<usize>)>,
    /// How many rules and policies name each target.
    pub(super) uses: BTreeMap<u32, usize>,
    /// Subjects whose rules nothing needs any more.
    pub(super) forgotten: BTreeSet<SubjectId>,
}

impl Tables {
    /// Compiles `views`, of which each workload of the input has one.
    pub(in crate::policy) fn whole(
        input: &Input<'_>,
        views: &[ViewOf],
        hosts: Hosts,
        ids: &mut Ids,
    ) -> Self {
        let config = input.config;
        let mut tables = Self::default();
        let numbered = groups::number_workloads(input, ids);
        let (groups, group_of_view) = groups::groups(input, views, &numbered);
        let policies = ids.policies(&groups);
        let policy_of = |group: &usize| policies.get(*group).copied().unwrap_or_default();
        let members = views.iter().map(|(_, members)| members.clone());
        tables.views = group_of_view.iter().map(policy_of).zip(members).collect();
        let groups: BTreeMap<PolicyId, Group> = policies.into_iter().zip(groups).collect();

        let mut universe = Universe::admit(groups, config, &mut tables.reports);
        number_patterns(&mut universe, ids, &mut tables.reports);
        let region = Region::whole(&universe, ids, &config.dns.internal_domains);
        let mut numbering = Numbering::new(ids);
        let mut written = rules::write(&region, &universe, &mut numbering);
        leave_out_largest(&mut written, &mut universe, &mut tables.reports);
        let fallbacks: BTreeMap<PolicyId, Fallback> = universe
            .fitting()
            .map(|(policy, group)| (policy, Fallback::of(&group.view.unmatched, &mut numbering)))
            .collect();
        tables.image.targets = numbering.targets;
        tables.write_rules(written, &universe, ids);
        tables.keep_used_targets(&fallbacks, ids);
        tables.write_names(&region, &universe, ids, config);
        write_config(config, ids, &mut tables.image);
        tables.directory = directory(&universe, &region, hosts, ids);
        tables.universe = universe;
        tables.fallbacks = fallbacks;
        let placing = tables.placing(input, &numbered);
        if let Some(settings) = &mut tables.image.settings {
            settings.cgroup_depths = placing.depths;
        }
        tables.image.by_cgroup.clone_from(&placing.by_cgroup);
        tables.image.by_ifindex.clone_from(&placing.by_ifindex);
        tables.note(placing);
        tables
    }

    /// Where the workloads of the input are, with the policies of their views.
    pub(super) fn placing(&self, input: &Input<'_>, numbered: &[Numbered]) -> Placing {
        let of_view = |(policy, members): &(PolicyId, Vec<usize>)| {
            members.iter().map(|index| (*index, *policy)).collect::<Vec<_>>()
        };
        let policies: BTreeMap<usize, PolicyId> = self.views.iter().flat_map(of_view).collect();
        Placing::of(input, numbered, &policies, &self.fallbacks)
    }

    /// Moves workloads to where they are now, with the policies of their views, which are those of
    /// before. Returns the operations that do so.
    pub(in crate::policy) fn move_workloads(
        &mut self,
        input: &Input<'_>,
        views: &[ViewOf],
        ids: &mut Ids,
    ) -> Vec<MapOp> {
        let numbered = groups::number_workloads(input, ids);
        for ((_, before), (_, members)) in self.views.iter_mut().zip(views) {
            before.clone_from(members);
        }
        for group in self.universe.groups.values_mut() {
            group.members.clear();
        }
        for (policy, members) in &self.views {
            let placed = members.iter().filter_map(|index| input.workloads.get(*index));
            let keys: Vec<WorkloadKey> = placed.map(|it| it.workload.key.clone()).collect();
            ids.note_policy(*policy, &keys);
            if let Some(group) = self.universe.groups.get_mut(policy) {
                group.members.extend(keys);
            }
        }
        let placing = self.placing(input, &numbered);
        let operations = placing.steps(&self.image);
        self.image.apply(&operations);
        self.note(placing);
        operations
    }

    /// Takes in what stands beside the kernel tables.
    pub(super) fn note(&mut self, placing: Placing) {
        self.directory.workloads = Arc::new(placing.known);
        self.placing = placing.reports;
    }

    fn write_rules(
        &mut self,
        written: BTreeMap<PolicyId, Written>,
        universe: &Universe,
        ids: &mut Ids,
    ) {
        let (mut rules, mut prefixes) = (Vec::new(), Vec::new());
        for (policy, mut written) in written {
            if let Some(group) = universe.groups.get(&policy) {
                written.keep_ipv4_out(policy, &group.view, ids);
            }
            rules.append(&mut written.rules);
            prefixes.append(&mut written.prefixes);
        }
        self.image.rules = rules.into_iter().collect();
        self.image.prefixes = prefixes.into_iter().collect();
    }

    /// Views that do not fit had their targets numbered too.
    fn keep_used_targets(&mut self, fallbacks: &BTreeMap<PolicyId, Fallback>, ids: &mut Ids) {
        let defaults = fallbacks.values().map(|fallback| fallback.target);
        let redirects = self.image.rules.values().copied().filter_map(target);
        for number in redirects.chain(defaults.filter(|number| *number != 0)) {
            *self.uses.entry(number).or_default() += 1;
        }
        self.image.targets.retain(|number, _| self.uses.contains_key(number));
        ids.keep_targets(&self.image.targets);
    }

    fn write_names(&mut self, region: &Region, universe: &Universe, ids: &Ids, config: &Config) {
        let names = Names { universe, ids, internal_domains: &config.dns.internal_domains };
        let values = region
            .names
            .iter()
            .filter_map(|apex| names.value(apex).map(|value| (WireName(apex.wire()), value)));
        self.image.names = values.collect();
    }
}

impl Tables {
    /// Takes note of subjects whose numbers were forgotten: their rules go with the next change.
    pub(in crate::policy) fn forget(&mut self, subjects: Vec<SubjectId>) {
        self.forgotten.extend(subjects);
    }
}

/// The target that a rule names.
pub(super) fn target(rule: RuleValue) -> Option<u32> {
    (rule.action == action::REDIRECT).then_some(rule.target)
}

/// Gives every pattern its number.
fn number_patterns(universe: &mut Universe, ids: &mut Ids, reports: &mut BTreeSet<Report>) {
    let all_used_up: Vec<HostPattern> =
        universe.patterns.keys().filter(|it| ids.pattern(it).is_none()).cloned().collect();
    for pattern in all_used_up {
        universe.leave_out(&pattern, reports);
    }
    ids.limit_retired(
        |pattern| !universe.patterns.contains_key(pattern),
        |net| universe.is_retired(net),
    );
}

/// Leaves out policies until the rules of the others fit, the largest first.
fn leave_out_largest(
    written: &mut BTreeMap<PolicyId, Written>,
    universe: &mut Universe,
    reports: &mut BTreeSet<Report>,
) {
    while written.values().map(|written| written.rules.len()).sum::<usize>() > RULES_ENTRIES {
        let largest = written.iter().max_by_key(|(_, written)| written.rules.len());
        let Some(policy) = largest.map(|(policy, _)| *policy) else {
            break;
        };
        written.remove(&policy);
        universe.left_out.insert(policy);
        if let Some(group) = universe.groups.get(&policy) {
            report_full(group, "the rules", reports);
        }
    }
}

fn directory(universe: &Universe, region: &Region, hosts: Hosts, ids: &Ids) -> Directory {
    let patterns = ids.patterns().iter();
    let patterns = patterns.map(|(it, subject)| (*subject, Subject::Pattern(it.clone())));
    let nets = region.nets.iter();
    let nets = nets.filter_map(|net| Some((*ids.prefixes().get(net)?, Subject::Prefix(*net))));
    let views = universe.fitting().map(|(policy, group)| (policy, group.view.clone()));
    Directory {
        subjects: patterns.chain(nets).collect(),
        views: views.collect(),
        hosts,
        ..Directory::default()
    }
}

/// What depends on the configuration alone.
fn write_config(config: &Config, ids: &mut Ids, image: &mut Image) {
    for resolver in &config.dns.resolvers {
        image.resolvers.insert(ResolverKey::new(resolver.ip().into(), resolver.port()));
    }
    for net in &config.cluster_cidrs {
        let prefix = rules::prefix(PolicyId::INTERNAL, *net);
        image.prefixes.insert(prefix, ids.prefix(*net));
    }
    let flag = |on: bool, flag: u32| if on { flag } else { 0 };
    let seconds = |span: std::time::Duration| u32::try_from(span.as_secs()).unwrap_or(u32::MAX);
    image.settings = Some(Settings {
        generation: 0,
        flags: flag(config.scope == Scope::External, setting_flag::SCOPE_EXTERNAL)
            | flag(config.denied == Denied::ConnectionRefused, setting_flag::DENY_REFUSED)
            | flag(config.dns.denied == DnsDenied::Refused, setting_flag::DNS_REFUSED),
        grace_seconds: seconds(config.dns.grace),
        minimum_ttl_seconds: seconds(config.dns.minimum_ttl),
        longest_wildcard_bytes: names::longest_wildcard(image.names.iter()),
        cgroup_depths: [0; _],
        resolver_ports: config
            .dns
            .resolvers
            .iter()
            .fold(0, |ports, resolver| ports | Settings::resolver_port(resolver.port())),
        query_types: config.dns.query_types.bits(),
        wildcards: config.dns.tunnel.limits(),
        sidecar_port: config.sidecar_port,
        reserved: [0; _],
    });
}

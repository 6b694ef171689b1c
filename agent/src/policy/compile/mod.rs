//! The compiler: registry, configuration and workloads to kernel tables. Pure.

mod names;
mod places;
mod rules;
mod targets;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use exeat_common::{
    abi::{ResolverKey, Settings, setting_flag},
    id::{PolicyId, WorkloadId},
};

use super::{
    answers::Answers,
    directory::Directory,
    ids::{Group, Ids},
    image::{Image, Prefix},
    services::Services,
    view::{Client, Profile, View},
};
use crate::{
    config::{Config, Denied, DnsDenied, Scope},
    registry::{
        Registry, cidr,
        report::{Code, ObjectRef, Report},
    },
    workloads::{PlacedWorkload, Workload},
};

/// All that a compilation looks at.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub registry: &'a Registry,
    pub config: &'a Config,
    pub workloads: &'a [PlacedWorkload],
    pub answers: &'a Answers,
}

/// All that a compilation yields.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    pub image: Image,
    /// Sorted; beside those of loading, which they do not repeat.
    pub reports: Vec<Report>,
    pub directory: Directory,
}

/// Compiles `input`. Never fails: what does not fit is left out, which denies it, and reported.
pub fn compile(input: &Input<'_>, ids: &mut Ids) -> Compiled {
    let mut reports = BTreeSet::new();
    let services = Services::link(input.registry, input.config, input.answers, &mut reports);
    let views = views(input, &services, &mut reports);
    compile_views(input, &services, views, ids, reports)
}

/// A view, and the places of its workloads in the input.
pub(super) type ViewOf = (View, Vec<usize>);

/// Compiles `views`, of which each workload of the input has one.
pub(super) fn compile_views(
    input: &Input<'_>,
    services: &Services,
    views: Vec<ViewOf>,
    ids: &mut Ids,
    mut reports: BTreeSet<Report>,
) -> Compiled {
    let mut directory = Directory::new(services);
    let mut image = Image::default();

    let numbered = number_workloads(input, ids);
    let groups = groups(input, views, &numbered);
    let policies: BTreeMap<PolicyId, &Group> =
        ids.policies(&groups).into_iter().zip(&groups).collect();

    let mut admitted = names::admit(&policies, input.config, &mut reports);
    let numbers = names::number(&mut admitted, ids, &mut reports);
    names::write(&numbers, &input.config.dns.internal_domains, &mut image);
    let closed = rules::close(&admitted, &numbers, &input.config.cluster_cidrs, ids, &mut reports);
    let fallbacks = rules::write(&closed, &numbers, ids, &mut image, &mut directory);
    ids.keep_targets(&image.targets);
    write_config(input.config, ids, &mut image);
    let members =
        places::Members { numbered: &numbered, policies: &policies, fallbacks: &fallbacks };
    places::write(input, &members, &mut image, &mut directory, &mut reports);

    Compiled { image, reports: reports.into_iter().collect(), directory }
}

/// One line a workload of the input: its number and the policy it had.
struct Numbered {
    id: WorkloadId,
    had: Option<PolicyId>,
}

fn number_workloads(input: &Input<'_>, ids: &mut Ids) -> Vec<Numbered> {
    // By name, so that the order of the input plays no part.
    let mut order: Vec<usize> = (0..input.workloads.len()).collect();
    order.sort_by(|a, b| {
        let key = |index: &usize| input.workloads.get(*index).map(|it| &it.workload.key);
        key(a).cmp(&key(b))
    });
    let mut numbered: Vec<(usize, Numbered)> = order
        .into_iter()
        .filter_map(|index| {
            let (id, had) = ids.workload(input.workloads.get(index)?);
            Some((index, Numbered { id, had }))
        })
        .collect();
    let present = input.workloads.iter().map(|it| it.workload.key.clone());
    ids.keep_workloads(&present.collect());
    numbered.sort_by_key(|(index, _)| *index);
    numbered.into_iter().map(|(_, it)| it).collect()
}

/// One view for each profile that some workload has.
pub(super) fn views(
    input: &Input<'_>,
    services: &Services,
    reports: &mut BTreeSet<Report>,
) -> Vec<ViewOf> {
    let mut members: BTreeMap<Profile, (Client<'_>, Vec<usize>)> = BTreeMap::new();
    for (index, placed) in input.workloads.iter().enumerate() {
        let client = client(&placed.workload);
        let (_, indexes) =
            members.entry(services.profile(&client)).or_insert_with(|| (client, Vec::new()));
        indexes.push(index);
    }
    let view = |(client, indexes)| (services.view(&client, reports), indexes);
    members.into_values().map(view).collect()
}

/// Workloads by view.
fn groups(input: &Input<'_>, views: Vec<ViewOf>, numbered: &[Numbered]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (view, indexes) in views {
        let position = groups.iter().position(|group| group.view == view);
        let position = position.unwrap_or_else(|| {
            groups.push(Group { view, members: Vec::new(), had: BTreeSet::new() });
            groups.len() - 1
        });
        let Some(group) = groups.get_mut(position) else {
            continue;
        };
        for index in indexes {
            if let (Some(placed), Some(number)) = (input.workloads.get(index), numbered.get(index))
            {
                group.members.push(placed.workload.key.clone());
                group.had.extend(number.had);
            }
        }
    }
    groups
}

fn client(workload: &Workload) -> Client<'_> {
    Client {
        namespace: &workload.key.namespace,
        labels: &workload.labels,
        has_sidecar: workload.sidecar_cgroup.is_some(),
        is_ambient: workload.is_ambient,
    }
}

/// What depends on the configuration alone.
fn write_config(config: &Config, ids: &mut Ids, image: &mut Image) {
    for resolver in &config.dns.resolvers {
        image.resolvers.insert(ResolverKey::new(resolver.ip().into(), resolver.port()));
    }
    for net in &config.cluster_cidrs {
        let prefix = Prefix {
            policy: PolicyId::INTERNAL,
            address: net.addr().into(),
            bits: cidr::bits(*net),
        };
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
        longest_wildcard_bytes: names::longest_wildcard(image),
        cgroup_depths: [0; _],
        reserved: 0,
    });
}

/// Reports that the tables cannot hold the view of these workloads, which is left empty.
fn report_full(group: &Group, what: &str, reports: &mut BTreeSet<Report>) {
    for key in &group.members {
        let object = ObjectRef {
            kind: "Namespace".to_owned(),
            namespace: key.namespace.clone(),
            name: key.namespace.clone(),
        };
        let message = format!(
            "the kernel tables cannot hold {what} that its workloads may use: all their flows are denied (declare fewer hosts, or narrow exportTo)"
        );
        reports.insert(Report::new(Code::TableFull, &object, "", message));
    }
}

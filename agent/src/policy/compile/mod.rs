//! The compiler: registry, configuration and workloads to kernel tables. Pure.

mod audiences;
mod compiler;
mod ends;
mod groups;
mod names;
mod places;
mod region;
mod rules;
mod step;
mod tables;
mod targets;
mod universe;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc};

use super::{
    answers::Answers,
    chunked::Chunked,
    directory::Directory,
    ids::{Group, Ids},
    image::Image,
    services::Services,
    view::{Client, View},
};
use crate::{
    config::Config,
    registry::{
        Registry,
        host::HostPattern,
        report::{Code, ObjectRef, Report},
    },
    workloads::{PlacedWorkload, Workload},
};
pub use compiler::{Change, Compiler};
pub(super) use tables::Tables;

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
    let tables = Tables::whole(input, &views, hosts(&services), ids);
    reports.extend(tables.reports.into_iter().chain(tables.placing));
    let reports = reports.into_iter().collect();
    Compiled { image: tables.image, reports, directory: tables.directory }
}

/// Hosts, and who declares each first.
pub(super) type Hosts = Chunked<HostPattern, Arc<ObjectRef>>;

/// Every host of the registry, seen by somebody or not.
fn hosts(services: &Services) -> Hosts {
    services.hosts().map(|(host, by)| (host.clone(), Arc::clone(by))).collect()
}

/// A view, and the places of its workloads in the input.
pub(super) type ViewOf = (View, Vec<usize>);

/// One view for each profile that some workload has.
pub(super) fn views(
    input: &Input<'_>,
    services: &Services,
    reports: &mut BTreeSet<Report>,
) -> Vec<ViewOf> {
    let (views, audiences) = audiences::gather(input, services);
    reports.extend(audiences.into_iter().flat_map(|it| it.reports));
    views
}

fn client(workload: &Workload) -> Client<'_> {
    Client {
        namespace: &workload.key.namespace,
        labels: &workload.labels,
        has_sidecar: workload.sidecar_cgroup.is_some(),
        is_ambient: workload.is_ambient,
        has_socket_layer: workload.cgroup.is_some(),
    }
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

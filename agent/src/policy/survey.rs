//! What there is to say about a registry as a whole, before any workload is there.

use std::collections::BTreeSet;

use super::{answers::Answers, services::Services, view::Client};
use crate::{
    config::Config,
    registry::{Registry, labels::Labels, report::Report},
};

/// Reports about objects together: what hides what, what leads nowhere, what is not enforced. They
/// are those of a pod without labels and without a proxy in each namespace that has objects.
pub fn survey(registry: &Registry, config: &Config) -> Vec<Report> {
    let mut reports = BTreeSet::new();
    let services = Services::link(registry, config, &Answers::default(), &mut reports);
    let labels = Labels::new();
    for namespace in registry.used_namespaces() {
        let client = Client {
            namespace,
            labels: &labels,
            has_sidecar: false,
            is_ambient: false,
            has_socket_layer: true,
        };
        services.view(&client, &mut reports);
    }
    reports.into_iter().collect()
}

//! Destination rules: what a proxy would have to do on the way to a host.

use super::{Exported, Services};
use crate::registry::{
    host::HostPattern,
    istio::destination_rule::{DestinationRule, Need, TrafficPolicy},
    labels::{Labels, selects},
};

/// Whose rule is looked for.
#[derive(Clone, Copy)]
pub(in crate::policy) struct Asking<'a> {
    pub(in crate::policy) namespace: &'a str,
    pub(in crate::policy) labels: &'a Labels,
}

impl Services {
    /// What the rule for `host` asks of flows to `port`: the client namespace's rule, else the
    /// service namespace's, else the root namespace's; in each the most specific host.
    pub(in crate::policy) fn need(
        &self,
        asking: Asking<'_>,
        service_namespace: &str,
        host: &HostPattern,
        subset: Option<&str>,
        port: u16,
    ) -> Need {
        if self.rules.is_empty() {
            return Need::default();
        }
        let namespaces = [asking.namespace, service_namespace, &self.settings.root_namespace];
        let rule = namespaces.into_iter().find_map(|it| self.rule(asking, it, host));
        let Some(rule) = rule else {
            return Need::default();
        };
        let of_subset = subset.and_then(|name| rule.subsets.get(name)).map(|it| it.need(port));
        let is_set = |need: &Need| *need != Need::default();
        of_subset.filter(is_set).unwrap_or_else(|| TrafficPolicy::need(&rule.policy, port))
    }

    fn rule(
        &self,
        asking: Asking<'_>,
        namespace: &str,
        host: &HostPattern,
    ) -> Option<&DestinationRule> {
        let wider = host.covering().map(Some).chain([None]);
        std::iter::once(Some(host.clone())).chain(wider).find_map(|pattern| {
            let rules = self.rules.get(&pattern)?;
            let fitting = || rules.iter().filter(|it| fits(it, asking, namespace));
            // One that selects its clients is more specific than one for all.
            let selecting = fitting().find(|it| it.object.selector.is_some());
            selecting.or_else(|| fitting().next()).map(|it| &*it.object)
        })
    }
}

fn fits(rule: &Exported<DestinationRule>, asking: Asking<'_>, namespace: &str) -> bool {
    let object = &rule.object;
    let is_for_client = object.selector.as_ref().is_none_or(|selector| {
        object.header.namespace() == asking.namespace && selects(selector, asking.labels)
    });
    object.header.namespace() == namespace && rule.to.includes(asking.namespace) && is_for_client
}

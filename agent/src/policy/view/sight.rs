//! One client looking at the services: who it is for them, and all that it sees.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Client, Ports, Unmatched, View};
use crate::{
    config::Mode,
    policy::{
        services::{Services, update::Touched},
        target::{Target, TargetKind},
    },
    registry::{
        istio::sidecar::Sidecar,
        labels::Labels,
        report::{ObjectRef, Report},
    },
};

/// What of a client matters for its view. Clients with equal profiles have equal views.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Profile {
    namespace: String,
    has_sidecar: bool,
    is_ambient: bool,
    is_gateway: bool,
    sidecar: Option<Arc<ObjectRef>>,
    /// Its labels, as far as any object asks for them.
    labels: Labels,
}

/// A client and what was found out about it.
pub(super) struct Sight<'a> {
    pub(super) services: &'a Services,
    pub(super) client: Client<'a>,
    /// Flows of a gateway pod are judged by the registry; routes and Sidecars are not for it.
    pub(super) is_gateway: bool,
    pub(super) sidecar: Option<&'a Sidecar>,
    pub(super) proxy: Arc<Target>,
}

impl Services {
    /// What of `client` matters for its view.
    pub fn profile(&self, client: &Client<'_>) -> Profile {
        let sight = Sight::new(self, *client, &mut BTreeSet::new());
        let asked = self.asked_labels();
        let labels = client.labels.iter().filter(|(key, _)| asked.contains(key.as_str()));
        Profile {
            namespace: client.namespace.to_owned(),
            has_sidecar: client.has_sidecar,
            is_ambient: client.is_ambient,
            is_gateway: sight.is_gateway,
            sidecar: sight.sidecar.map(|it| Arc::clone(&it.header.object)),
            labels: labels.map(|(key, value)| (key.clone(), value.clone())).collect(),
        }
    }

    /// The view of `client`; reports are added to `reports`.
    pub fn view(&self, client: &Client<'_>, reports: &mut BTreeSet<Report>) -> View {
        let sight = Sight::new(self, *client, reports);
        let mut names = BTreeMap::new();
        for host in self.names() {
            let ports = sight.name(host, reports);
            if !ports.is_empty() {
                names.insert(host.clone(), Arc::new(ports));
            }
        }
        let mut prefixes = BTreeMap::new();
        for net in self.prefixes() {
            let ports = sight.address(net, reports);
            if !ports.is_empty() {
                prefixes.insert(*net, Arc::new(ports));
            }
        }
        View {
            names: names.into(),
            prefixes: prefixes.into(),
            anywhere: sight.anywhere(reports),
            unmatched: sight.unmatched(),
        }
    }

    /// Makes the touched part of a view anew, after [`Self::update`].
    pub fn patch(
        &self,
        client: &Client<'_>,
        view: &mut View,
        touched: &Touched,
        reports: &mut BTreeSet<Report>,
    ) {
        let sight = Sight::new(self, *client, reports);
        for host in &touched.hosts {
            let known = self.known_name(host);
            let ports = known.map_or_else(Ports::new, |host| sight.name(host, reports));
            if ports.is_empty() {
                view.names.remove(host);
            } else {
                view.names.insert(host.clone(), Arc::new(ports));
            }
        }
        for net in &touched.nets {
            let ports = sight.address(net, reports);
            if ports.is_empty() {
                view.prefixes.remove(net);
            } else {
                view.prefixes.insert(*net, Arc::new(ports));
            }
        }
    }

    /// Keys of labels that some route, rule, policy, gateway or Sidecar selects clients by.
    fn asked_labels(&self) -> BTreeSet<&str> {
        let routes = self.routes.values().flatten().flat_map(|it| {
            let rules = [&it.object.http, &it.object.tls, &it.object.tcp].into_iter().flatten();
            rules.flat_map(|rule| &rule.matches).map(|it| &it.source_labels)
        });
        let rules = self.rules.values().flatten().filter_map(|it| it.object.selector.as_ref());
        let policies = self.policies.values().flatten();
        let sources = policies.flat_map(|it| &it.rules).flat_map(|rule| &rule.from);
        routes
            .chain(rules)
            .chain(sources.map(|it| &it.selector))
            .flat_map(|selector| selector.keys().map(String::as_str))
            .collect()
    }
}

impl<'a> Sight<'a> {
    pub(super) fn new(
        services: &'a Services,
        client: Client<'a>,
        reports: &mut BTreeSet<Report>,
    ) -> Self {
        let is_gateway = services.settings.is_plain_gateway || services.is_gateway(client.labels);
        let sidecar = if is_gateway {
            None
        } else {
            services.sidecar(client.namespace, client.labels, reports)
        };
        Self {
            services,
            client,
            is_gateway,
            sidecar: sidecar.map(|it| &**it),
            proxy: Arc::new(Target { kind: TargetKind::Sidecar, backends: Vec::new() }),
        }
    }

    /// Whether the client's own proxy takes its TCP flows. A gateway is a proxy itself.
    pub(super) const fn has_proxy(&self) -> bool {
        self.client.has_sidecar && !self.is_gateway
    }

    /// What happens to flows that nothing declares: what the Sidecar says, else the mesh.
    fn unmatched(&self) -> Unmatched {
        let settings = &self.services.settings;
        let of_mode = |mode| match mode {
            Mode::RegistryOnly => Unmatched::Deny,
            Mode::AllowAny => Unmatched::Allow,
        };
        let Some(policy) = self.sidecar.and_then(|it| it.policy.as_ref()) else {
            return of_mode(settings.mode);
        };
        let relaxes = policy.mode == Mode::AllowAny && settings.mode == Mode::RegistryOnly;
        match &policy.proxy {
            _ if relaxes && !settings.sidecar_may_relax => Unmatched::Deny,
            Some(proxy) if policy.mode == Mode::AllowAny => {
                self.egress_proxy(proxy).map_or(Unmatched::Deny, Unmatched::To)
            }
            _ => of_mode(policy.mode),
        }
    }
}

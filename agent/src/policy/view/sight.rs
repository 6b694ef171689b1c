//! One client looking at the services: who it is for them, and all that it sees.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Client, Ports, Unmatched, View};
use crate::{
    config::{LabelsMayRelax, Mode},
    policy::{
        services::{Services, update::Touched},
        target::{Target, TargetKind},
    },
    registry::{
        istio::sidecar::Sidecar,
        kubernetes::mode_label::mode,
        labels::Labels,
        report::{ObjectRef, Report},
    },
};

/// What of a client matters for its view. Clients with equal profiles have equal views.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[expect(clippy::struct_excessive_bools, reason = "each is a property of its own of one client")]
pub struct Profile {
    namespace: String,
    has_sidecar: bool,
    is_ambient: bool,
    has_socket_layer: bool,
    is_gateway: bool,
    mode: Option<Mode>,
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
            has_socket_layer: client.has_socket_layer,
            is_gateway: sight.is_gateway,
            mode: sight.labelled_mode(),
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

    /// The mode that the labels of the client or of its namespace ask for, as far as they may. The
    /// client's own goes first.
    fn labelled_mode(&self) -> Option<Mode> {
        let settings = &self.services.settings;
        let may_ask = |mode: &Mode, least: LabelsMayRelax| {
            *mode == Mode::RegistryOnly || settings.labels_may_relax >= least
        };
        let own = mode(self.client.labels).filter(|it| may_ask(it, LabelsMayRelax::Pods));
        let of_namespace = settings.namespace_modes.get(self.client.namespace).copied();
        own.or(of_namespace.filter(|it| may_ask(it, LabelsMayRelax::Namespaces)))
    }

    /// What happens to flows that nothing declares: what the Sidecar says, else the labels, else the
    /// mesh. Where labels ask for the strict mode, no Sidecar relaxes it.
    fn unmatched(&self) -> Unmatched {
        let settings = &self.services.settings;
        let labelled = self.labelled_mode();
        let default = labelled.unwrap_or(settings.mode);
        let of_mode = |mode| match mode {
            Mode::RegistryOnly => Unmatched::Deny,
            Mode::AllowAny => Unmatched::Allow,
        };
        let Some(policy) = self.sidecar.and_then(|it| it.policy.as_ref()) else {
            return of_mode(default);
        };
        let relaxes = policy.mode == Mode::AllowAny && default == Mode::RegistryOnly;
        let may_relax = settings.sidecar_may_relax && labelled.is_none();
        match &policy.proxy {
            _ if relaxes && !may_relax => Unmatched::Deny,
            Some(proxy) if policy.mode == Mode::AllowAny => {
                self.egress_proxy(proxy).map_or(Unmatched::Deny, Unmatched::To)
            }
            _ => of_mode(policy.mode),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{LabelsMayRelax, Mode, Services, Unmatched};
    use crate::{
        config::Config,
        policy::{answers::Answers, view::Client},
        registry::{Registry, labels::Labels, object},
    };

    /// Whether a pod with this mode label, in a namespace with that one, may reach what nothing
    /// declares. An empty text is no label.
    fn is_open(config: &Config, pod: &str, namespace: &str, sidecar: &str) -> bool {
        let label = |mode: &str| match mode {
            "" => "{}".to_owned(),
            mode => format!("{{exeat.dev/mode: '{mode}'}}"),
        };
        let namespace = label(namespace);
        let mut documents = vec![format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: shop, labels: {namespace}}}}}"
        )];
        if !sidecar.is_empty() {
            documents.push(format!("{{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {{name: s, namespace: shop}}, spec: {{outboundTrafficPolicy: {{mode: {sidecar}}}}}}}"));
        }
        let contents = documents
            .iter()
            .filter_map(|text| object::read(&serde_yaml::from_str(text).expect("YAML")).content);
        let registry = Registry::new(contents);
        let answers = Answers::default();
        let services = Services::link(&registry, config, &answers, &mut BTreeSet::new());
        let labels: Labels = serde_yaml::from_str(&label(pod)).expect("labels");
        let client = Client {
            namespace: "shop",
            labels: &labels,
            has_sidecar: false,
            is_ambient: false,
            has_socket_layer: true,
        };
        services.view(&client, &mut BTreeSet::new()).unmatched == Unmatched::Allow
    }

    const STRICT: &str = "registry-only";
    const OPEN: &str = "allow-any";

    fn config(mode: Mode, labels_may_relax: LabelsMayRelax) -> Config {
        Config { mode, labels_may_relax, ..Config::offline() }
    }

    #[test]
    fn any_label_tightens() {
        for who in [LabelsMayRelax::Nobody, LabelsMayRelax::Namespaces, LabelsMayRelax::Pods] {
            let config = config(Mode::AllowAny, who);
            assert!(is_open(&config, "", "", ""));
            assert!(!is_open(&config, STRICT, "", "") && !is_open(&config, "", STRICT, ""));
            assert!(!is_open(&config, "open", "", ""), "what is no mode is the strict one");
            assert!(!is_open(&config, STRICT, OPEN, ""), "the pod's own goes first");
        }
    }

    #[test]
    fn labels_relax_where_they_may() {
        for (who, by_pod, by_namespace) in [
            (LabelsMayRelax::Nobody, false, false),
            (LabelsMayRelax::Namespaces, false, true),
            (LabelsMayRelax::Pods, true, true),
        ] {
            let config = config(Mode::RegistryOnly, who);
            assert!(!is_open(&config, "", "", ""));
            assert_eq!(is_open(&config, OPEN, "", ""), by_pod, "{who:?}");
            assert_eq!(is_open(&config, "", OPEN, ""), by_namespace, "{who:?}");
            assert_eq!(is_open(&config, OPEN, STRICT, ""), by_pod, "{who:?}");
        }
    }

    #[test]
    fn sidecars_beside_labels() {
        let strict = config(Mode::RegistryOnly, LabelsMayRelax::Namespaces);
        assert!(is_open(&strict, "", "", "ALLOW_ANY"), "as Istio has it");
        assert!(!is_open(&strict, "", STRICT, "ALLOW_ANY"), "the label holds");
        assert!(!is_open(&strict, "", OPEN, "REGISTRY_ONLY"), "a Sidecar may tighten");
        assert!(is_open(&strict, "", OPEN, "ALLOW_ANY"));
    }
}

//! Objects that this version does not read yet, and what they would change.
//!
//! A route, a rule or a Sidecar takes something away from plain forwarding. Reading an entry as if
//! they were not there would forward in clear, or open, what they do not; so what they govern is
//! denied until they are read.

use std::{collections::BTreeMap, sync::Arc};

use serde_yaml::Value;

use super::{host::HostPattern, meta::Meta, report::ObjectRef};

/// Namespace whose Sidecar holds for all namespaces without one.
const MESH_ROOT_NAMESPACE: &str = "istio-system";

/// One object that is not read, and what it would change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Governed {
    pub object: Arc<ObjectRef>,
    pub reach: Reach,
}

/// What an object would change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reach {
    /// Flows to these hosts.
    Hosts(Vec<HostPattern>),
    /// Flows to every host.
    AllHosts,
    /// Flows of the workloads in this namespace, or in all.
    Clients(Option<String>),
    /// Entries in this namespace.
    Entries(String),
}

impl Governed {
    /// What `document` would change; none for a kind that only adds destinations.
    pub fn read(meta: &Meta, document: &Value) -> Option<Self> {
        let spec = document.get("spec").unwrap_or(&Value::Null);
        let reach = match (meta.group(), meta.object.kind.as_str()) {
            ("networking.istio.io", "VirtualService") => hosts(&texts(spec.get("hosts"))),
            ("networking.istio.io", "DestinationRule") => hosts(&texts(spec.get("host"))),
            ("networking.istio.io", "Sidecar") => {
                let namespace = meta.object.namespace.clone();
                Reach::Clients((namespace != MESH_ROOT_NAMESPACE).then_some(namespace))
            }
            ("istio.alibabacloud.com", "ASMEgressTrafficPolicy") => {
                let rules = items(spec.get("egressRules"));
                let targets = rules.iter().flat_map(|rule| items(rule.get("to")));
                hosts(&targets.flat_map(|to| texts(to.get("hosts"))).collect::<Vec<_>>())
            }
            ("", "Namespace") if has_waypoint(document) => Reach::Entries(meta.object.name.clone()),
            ("", "Service") => {
                let object = &meta.object;
                let name = format!("{}.{}.svc.cluster.local", object.name, object.namespace);
                hosts(&[name])
            }
            _ => return None,
        };
        Some(Self { object: Arc::new(meta.object.clone()), reach })
    }
}

/// Finds what governs a flow without asking every object.
#[derive(Clone, Debug, Default)]
pub struct GovernedIndex {
    hosts: BTreeMap<HostPattern, Arc<ObjectRef>>,
    all_hosts: Option<Arc<ObjectRef>>,
    clients: BTreeMap<Option<String>, Arc<ObjectRef>>,
    entries: BTreeMap<String, Arc<ObjectRef>>,
}

impl GovernedIndex {
    pub fn new<'a>(governed: impl IntoIterator<Item = &'a Governed>) -> Self {
        let mut index = Self::default();
        for Governed { object, reach } in governed {
            let object = || Arc::clone(object);
            match reach {
                Reach::Hosts(hosts) => {
                    for host in hosts {
                        index.hosts.entry(host.clone()).or_insert_with(object);
                    }
                }
                Reach::AllHosts => {
                    index.all_hosts.get_or_insert_with(object);
                }
                Reach::Clients(namespace) => {
                    index.clients.entry(namespace.clone()).or_insert_with(object);
                }
                Reach::Entries(namespace) => {
                    index.entries.entry(namespace.clone()).or_insert_with(object);
                }
            }
        }
        index
    }

    /// What would change flows to `host`, declared by an entry in `entry_namespace`, of workloads
    /// in `client_namespace`.
    pub fn governor(
        &self,
        host: &HostPattern,
        entry_namespace: &str,
        client_namespace: &str,
    ) -> Option<&Arc<ObjectRef>> {
        self.all_hosts
            .as_ref()
            .or_else(|| self.clients.get(&None))
            .or_else(|| self.clients.get(&Some(client_namespace.to_owned())))
            .or_else(|| self.entries.get(entry_namespace))
            .or_else(|| self.hosts.get(host))
            .or_else(|| host.covering().find_map(|wide| self.hosts.get(&wide)))
            .or_else(|| {
                // What lies below a wildcard follows its name in order.
                let mut below = self.hosts.range(host.apex()..);
                below
                    .find(|(governed, _)| !governed.is_within(host) || host.covers(governed))
                    .filter(|(governed, _)| host.covers(governed))
                    .map(|(_, object)| object)
            })
    }
}

/// A host that cannot be read might be any.
fn hosts(texts: &[String]) -> Reach {
    let parsed: Result<Vec<HostPattern>, _> =
        texts.iter().map(|text| HostPattern::parse(text)).collect();
    parsed.map_or(Reach::AllHosts, Reach::Hosts)
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_sequence).map_or(&[], Vec::as_slice)
}

/// A text, or the texts of a list.
fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => vec![text.clone()],
        other => {
            items(other).iter().map(|item| item.as_str().unwrap_or_default().to_owned()).collect()
        }
    }
}

fn has_waypoint(document: &Value) -> bool {
    document
        .get("metadata")
        .and_then(|metadata| metadata.get("labels"))
        .and_then(|labels| labels.get("istio.io/use-waypoint"))
        .and_then(Value::as_str)
        .is_some_and(|name| !name.is_empty() && name != "none")
}

#[cfg(test)]
mod tests {
    use super::{Governed, GovernedIndex};
    use crate::registry::{host::HostPattern, meta::Meta};

    /// Whether the object concerns flows to `api.example.com`, declared in `shop`, from `team`.
    #[track_caller]
    fn check(text: &str, expected: Option<bool>) {
        let document = serde_yaml::from_str(text).expect("YAML");
        let meta = Meta::read(&document).expect("metadata");
        let host = HostPattern::parse("api.example.com").expect("valid");
        let got = Governed::read(&meta, &document)
            .map(|it| GovernedIndex::new([&it]).governor(&host, "shop", "team").is_some());
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn a_governed_name_below_a_wildcard_governs_the_wildcard() {
        let document = serde_yaml::from_str(
            "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: x}, spec: {hosts: [b.example.com, api.example.com]}}",
        )
        .expect("YAML");
        let meta = Meta::read(&document).expect("metadata");
        let governed = Governed::read(&meta, &document).expect("governed");
        let index = GovernedIndex::new([&governed]);
        for (host, expected) in [
            ("*.example.com", true),
            ("*.com", true),
            ("example.com", false),
            ("*.api.example.com", false),
            ("api.example.com", true),
            ("*.example.org", false),
        ] {
            let host = HostPattern::parse(host).expect("valid");
            assert_eq!(index.governor(&host, "", "").is_some(), expected, "{host}");
        }
    }

    #[test]
    fn reach() {
        let istio = |kind: &str, namespace: &str, spec: &str| {
            format!(
                "{{apiVersion: networking.istio.io/v1, kind: {kind}, metadata: {{name: x, namespace: {namespace}}}, spec: {spec}}}"
            )
        };
        check(&istio("VirtualService", "a", "{hosts: [api.example.com]}"), Some(true));
        check(&istio("VirtualService", "a", "{hosts: ['*.example.com']}"), Some(true));
        check(&istio("VirtualService", "a", "{hosts: ['*']}"), Some(true));
        check(&istio("VirtualService", "a", "{hosts: [example.com, b.example.com]}"), Some(false));
        check(&istio("DestinationRule", "a", "{host: api.example.com}"), Some(true));
        check(&istio("DestinationRule", "a", "{host: 3}"), Some(false));
        check(&istio("Sidecar", "team", "{}"), Some(true));
        check(&istio("Sidecar", "shop", "{}"), Some(false));
        check(&istio("Sidecar", "istio-system", "{}"), Some(true));
        check(&istio("Gateway", "team", "{}"), None);
        check(
            "{apiVersion: istio.alibabacloud.com/v1, kind: ASMEgressTrafficPolicy, metadata: {name: x}, spec: {egressRules: [{to: [{hosts: [api.example.com]}]}]}}",
            Some(true),
        );
        check(
            "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio.io/use-waypoint: w}}}",
            Some(true),
        );
        check("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}", None);
        check("{apiVersion: v1, kind: Service, metadata: {name: x}}", Some(false));
    }
}

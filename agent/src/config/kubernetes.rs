//! Which cluster the agent belongs to, how it is reached, and what of it is read.

use std::{fmt, path::PathBuf};

use serde::Deserialize;

/// The cluster of this node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kubernetes {
    pub access: Access,
    /// Name of this node in the cluster. None: the environment variable `NODE_NAME` holds it.
    pub node: Option<String>,
    /// The settings of an Istio mesh. None: there is no mesh to ask.
    pub mesh_config_map: Option<ConfigMapName>,
    /// Whether what was found is written into the cluster as Events.
    pub events: bool,
    /// Whether the pods of this node are enforced.
    pub pods: bool,
    /// Whether pods are connected by veths.
    pub veths: bool,
}

/// How the API server is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Access {
    /// With what the kubelet mounts into a pod.
    InCluster,
    /// With the current context of a kubeconfig file.
    Kubeconfig(PathBuf),
}

/// Namespace and name of a `ConfigMap`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigMapName {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for ConfigMapName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// Where Istio installs its settings.
const MESH_CONFIG_MAP: (&str, &str) = ("istio-system", "istio");

/// What was written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawKubernetes {
    enabled: Option<bool>,
    kubeconfig: Option<PathBuf>,
    node_name: Option<super::raw::Name>,
    mesh_config_map: MeshConfigMap,
    events: super::raw::Yes,
    pods: super::raw::Yes,
    veths: super::raw::Yes,
}

/// `namespace/name`, or `null` for none.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Option<String>")]
struct MeshConfigMap(Option<ConfigMapName>);

impl Default for MeshConfigMap {
    fn default() -> Self {
        let (namespace, name) = MESH_CONFIG_MAP;
        Self(Some(ConfigMapName { namespace: namespace.to_owned(), name: name.to_owned() }))
    }
}

impl TryFrom<Option<String>> for MeshConfigMap {
    type Error = String;

    fn try_from(text: Option<String>) -> Result<Self, String> {
        let Some(text) = text else {
            return Ok(Self(None));
        };
        let parts = text.split_once('/').filter(|(namespace, name)| {
            crate::registry::host::is_dns_label(namespace)
                && name.split('.').all(crate::registry::host::is_dns_label)
        });
        let Some((namespace, name)) = parts else {
            return Err(format!(
                "`{text}` is not the namespace and name of a ConfigMap, such as istio-system/istio"
            ));
        };
        Ok(Self(Some(ConfigMapName { namespace: namespace.to_owned(), name: name.to_owned() })))
    }
}

impl RawKubernetes {
    /// Whether there is a cluster. A `kubeconfig` is enough to turn it on.
    pub(super) fn is_on(&self) -> bool {
        self.enabled.unwrap_or(self.kubeconfig.is_some())
    }

    /// What it means; none: there is no cluster.
    pub(super) fn resolve(self) -> Option<Kubernetes> {
        if !self.is_on() {
            return None;
        }
        Some(Kubernetes {
            access: self.kubeconfig.map_or(Access::InCluster, Access::Kubeconfig),
            node: self.node_name.map(|name| name.0),
            mesh_config_map: self.mesh_config_map.0,
            events: self.events.0,
            pods: self.pods.0,
            veths: self.veths.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Access, Kubernetes, RawKubernetes};

    fn read(text: &str) -> Option<Kubernetes> {
        serde_yaml::from_str::<RawKubernetes>(text).expect("valid").resolve()
    }

    #[test]
    fn on_and_off() {
        assert_eq!(read("{}"), None);
        assert_eq!(read("{enabled: false, nodeName: n1}"), None);
        assert_eq!(read("{enabled: false, kubeconfig: /k}"), None);
        assert_eq!(read("{enabled: true}").map(|it| it.access), Some(Access::InCluster));
        assert_eq!(read("{enabled: true}").map(|it| it.events), Some(true));
        assert_eq!(read("{enabled: true, events: false}").map(|it| it.events), Some(false));
        assert_eq!(read("{enabled: true}").map(|it| (it.pods, it.veths)), Some((true, true)));
        let given = read("{enabled: true, pods: false, veths: false}");
        assert_eq!(given.map(|it| (it.pods, it.veths)), Some((false, false)));
        let by_file = Some(Access::Kubeconfig("/k".into()));
        assert_eq!(read("{kubeconfig: /k}").map(|it| it.access), by_file);
        assert_eq!(read("{enabled: true, kubeconfig: /k}").map(|it| it.access), by_file);
    }

    #[test]
    fn the_mesh() {
        let map = |text: &str| {
            read(text).expect("on").mesh_config_map.map(|map| map.to_string()).unwrap_or_default()
        };
        assert_eq!(map("{enabled: true}"), "istio-system/istio");
        assert_eq!(map("{enabled: true, meshConfigMap: mesh/istio-1-30}"), "mesh/istio-1-30");
        assert_eq!(map("{enabled: true, meshConfigMap: null}"), "");
        for bad in ["istio", "a/b/c", "''", "/istio", "a_b/istio"] {
            let text = format!("{{meshConfigMap: {bad}}}");
            assert!(serde_yaml::from_str::<RawKubernetes>(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn slips() {
        for bad in ["{nodeName: 'a b'}", "{node: a}", "{enabled: maybe}"] {
            assert!(serde_yaml::from_str::<RawKubernetes>(bad).is_err(), "{bad}");
        }
    }
}

//! A Pod object to what the node must know of it, and all of them by the uid their cgroups have.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use serde::Deserialize;
use serde_yaml::Value;

use crate::{
    registry::labels::Labels,
    workloads::{
        WorkloadKey,
        pod::{Pod, Pods},
    },
};

/// Marks the object that stands for a pod which the kubelet has from a file, and holds the uid that
/// its cgroup is named after.
///
/// Source: <https://kubernetes.io/docs/reference/labels-annotations-taints/>, and the kubelet's
/// `pkg/kubelet/types/pod_update.go`.
const MIRROR: &str = "kubernetes.io/config.mirror";
const MIRRORED_UID: &str = "kubernetes.io/config.hash";
/// The container that injectors add.
const SIDECAR: &str = "istio-proxy";
/// Label of pods and namespaces by which they are enrolled in an ambient mesh.
const DATAPLANE: &str = "istio.io/dataplane-mode";

/// A pod that has not ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct NodePod {
    pod: Arc<Pod>,
    /// Its uid is what its annotations say.
    is_mirror: bool,
    /// Oldest first. RFC 3339, which sorts as text.
    created: String,
}

impl NodePod {
    /// None: it has ended, so that nothing of it runs and its addresses may be another's; or it is
    /// no pod.
    pub(super) fn read(document: &Value) -> Option<Self> {
        let Document { metadata, spec, status } = Document::deserialize(document).ok()?;
        if matches!(status.phase.as_str(), "Succeeded" | "Failed") || metadata.uid.is_empty() {
            return None;
        }
        // The kubelet makes the node the owner; who may only create pods cannot pose as a pod of
        // the node by its annotations alone.
        let is_owned = metadata.owner_references.iter().any(|owner| owner.kind == "Node");
        let mirrored = metadata.annotations.get(MIRRORED_UID).filter(|uid| !uid.is_empty());
        let mirrored =
            mirrored.filter(|_| is_owned && metadata.annotations.contains_key(MIRROR)).cloned();
        let addresses = addresses(&status);
        let sidecar = status.init_containers.iter().chain(&status.containers);
        let sidecar =
            sidecar.filter(|it| it.name == SIDECAR).find_map(|it| it.id.split_once("://"));
        let pod = Pod {
            is_ambient: metadata.labels.get(DATAPLANE).is_some_and(|mode| mode == "ambient"),
            sidecar: sidecar.map(|(_, id)| id.to_owned()),
            addresses,
            is_host_network: spec.host_network,
            key: WorkloadKey { namespace: metadata.namespace, name: metadata.name },
            labels: metadata.labels,
            uid: mirrored.clone().unwrap_or(metadata.uid),
        };
        let created = metadata.creation_timestamp;
        Some(Self { pod: Arc::new(pod), is_mirror: mirrored.is_some(), created })
    }
}

fn addresses(status: &Status) -> Vec<IpAddr> {
    let listed = status.pod_ips.iter().map(|it| it.ip.as_str());
    let first = std::iter::once(status.pod_ip.as_str());
    let mut addresses: Vec<IpAddr> = Vec::new();
    for text in first.chain(listed) {
        if let Ok(address) = text.parse::<IpAddr>()
            && !addresses.contains(&address.to_canonical())
        {
            addresses.push(address.to_canonical());
        }
    }
    addresses
}

/// All pods by uid. `labels_of` knows those of namespaces, for what pods take over from them.
///
/// What the API server gave out itself goes before what a mirror claims, and the older claim before
/// the younger: no later object takes the place of a pod that is there.
pub(super) fn gather<'a>(
    pods: impl Iterator<Item = &'a NodePod>,
    labels_of: impl Fn(&str) -> Option<&'a Labels>,
) -> Pods {
    let mut all: Vec<&NodePod> = pods.collect();
    all.sort_by_key(|it| (it.is_mirror, &it.created, &it.pod.key));
    let mut pods = BTreeMap::new();
    for NodePod { pod, .. } in all {
        let by_namespace = !pod.labels.contains_key(DATAPLANE)
            && labels_of(&pod.key.namespace)
                .and_then(|labels| labels.get(DATAPLANE))
                .is_some_and(|mode| mode == "ambient");
        pods.entry(pod.uid.clone()).or_insert_with(|| {
            if by_namespace {
                Arc::new(Pod { is_ambient: true, ..Pod::clone(pod) })
            } else {
                Arc::clone(pod)
            }
        });
    }
    pods
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    namespace: String,
    uid: String,
    creation_timestamp: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    owner_references: Vec<Owner>,
}

#[derive(Deserialize)]
struct Owner {
    kind: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    host_network: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<PodIp>,
    #[serde(rename = "initContainerStatuses")]
    init_containers: Vec<Container>,
    #[serde(rename = "containerStatuses")]
    containers: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodIp {
    ip: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
    #[serde(rename = "containerID")]
    id: String,
}

#[cfg(test)]
mod tests {
    use super::{NodePod, gather};
    use crate::{registry::labels::Labels, workloads::pod::Pods};

    fn pod(name: &str, metadata: &str, rest: &str) -> Option<NodePod> {
        let text = format!(
            "{{metadata: {{name: {name}, namespace: shop, uid: uid-{name}{metadata}}}{rest}}}"
        );
        NodePod::read(&serde_yaml::from_str(&text).unwrap_or_else(|it| panic!("{text}: {it}")))
    }

    fn all(pods: &[Option<NodePod>]) -> Pods {
        gather(pods.iter().flatten(), |_| None)
    }

    #[test]
    fn what_the_node_must_know() {
        let pods = all(&[pod(
            "a",
            ", labels: {app: web}",
            ", spec: {nodeName: n1, hostNetwork: true}, status: {podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}], containerStatuses: [{name: app, containerID: 'containerd://1'}, {name: istio-proxy, containerID: 'containerd://2'}]}",
        )]);
        let pod = &pods["uid-a"];
        assert_eq!(pod.key.to_string(), "shop/a");
        assert_eq!(pod.labels["app"], "web");
        assert_eq!(pod.addresses.len(), 2);
        assert!(pod.is_host_network && !pod.is_ambient);
        assert_eq!(pod.sidecar.as_deref(), Some("2"));
    }

    #[test]
    fn a_pod_that_has_just_been_made_says_little() {
        let pods = all(&[pod("a", "", ", status: {phase: Pending}")]);
        let young = &pods["uid-a"];
        assert!(young.addresses.is_empty() && young.sidecar.is_none() && !young.is_host_network);
        // The container of the proxy waits to be made; as a native sidecar it is among the first.
        let waiting = ", status: {containerStatuses: [{name: istio-proxy}]}";
        assert_eq!(all(&[pod("a", "", waiting)])["uid-a"].sidecar, None);
        let native =
            ", status: {initContainerStatuses: [{name: istio-proxy, containerID: 'cri-o://7'}]}";
        assert_eq!(all(&[pod("a", "", native)])["uid-a"].sidecar.as_deref(), Some("7"));
    }

    #[test]
    fn what_has_ended_is_left_out() {
        for (phase, expected) in
            [("Succeeded", 0), ("Failed", 0), ("Running", 1), ("Unknown", 1), ("Pending", 1)]
        {
            let status = format!(", status: {{phase: {phase}, podIP: 10.0.0.1}}");
            assert_eq!(all(&[pod("a", "", &status)]).len(), expected, "{phase}");
        }
    }

    const MIRROR: &str = ", annotations: {kubernetes.io/config.mirror: h1, kubernetes.io/config.hash: h1}, ownerReferences: [{kind: Node, name: n1}]";

    #[test]
    fn a_static_pod_is_known_by_the_hash_its_cgroup_has() {
        let pods = all(&[pod("a", MIRROR, "")]);
        assert_eq!(pods.keys().collect::<Vec<_>>(), ["h1"]);
        let unowned = MIRROR.replace("Node", "ReplicaSet");
        assert_eq!(all(&[pod("a", &unowned, "")]).keys().collect::<Vec<_>>(), ["uid-a"]);
    }

    #[test]
    fn no_pod_takes_the_place_of_another() {
        let claims_b = MIRROR.replace("h1", "uid-b");
        let pods = all(&[pod("a", &claims_b, ""), pod("b", "", "")]);
        assert_eq!(pods["uid-b"].key.name, "b");
        let created = |name: &str, time: &str| {
            pod(name, &format!("{MIRROR}, creationTimestamp: '2026-01-0{time}T00:00:00Z'"), "")
        };
        assert_eq!(all(&[created("z", "1"), created("a", "2")])["h1"].key.name, "z");
    }

    #[test]
    fn a_namespace_enrols_its_pods_unless_they_say_otherwise() {
        let labels = Labels::from([("istio.io/dataplane-mode".into(), "ambient".into())]);
        let pods = [
            pod("a", "", ""),
            pod("b", ", labels: {istio.io/dataplane-mode: none}", ""),
            pod("c", ", labels: {istio.io/dataplane-mode: ambient}", ""),
        ];
        let ambient = |labels: Option<&Labels>| {
            let pods = gather(pods.iter().flatten(), |_| labels);
            pods.values().map(|it| it.is_ambient).collect::<Vec<_>>()
        };
        assert_eq!(ambient(Some(&labels)), [true, false, true]);
        assert_eq!(ambient(None), [false, false, true]);
    }
}

//! Objects that the tests make, in the form of the API.

use exeat_agent::{
    registry::{file::Snapshot, load::Loaded},
    workloads::pod::Pods,
};
use exeat_tests::test_cluster::{TestCluster, plural};
use serde_json::{Value, json};

pub(crate) const ISTIO: &str = "networking.istio.io";
pub(crate) const GLOO: &str = "networking.gloo.solo.io";

/// A definition of a kind that may hold anything.
pub(crate) fn definition(group: &str, version: &str, kind: &str) -> Value {
    let plural = plural(kind);
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
            "versions": [{
                "name": version, "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}},
            }],
        },
    })
}

pub(crate) fn entry(cluster: &TestCluster, name: &str, host: &str) -> Value {
    json!({
        "apiVersion": format!("{ISTIO}/v1"), "kind": "ServiceEntry",
        "metadata": {"name": name, "namespace": cluster.namespace},
        "spec": {
            "hosts": [host], "resolution": "NONE",
            "ports": [{"number": 443, "name": "tls", "protocol": "TLS"}],
        },
    })
}

pub(crate) fn pod(cluster: &TestCluster, name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": cluster.namespace, "labels": {"app": "web"}},
        "spec": {
            "nodeName": node, "automountServiceAccountToken": false,
            "containers": [{
                "name": "app", "image": "example.com/app",
                "ports": [{"name": "tls", "containerPort": 8443}],
            }],
        },
    })
}

/// What a kubelet says of a pod that runs.
pub(crate) fn running(pod: &Value, address: &str) -> Value {
    let metadata =
        json!({"name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"]});
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
        "status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [
                {"name": "istio-proxy", "containerID": "containerd://abc", "image": "p", "imageID": "p", "ready": true, "restartCount": 0},
            ],
        },
    })
}

pub(crate) fn service(cluster: &TestCluster, name: &str, is_headless: bool) -> Value {
    let mut spec = json!({"ports": [{"name": "web", "port": 80, "protocol": "TCP"}]});
    // Which cluster address it gets is for the server to say; the double gives none.
    if is_headless {
        spec["clusterIP"] = "None".into();
    } else if cluster.double.is_some() {
        spec["clusterIP"] = "10.96.0.77".into();
    }
    json!({
        "apiVersion": "v1", "kind": "Service", "spec": spec,
        "metadata": {"name": name, "namespace": cluster.namespace},
    })
}

pub(crate) fn slice(cluster: &TestCluster, service: &str, address: &str) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-1"), "namespace": cluster.namespace,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}],
    })
}

/// Hosts of the entries in the test's namespace, in order.
pub(crate) fn hosts(cluster: &TestCluster, loaded: &Loaded) -> Vec<String> {
    let entries = loaded.registry.service_entries().iter();
    let own = entries.filter(|it| it.header.namespace() == cluster.namespace);
    let mut hosts: Vec<String> =
        own.flat_map(|entry| entry.hosts.iter().map(ToString::to_string)).collect();
    hosts.sort();
    hosts
}

/// Whether exactly these hosts are declared in the test's namespace.
pub(crate) fn declares(cluster: &TestCluster, wanted: &[&str]) -> impl Fn(&Snapshot) -> bool {
    move |snapshot| hosts(cluster, &snapshot.loaded) == wanted
}

/// Names of pods, in order.
pub(crate) fn names(pods: &Pods) -> Vec<&str> {
    let mut names: Vec<&str> = pods.values().map(|it| it.key.name.as_str()).collect();
    names.sort_unstable();
    names
}

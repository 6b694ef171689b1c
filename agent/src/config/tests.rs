//! What is accepted, what each key defaults to, and what every refusal says.

use std::{path::Path, time::Duration};

use super::{
    Config, Denied, DnsDenied, ExternalName, GatewayTransport, LabelsMayRelax, Matching, Mode,
    Scope,
};

const WORKLOAD: &str =
    "workloads: [{namespace: default, name: web, cgroup: /sys/fs/cgroup/demo/web}]\n";

/// Every key, as the documentation shows them.
const FULL: &str = r#"
mode: ALLOW_ANY
match: istio-compat
scope: all
clusterCidrs: [10.244.0.0/16, 10.96.0.1/12, "2001:db8::/64"]
externalName: alias
gatewayTransport: mtls
sidecarMayRelax: false
labelsMayRelax: pods
registry: {files: [./registry.d, /etc/exeat/one.yaml], watch: false}
kubernetes: {enabled: false, kubeconfig: /etc/kube.conf, nodeName: node-1, meshConfigMap: mesh/istio}
cgroupRoot: /sys/fs/cgroup/demo/
workloads:
- {namespace: default, name: web, labels: {app: web}, cgroup: /sys/fs/cgroup/demo/web, interface: veth-web, addresses: [10.9.0.2, "::ffff:10.9.0.3"], sidecarCgroup: null}
- {namespace: other, name: web.0, interface: veth-b}
dns: {resolvers: [10.96.0.10, "10.0.0.53:5353", "[2001:db8::53]:54", "2001:db8::54"], internalDomains: [Cluster.Local.], grace: 1m, minimumTtl: 5s, denied: REFUSED, queryTypes: [A, aaaa, TYPE257], tunnel: {queriesPerSecond: 20, labelLength: 40, entropyBits: 200}}
denied: ECONNREFUSED
sidecar: {port: 15002}
metrics: {listen: "127.0.0.1:9000"}
socket: /run/x.sock
pinPath: /sys/fs/bpf/x
"#;

#[test]
fn every_key() {
    let config = Config::parse(FULL).expect("valid");
    assert_eq!((config.mode, config.scope), (Mode::AllowAny, Scope::All));
    assert_eq!(config.matching, Matching::IstioCompat);
    assert_eq!(config.external_name, ExternalName::Alias);
    assert_eq!(config.gateway_transport, GatewayTransport::Mtls);
    assert!(!config.sidecar_may_relax && !config.registry.watch);
    assert_eq!(config.labels_may_relax, LabelsMayRelax::Pods);
    assert_eq!((config.denied, config.dns.denied), (Denied::ConnectionRefused, DnsDenied::Refused));
    assert_eq!(config.cluster_cidrs[1].to_string(), "10.96.0.0/12");
    assert_eq!(config.cgroup_root.as_deref(), Some(Path::new("/sys/fs/cgroup/demo")));
    let resolvers: Vec<String> = config.dns.resolvers.iter().map(ToString::to_string).collect();
    assert_eq!(
        resolvers,
        ["10.96.0.10:53", "10.0.0.53:5353", "[2001:db8::53]:54", "[2001:db8::54]:53"]
    );
    assert_eq!(config.dns.internal_domains[0].to_string(), "cluster.local");
    assert_eq!(
        (config.dns.grace, config.dns.minimum_ttl),
        (Duration::from_mins(1), Duration::from_secs(5))
    );
    let tunnel = config.dns.tunnel.limits();
    assert_eq!((tunnel.queries_per_second, tunnel.label_bytes, tunnel.entropy_bits), (20, 40, 200));
    assert_eq!(config.workloads[0].addresses[1].to_string(), "10.9.0.3");
    assert_eq!(config.workloads[1].key.to_string(), "other/web.0");
    assert_eq!((config.sidecar_port, config.metrics_listen.port()), (15002, 9000));
}

#[test]
fn defaults() {
    let config = Config::parse(WORKLOAD).expect("valid");
    assert_eq!((config.mode, config.scope), (Mode::RegistryOnly, Scope::External));
    assert!(config.sidecar_may_relax && config.registry.watch);
    assert_eq!(config.registry.files, [Path::new("./registry.d")]);
    assert_eq!(config.dns.internal_domains[0].to_string(), "cluster.local");
    assert_eq!(
        (config.dns.grace, config.dns.minimum_ttl),
        (Duration::from_secs(30), Duration::from_secs(30))
    );
    assert_eq!(
        (config.sidecar_port, config.metrics_listen.to_string().as_str()),
        (15001, "127.0.0.1:9469")
    );
    assert_eq!(config.socket, Path::new("/run/exeat/exeat.sock"));
    assert_eq!(config.pin_path, Path::new("/sys/fs/bpf/exeat"));
    let offline = Config { workloads: config.workloads.clone(), ..Config::offline() };
    assert_eq!(config, offline);
}

/// What the refusal must say, in every part.
#[track_caller]
fn refused(text: &str, parts: &[&str]) {
    let error = Config::parse(text).expect_err(text).to_string();
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
    assert_eq!(error.lines().count(), 1, "{error}");
}

/// A valid configuration and one more line, the second.
#[track_caller]
fn refused_line(line: &str, parts: &[&str]) {
    refused(&format!("{WORKLOAD}{line}\n"), parts);
}

#[test]
fn shapes() {
    refused_line("moed: ALLOW_ANY", &["unknown field `moed`", "line 2 column 1"]);
    refused_line("mode: ALLOW_ALL", &["mode", "ALLOW_ALL", "REGISTRY_ONLY", "line 2 column 7"]);
    refused_line("dns: {resolver: [1.2.3.4]}", &["dns", "unknown field `resolver`", "line 2"]);
    refused_line(
        "dns: {resolvers: [dns.example]}",
        &["dns.resolvers[0]", "dns.example", "line 2 column 18"],
    );
    refused_line("dns: {resolvers: ['1.2.3.4:0']}", &["dns.resolvers[0]", "no port"]);
    refused_line("dns: {grace: 30}", &["dns.grace", "line 2"]);
    refused_line("dns: {grace: soon}", &["dns.grace", "soon", "30s", "line 2"]);
    refused_line("dns: {minimumTtl: 2days}", &["dns.minimumTtl", "longer than a day"]);
    refused_line(
        "dns: {internalDomains: ['*.local']}",
        &["dns.internalDomains[0]", "without a star"],
    );
    refused_line("clusterCidrs: [10.0.0.0/33]", &["clusterCidrs[0]", "10.0.0.0/33", "line 2"]);
    refused_line("clusterCidrs: ['::/0']", &["clusterCidrs[0]", "every IPv4"]);
    refused_line(
        "dns: {queryTypes: [A, TEXT]}",
        &["dns.queryTypes[1]", "`TEXT`", "line 2 column 19"],
    );
    refused_line(
        "dns: {tunnel: {labelLength: 64}}",
        &["dns.tunnel.labelLength", "`64`", "from 1 to 63", "line 2"],
    );
    refused_line("dns: {tunnel: {labels: 3}}", &["dns.tunnel", "unknown field `labels`", "line 2"]);
    refused_line("dns: {queryTypes: []}", &["dns.queryTypes", "empty list", "line 2"]);
    refused_line("metrics: {listen: 9469}", &["metrics.listen", "line 2"]);
    refused_line("sidecar: {port: 0}", &["sidecar.port", "line 2"]);
    refused_line("socket: run/x", &["`socket`", "`run/x`", "absolute"]);
    refused_line("mode: [", &["`mode`", "one word", "line 2 column 7"]);
    refused_line("dns: {resolvers: [", &["line 3"]);
    refused_line("mode: ALLOW_ANY\nmode: ALLOW_ANY", &["duplicate", "mode"]);
}

#[test]
fn what_is_not_built_is_refused() {
    refused_line("match: loose", &["match", "loose", "line 2"]);
}

/// A cluster is a source of workloads and of the registry: neither need be listed beside it.
#[test]
fn a_cluster_is_enough() {
    let config = Config::parse("kubernetes: {enabled: true, nodeName: n1}").expect("valid");
    assert!(config.kubernetes.is_some() && config.workloads.is_empty());
    assert!(config.registry.files.is_empty(), "the usual folder need not be there");
    let both =
        Config::parse("kubernetes: {enabled: true}\nregistry: {files: [/r]}").expect("valid");
    assert_eq!(both.registry.files, [Path::new("/r")]);
    assert!(Config::parse(WORKLOAD).expect("valid").kubernetes.is_none());
    refused_line(
        "kubernetes: {nodename: n1}",
        &["kubernetes", "unknown field `nodename`", "line 2"],
    );
    refused_line("kubernetes: {meshConfigMap: istio}", &["meshConfigMap", "istio-system/istio"]);
}

#[test]
fn workloads() {
    refused("", &["workloads", "kubernetes"]);
    refused("workloads: []", &["workloads", "kubernetes"]);
    let two = |a: &str, b: &str| {
        format!("workloads: [{{namespace: n, name: a, {a}}}, {{namespace: n, name: b, {b}}}]")
    };
    refused(&two("cgroup: /c/x", "labels: {}"), &["n/b", "cgroup", "interface"]);
    refused(&two("cgroup: /c/x", "cgroup: /c/x/"), &["n/b", "/c/x"]);
    refused(&two("interface: v", "interface: v"), &["n/b", "interface v"]);
    refused(&two("cgroup: /c/x", "cgroup: c"), &["workloads[1].cgroup", "absolute", "line 1"]);
    refused(&two("cgroup: /c/x", "cgroup: /c/../d"), &["workloads[1].cgroup", ".."]);
    refused(
        &two("cgroup: /c/x", "interface: much-too-long-name"),
        &["workloads[1].interface", "15"],
    );
    refused(&two("cgroup: /sys/fs/cgroup/", "interface: v"), &["n/a", "root of a cgroup tree"]);
    refused(
        &two(
            "cgroup: /c/x",
            "interface: v, addresses: [1.1.1.1, 1.1.1.2, 1.1.1.3, 1.1.1.4, 1.1.1.5]",
        ),
        &["n/b", "addresses"],
    );
    refused(
        "workloads: [{namespace: n, name: a, interface: v}, {namespace: n, name: a, interface: w}]",
        &["n/a", "twice"],
    );
    refused("workloads: [{name: a, interface: v}]", &["workloads[0]", "namespace", "line 1"]);
    refused(
        "workloads: [{namespace: N, name: a, interface: v}]",
        &["workloads[0].namespace", "lower-case"],
    );
    for elsewhere in ["/c/y/proxy", "/c/x/a/proxy", "/c/x", "/c"] {
        let second = format!("cgroup: /c/x, sidecarCgroup: {elsewhere}");
        refused(&two("cgroup: /c/w", &second), &["n/b", "directly below", elsewhere]);
    }
    refused(&two("cgroup: /c/x", "interface: v, sidecarCgroup: /c/y"), &["n/b", "directly below"]);
    let good = two("cgroup: /c/x", "cgroup: /c/y, sidecarCgroup: /c/y/proxy");
    assert!(Config::parse(&good).is_ok());
    refused_line("cgroupRoot: /sys/fs/cgroup/unified", &["cgroupRoot", "root of a cgroup tree"]);
    refused_line("cgroupRoot: /sys/fs/cgroup/other", &["default/web", "not below cgroupRoot"]);
}

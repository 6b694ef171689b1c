//! Every configuration that is shipped is one that the agent takes.

use exeat_agent::config::{Config, Mode};
use serde_yaml::Value;

use crate::deployed;

/// As the agent reads it from the file in the `ConfigMap`.
pub(crate) fn parse(text: &str) -> Config {
    let config = Config::parse(text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
    assert!(config.kubernetes.is_some(), "no cluster is read: {text}");
    config
}

/// The section of the chart's values that becomes the file.
pub(crate) fn of_values(path: &str) -> String {
    let values: Value = serde_yaml::from_str(&deployed(path)).expect("YAML");
    serde_yaml::to_string(&values["config"]).expect("YAML")
}

#[test]
fn of_kustomize() {
    let base = parse(&deployed("kustomize/base/exeat.yaml"));
    assert_eq!(base.mode, Mode::RegistryOnly);
    let audit_only = parse(&deployed("kustomize/overlays/audit-only/exeat.yaml"));
    assert_eq!(audit_only.mode, Mode::AllowAny);
    assert_eq!(Config { mode: Mode::RegistryOnly, ..audit_only }, base);
    parse(&deployed("kustomize/overlays/istio/exeat.yaml"));
}

/// That each becomes what the overlays say is what `cargo xtask manifests` checks.
#[test]
fn of_the_chart() {
    let chart = parse(&of_values("helm/exeat/values.yaml"));
    assert_eq!(chart, parse(&deployed("kustomize/base/exeat.yaml")));
    parse(&of_values("tests/every-key.yaml"));
}

/// Where the manifests mount what the agent keeps on the node.
#[test]
fn paths_are_those_that_are_mounted() {
    let config = parse(&deployed("kustomize/base/exeat.yaml"));
    let daemon_set = deployed("kustomize/base/daemon-set.yaml");
    for path in [&config.pin_path, &config.socket] {
        let folder = path.parent().expect("a folder").display();
        let mount = format!("mountPath: {folder}\n");
        assert!(daemon_set.contains(&mount), "{folder} is not mounted");
    }
    let port = format!("containerPort: {}\n", config.metrics_listen.port());
    assert!(daemon_set.contains(&port), "{port}");
}

//! `manifests`: renders what `deploy/` installs, and holds it against schemas, linters and itself.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail, ensure};

use self::{render::Rendered, tools::Tools};
use crate::run;

mod compare;
mod dashboard;
mod render;
mod tools;

/// The oldest release that the manifests are for, and the newest that the schemas know.
const KUBERNETES: [&str; 2] = ["1.30", "1.37"];
const CHART: &str = "deploy/helm/exeat";
const RULES: &str = "deploy/helm/exeat/files/rules.yaml";
const DASHBOARD: &str = "deploy/helm/exeat/files/dashboard.json";
const RULE_TESTS: &str = "deploy/tests/alerts.yaml";

/// What the chart is told, to be the overlay for Istio with the other profile of system calls.
const ISTIO: &str = "deploy/tests/istio.yaml";
/// What it is told, to bring the monitoring.
const MONITORED: &str = "deploy/tests/monitored.yaml";
/// Every key of the configuration, and what else can be chosen.
const EVERY_KEY: &str = "deploy/tests/every-key.yaml";

/// What a site writes beside Istio, and to be watched. Paths begin in `target/manifests/sites/NAME`.
const ISTIO_SITE: &str = "\
resources: [../../../../deploy/kustomize/overlays/istio]
components: [../../../../deploy/kustomize/components/localhost-seccomp]
";
const MONITORING_SITE: &str = "components: [../../../../deploy/kustomize/components/monitoring]\n";

/// Values that the chart must refuse, with a word of what it then says.
const REFUSED: [(&str, &str); 4] = [
    ("config.moed=ALLOW_ANY", "moed"),
    ("config.mode=ALLOW_ALL", "mode"),
    ("config.kubernetes.enabled=false", "enabled"),
    ("podMonitor.enabled=true", "loopback"),
];

/// Checks everything; a line for each thing that holds.
pub(crate) fn manifests() -> Result<()> {
    let tools = Tools::ensure()?;
    let base = kustomize(&tools, "base", "deploy/kustomize/base")?;
    kustomize(&tools, "audit-only", "deploy/kustomize/overlays/audit-only")?;
    kustomize(&tools, "uninstall", "deploy/kustomize/uninstall")?;
    let istio = kustomize(&tools, "istio", &site("istio", ISTIO_SITE)?)?;
    let monitoring = kustomize(&tools, "monitoring", &site("monitoring", MONITORING_SITE)?)?;

    run::output(tools.helm().args(["lint", "--strict", CHART]))?;
    println!("manifests: the chart passes `helm lint`");
    let chart = helm(&tools, "chart", &[])?;
    let chart_istio = helm(&tools, "chart-istio", &["--values", ISTIO])?;
    let chart_monitored = helm(&tools, "chart-monitored", &["--values", MONITORED])?;
    helm(&tools, "chart-every-key", &["--values", EVERY_KEY])?;
    for (values, word) in REFUSED {
        refused(&tools, values, word)?;
    }
    println!("manifests: the chart refuses values that the agent would refuse");

    compare::same("kustomize base", &base, "chart", &chart)?;
    compare::same("overlay istio", &istio, "chart for Istio", &chart_istio)?;
    compare::within("monitoring", &monitoring, "chart with monitoring", &chart_monitored)?;
    println!("manifests: kustomize and the chart say the same");

    run::output(tools.promtool().args(["check", "rules", RULES]))?;
    run::output(tools.promtool().args(["test", "rules", RULE_TESTS]))?;
    println!("manifests: the alerts pass `promtool check rules` and their tests");
    let expressions = dashboard::as_rules(&read(DASHBOARD)?)?;
    let rules = run::target("manifests/dashboard.rules.yaml");
    write(&rules, &expressions)?;
    run::output(tools.promtool().args(["check", "rules"]).arg(&rules))?;
    println!("manifests: the expressions of the dashboard pass `promtool check rules`");
    Ok(())
}

fn kustomize(tools: &Tools, name: &str, folder: &str) -> Result<Rendered> {
    let text = run::output(tools.kubectl().args(["kustomize", folder]))?;
    checked(tools, name, &text)
}

fn helm(tools: &Tools, name: &str, values: &[&str]) -> Result<Rendered> {
    let text = run::output(template(tools).args(values))?;
    checked(tools, name, &text)
}

fn template(tools: &Tools) -> std::process::Command {
    let mut helm = tools.helm();
    helm.args(["template", "exeat", CHART, "--namespace", "exeat-system"]);
    helm
}

fn refused(tools: &Tools, values: &str, word: &str) -> Result<()> {
    match run::output(template(tools).args(["--set", values])) {
        Ok(_) => bail!("the chart takes the value {values}, and must refuse it"),
        Err(error) => {
            let text = error.to_string();
            // The command is in the error too, and must not be taken for what it answered.
            let answer = text.split_once('\n').map_or("", |(_, answer)| answer);
            ensure!(answer.contains(word), "the chart refuses {values} without `{word}`: {answer}");
            Ok(())
        }
    }
}

/// Writes what was rendered to `target/manifests`, and validates it.
fn checked(tools: &Tools, name: &str, text: &str) -> Result<Rendered> {
    let rendered =
        Rendered::parse(text).with_context(|| format!("what was rendered for {name}"))?;
    write(&run::target(&format!("manifests/{name}.yaml")), text)?;
    let built_in = run::target(&format!("manifests/{name}.built-in.yaml"));
    write(&built_in, &rendered.built_in()?)?;
    let count = rendered.built_in_count();
    for version in KUBERNETES {
        let said = run::output(tools.validate().args(["--strict", "-k", version]).arg(&built_in))
            .with_context(|| format!("{name} for Kubernetes {version}"))?;
        // An object without a schema is passed over with a warning only.
        let passed = said.lines().filter(|line| line.contains(" passed for resource ")).count();
        ensure!(
            passed == count,
            "{name} for Kubernetes {version}: {passed} of {count} objects were validated:\n{said}"
        );
    }
    println!(
        "manifests: {name}: {count} objects fit the schemas of {}{}",
        KUBERNETES.join(" and "),
        rendered.others().map(|kinds| format!("; without a schema: {kinds}")).unwrap_or_default()
    );
    Ok(rendered)
}

/// Writes a kustomization as a site would, and returns its folder.
fn site(name: &str, text: &str) -> Result<String> {
    let folder = run::target("manifests/sites").join(name);
    write(&folder.join("kustomization.yaml"), text)?;
    Ok(folder.display().to_string())
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(run::root().join(path)).with_context(|| format!("cannot read {path}"))
}

fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

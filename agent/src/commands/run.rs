//! `exeat run`: every check first, then the kernel, then the agent.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use exeat_agent::{
    app::{self, Ground},
    config::{Config, InvalidConfig},
    datapath,
    kubernetes::client::Cluster,
    lock::Lock,
    preflight,
    reconcile::{self, exempt_own_pod},
    registry::file::load_first,
    shutdown::Signals,
    workloads::{
        census::Site,
        kubelet::{
            cni::FOLDER,
            root::{NoRoot, find, own_pod},
        },
        place::SystemNode,
    },
};
use tokio_util::sync::CancellationToken;

use super::{Exit, Failure, Outcome};

/// Run the agent
///
/// Checks the configuration and the node, loads the registry, and enforces it until it is
/// stopped. Programs and tables stay in the kernel then: enforcement goes on, and the next agent
/// takes it over. `exeat cleanup` ends it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
exeat run --config /etc/exeat/exeat.yaml\n  \
EXEAT_LOG=debug exeat run --config exeat.yaml --log-format json\n\n\
A configuration that is enough to begin with:\n  \
registry: {files: [/etc/exeat/registry.d]}\n  \
cgroupRoot: /sys/fs/cgroup/demo\n  \
workloads:\n  \
- {namespace: default, name: web, cgroup: /sys/fs/cgroup/demo/web, interface: veth-web}\n  \
dns: {resolvers: [10.0.0.53]}")]
pub(super) struct RunArgs {
    /// The configuration file (YAML)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Worker threads: one for reconcile, which talks to the kernel, and one for the rest.
const WORKERS: usize = 2;

pub(super) fn run(args: &RunArgs) -> Outcome {
    let config = read_config(&args.config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("start the runtime")?;
    let result = runtime.block_on(serve(config));
    runtime.shutdown_background();
    result.map(|()| Exit::Good)
}

/// Reads a configuration that the agent is to enforce.
pub(super) fn read_config(path: &Path) -> Result<Config, Failure> {
    read_as(path, Config::parse)
}

/// Reads a configuration, for every command that takes one.
pub(super) fn read_as<T>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, InvalidConfig>,
) -> Result<T, Failure> {
    let text = fs::read_to_string(path)
        .with_context(|| {
            format!("configuration {}: it cannot be read (is the path right?)", path.display())
        })
        .map_err(Failure::usage)?;
    parse(&text).map_err(|error| Failure::usage(anyhow!("{}: {error}", path.display())))
}

async fn serve(config: Config) -> Result<(), Failure> {
    let signals = Signals::subscribe().context("subscribe to signals")?;
    let stop = CancellationToken::new();
    // Nothing in the kernel is touched before all of these have passed.
    preflight::check(&config.pin_path)?;
    let _lock = Lock::take(&config.socket)?;
    let registry = load_first(&config.registry.files)
        .map_err(|errors| anyhow!("{} (nothing was changed)", errors.join("; ")))?;
    let node = SystemNode;
    let missing = reconcile::missing_places(&config, &node);
    if !missing.is_empty() {
        return Err(anyhow!("{}", missing.join("; ")).into());
    }
    let cluster = match &config.kubernetes {
        Some(kubernetes) => Some(Cluster::connect(kubernetes).await?),
        None => None,
    };
    let site = site(&config)?;
    let (mut datapath, events) = datapath::aya::open(&config)?;
    if let Some(site) = &site
        && let Some(own) = own_pod(&site.root).context("look for the pod of the agent")?
    {
        exempt_own_pod(&mut datapath, own)?;
    }
    let node = Box::new(node);
    let agent_stop = stop.clone();
    let ground =
        Ground { config, datapath, events, node, registry, cluster, site, stop: agent_stop };
    let meaning = "stopping; links and tables stay pinned, enforcement goes on";
    Ok(signals.guard(stop, meaning, Box::pin(app::run(ground))).await?)
}

/// Where the pods of this node are, if they are to be enforced.
fn site(config: &Config) -> Result<Option<Site>, NoRoot> {
    let Some(kubernetes) = config.kubernetes.as_ref().filter(|it| it.pods) else {
        return Ok(None);
    };
    Ok(Some(Site {
        root: find(config.cgroup_root.as_deref())?,
        cni_cache: FOLDER.into(),
        is_without_veths: !kubernetes.veths,
    }))
}

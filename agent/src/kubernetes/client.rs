//! The connection to the API server: from where its address and our credentials come.

use std::{path::PathBuf, time::Duration};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use crate::config::kubernetes::{Access, ConfigMapName, Kubernetes};

/// A cluster that can be asked, and what of it matters here.
#[derive(Clone)]
pub struct Cluster {
    pub client: Client,
    /// Name of this node.
    pub node: String,
    pub mesh: Option<ConfigMapName>,
}

/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long an answer may stay silent: longer than a watch may ([`super::follow::WATCH_FOR`]).
const SILENT_FOR: Duration = Duration::from_secs(super::follow::WATCH_FOR as u64 + 15);
/// The environment variable by which a pod tells its process the name of its node.
const NODE_NAME: &str = "NODE_NAME";

/// Why the cluster cannot be asked. Whether the API server answers is found out later.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(
        "kubernetes: {0} (does the agent run in a pod with a service account? else set `kubernetes.kubeconfig`)"
    )]
    InCluster(#[source] Box<kube::config::InClusterError>),
    #[error("kubernetes.kubeconfig: {path}: {source}")]
    Kubeconfig { path: PathBuf, source: Box<KubeconfigError> },
    #[error("kubernetes: make a client: {0}")]
    Client(#[source] Box<kube::Error>),
    #[error(
        "kubernetes: which node is this? Set the environment variable {NODE_NAME} (from the field spec.nodeName of the agent's pod) or the key `kubernetes.nodeName`"
    )]
    NoNode,
}

impl Cluster {
    /// Makes a client. Nothing is asked yet.
    pub async fn connect(kubernetes: &Kubernetes) -> Result<Self, ConnectError> {
        let node = node_name(kubernetes)?;
        let mesh = kubernetes.mesh_config_map.clone();
        Ok(Self { client: client(&kubernetes.access).await?, node, mesh })
    }
}

async fn client(access: &Access) -> Result<Client, ConnectError> {
    let mut config = match access {
        Access::InCluster => {
            Config::incluster().map_err(|it| ConnectError::InCluster(Box::new(it)))?
        }
        Access::Kubeconfig(path) => {
            let refused =
                |source| ConnectError::Kubeconfig { path: path.clone(), source: Box::new(source) };
            let file = Kubeconfig::read_from(path).map_err(refused)?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(file, &options).await.map_err(refused)?
        }
    };
    config.connect_timeout = Some(CONNECT_WITHIN);
    config.read_timeout = Some(SILENT_FOR);
    config.reset_reader_on_write = true;
    Client::try_from(config).map_err(|it| ConnectError::Client(Box::new(it)))
}

fn node_name(kubernetes: &Kubernetes) -> Result<String, ConnectError> {
    let by_environment = || std::env::var(NODE_NAME).ok().filter(|name| !name.is_empty());
    kubernetes.node.clone().or_else(by_environment).ok_or(ConnectError::NoNode)
}

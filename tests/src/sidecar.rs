//! A proxy in a pod that is no Envoy: it says of each connection where it was going.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::agent::AgentFiles;
use crate::node::{Node, Pod};
use crate::pod_client::{Background, probe_binary};

/// Where redirected connections are taken, unless the configuration says otherwise.
pub const PORT: u16 = 15001;

/// Ends with its connections when it is dropped.
#[derive(Debug)]
pub struct Sidecar {
    // Held to add one line or to copy them.
    told: Arc<Mutex<Vec<String>>>,
    _process: Background,
}

impl Sidecar {
    /// In the pod, listening when this returns. What it takes goes on to where it was going.
    pub fn start(pod: &Pod, port: u16) -> Result<Self> {
        Self::run(pod.sidecar_command(probe_binary()?)?.args(["proxy", &port.to_string()]))
    }

    /// One that tells its clients instead.
    pub fn start_telling(pod: &Pod, port: u16) -> Result<Self> {
        Self::run(pod.sidecar_command(probe_binary()?)?.args([
            "proxy",
            "--tell",
            &port.to_string(),
        ]))
    }

    fn run(command: &mut Command) -> Result<Self> {
        let mut child: Child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start a proxy")?;
        let mut lines = BufReader::new(child.stdout.take().context("output of the proxy")?).lines();
        let process = Background::new(child);
        let first = lines.next().context("the proxy ended")??;
        ensure!(first == "ready", "the proxy said {first}");
        let told = Arc::default();
        let kept: Arc<Mutex<Vec<String>>> = Arc::clone(&told);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Ok(Self { told, _process: process })
    }

    /// What it was told of its connections so far, in their order.
    pub fn told(&self) -> Vec<String> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl AgentFiles {
    /// The configuration in which these pods have a proxy.
    pub fn config_with_sidecars(&self, node: &Node, pods: &[&Pod]) -> String {
        pods.iter().fold(self.config_for(node), |config, pod| {
            let interface = format!("  interface: {}\n", pod.interface);
            let sidecar =
                format!("{interface}  sidecarCgroup: {}\n", pod.sidecar_cgroup().display());
            config.replace(&interface, &sidecar)
        })
    }
}

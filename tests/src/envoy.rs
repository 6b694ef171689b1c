//! The real Envoy: where it is, and starting it with a configuration.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::netns::NetNs;
use crate::pod_client::Background;
use crate::wait;

const UP_WITHIN: Duration = Duration::from_secs(30);

/// Where `cargo xtask setup` puts it.
pub fn binary() -> Result<PathBuf> {
    let current = std::env::current_exe().context("path of this program")?;
    let found = current
        .ancestors()
        .map(|folder| folder.join("tools/envoy/envoy/_bin/envoy"))
        .find(|path| path.exists());
    found.context("Envoy is not there (cargo xtask setup)")
}

/// Starts it by a command that was made for its binary, and waits until it listens everywhere.
pub fn start(
    mut command: Command,
    config: &Path,
    workers: u8,
    netns: &NetNs,
    listens_at: &[SocketAddr],
) -> Result<Background> {
    // It would end with who started it if it could be restarted hot.
    command.arg("-c").arg(config).args(["--concurrency", &workers.to_string()]);
    command.args(["--disable-hot-restart", "--log-level", "warning"]).stdout(Stdio::null());
    let envoy = Background::new(command.spawn().context("start Envoy")?);
    for to in listens_at {
        let listens =
            || netns.run(|| TcpStream::connect(to)).is_ok_and(|connected| connected.is_ok());
        ensure!(wait::holds(UP_WITHIN, listens), "Envoy does not listen at {to}");
    }
    Ok(envoy)
}

//! A real dnsmasq, for what our own server does not show: that a resolver which users have works as well.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::pod_client::Background;
use crate::wait;

const UP_WITHIN: Duration = Duration::from_secs(10);

/// Ends with its value.
#[derive(Debug)]
pub struct Dnsmasq {
    _process: Background,
}

impl Dnsmasq {
    /// Starts it on one address, with nothing to say but what `options` give. `command` makes a
    /// command of a program where it is to run; its dig asks until there is an answer.
    pub fn start(
        command: impl Fn(&str) -> Result<Command>,
        listen: SocketAddr,
        options: &[&str],
    ) -> Result<Self> {
        let child = command("dnsmasq")?
            .args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--bind-interfaces"])
            .args(["--conf-file=/dev/null", "--pid-file=", "--user=root", "--local-ttl=60"])
            .arg(format!("--listen-address={}", listen.ip()))
            .arg(format!("--port={}", listen.port()))
            .args(options)
            .stderr(Stdio::null())
            .spawn()
            .context("start dnsmasq (Debian package dnsmasq-base)")?;
        let process = Background::new(child);
        let (server, port) = (format!("@{}", listen.ip()), listen.port().to_string());
        let is_up = || {
            let asked = command("dig").and_then(|mut dig| {
                let dig = dig.args(["+tries=1", "+timeout=1", "-p", &port, &server, "up.example"]);
                dig.output().context("run dig (Debian package bind9-dnsutils)")
            });
            asked.is_ok_and(|output| output.status.success())
        };
        ensure!(wait::holds(UP_WITHIN, is_up), "dnsmasq does not answer on {listen}");
        Ok(Self { _process: process })
    }
}

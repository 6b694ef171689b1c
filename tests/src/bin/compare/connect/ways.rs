//! What may stand in the way of the pods, put there and taken away again.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use exeat_tests::node::RESOLVER_V4;
use exeat_tests::pod_client::Kind;
use exeat_tests::sidecar;

use super::ENTRIES;
use super::stage::{GRANTED, NAME, PORT, Stage};

/// The mark on what comes from the proxy.
pub(crate) const PROXY_MARK: u32 = 1337;
/// What begins or ends shall have come to rest.
const REST: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    Nothing,
    Exeat,
    Nftables,
    Iptables,
}

impl Stage {
    pub(crate) fn enter(&mut self, setting: Setting) -> Result<()> {
        match setting {
            Setting::Nothing => {}
            Setting::Exeat => {
                self.agent = Some(self.files.start(&self.node)?);
                for pod in &self.pods {
                    let learned = pod.address_of(NAME, Kind::A)?;
                    ensure!(learned == GRANTED.ip(), "{NAME} is {learned}");
                }
            }
            Setting::Nftables => {
                let nft = self.node.command(Path::new("nft"))?;
                run(nft, &["-f", "-"], &nftables_rules())?;
            }
            Setting::Iptables => self.redirect("-A")?,
        }
        sleep(REST);
        Ok(())
    }

    pub(crate) fn leave(&mut self, setting: Setting) -> Result<()> {
        match setting {
            Setting::Nothing => Ok(()),
            Setting::Exeat => {
                self.agent.take().context("the agent is not there")?.stop()?;
                self.files.clean_up(&self.node)
            }
            Setting::Nftables => {
                let nft = self.node.command(Path::new("nft"))?;
                run(nft, &["delete", "table", "inet", "compare"], "")
            }
            Setting::Iptables => self.redirect("-D"),
        }
    }

    /// As Istio's rules do: all but what comes from the proxy, and what stays in the pod.
    fn redirect(&self, action: &str) -> Result<()> {
        let [_, pod] = &self.pods;
        // In the pod's namespace, yet no process of the pod: the rules are the node's business.
        let outside = self.node.run().cgroup().join("outside");
        let command = pod.netns.command(Path::new("iptables"), &outside)?;
        let (mark, port) = (PROXY_MARK.to_string(), sidecar::PORT.to_string());
        let rule = ["-w", "-t", "nat", action, "OUTPUT", "-p", "tcp", "!", "-d", "127.0.0.0/8"];
        let of = ["-m", "mark", "!", "--mark", &mark, "-j", "REDIRECT", "--to-ports", &port];
        run(command, &[&rule[..], &of].concat(), "")
    }
}

/// As such sets are used: answers are known by their connection, the rest is looked up.
fn nftables_rules() -> String {
    let mut elements = format!("{} . {PORT}", GRANTED.ip());
    for number in 1..ENTRIES {
        let [high, low] = number.to_be_bytes();
        let _infallible = write!(elements, ", 198.18.{high}.{low} . {PORT}");
    }
    format!(
        "table inet compare {{\n\
         set granted {{ type ipv4_addr . inet_service; elements = {{ {elements} }}; }}\n\
         chain forward {{\n\
         type filter hook forward priority filter; policy drop;\n\
         ct state established,related accept\n\
         ip daddr . tcp dport @granted accept\n\
         ip daddr {RESOLVER_V4} udp dport 53 accept\n\
         meta l4proto tcp reject with tcp reset\n\
         }}\n}}\n"
    )
}

fn run(mut command: Command, arguments: &[&str], input: &str) -> Result<()> {
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {command:?} (cargo xtask setup)"))?;
    child.stdin.take().context("its standard input")?.write_all(input.as_bytes())?;
    let status = child.wait().context("wait for it")?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

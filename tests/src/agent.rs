//! Drives the real agent: its configuration and registry folder, its process in the node's
//! namespace, and what it says of itself.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::metrics::Metrics;
use crate::netns::NetNs;
use crate::node::{Node, RESOLVER_V4, RESOLVER_V6};
use crate::wait;

/// How long an agent may take to be ready, unless a test says otherwise.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// An agent that was asked to end.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9469);

/// Where an agent of a node has its files. Outlives the agent's process.
#[derive(Clone, Debug)]
pub struct AgentFiles {
    binary: PathBuf,
    dir: PathBuf,
    pub pin_path: PathBuf,
    /// From the start of the process to `/readyz` answering 200.
    pub ready_within: Duration,
}

impl AgentFiles {
    /// Writes a configuration that enforces all pods the node has by now.
    pub fn new(node: &Node) -> Result<Self> {
        let dir = node.run().dir().to_owned();
        let pin_path = node.run().bpffs().join("exeat");
        let files = Self { binary: binary()?, dir, pin_path, ready_within: READY_WITHIN };
        fs::create_dir_all(files.registry()).context("make the registry folder")?;
        files.write_config(&files.config_for(node))?;
        Ok(files)
    }

    pub fn binary(&self) -> &Path {
        &self.binary
    }

    pub fn config(&self) -> PathBuf {
        self.dir.join("exeat.yaml")
    }

    pub fn registry(&self) -> PathBuf {
        self.dir.join("registry.d")
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("exeat.sock")
    }

    pub fn log(&self) -> PathBuf {
        self.dir.join("agent.log")
    }

    pub fn log_text(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// The text of a configuration for the node's pods.
    pub fn config_for(&self, node: &Node) -> String {
        let mut workloads = String::new();
        for pod in node.pods() {
            let (namespace, name) = (&pod.namespace, &pod.name);
            let (cgroup, v4, v6) = (pod.cgroup.display(), pod.v4, pod.v6);
            let place = match &pod.own_netns {
                _ if pod.is_held_on_wire => format!("  interface: {}\n", pod.interface),
                Some(netns) => format!("  netns: {}\n", netns.display()),
                None => String::new(),
            };
            write!(
                workloads,
                "- namespace: {namespace}\n  name: {name}\n  labels: {{app: {name}}}\n  \
                 cgroup: {cgroup}\n{place}  addresses: [{v4}, \"{v6}\"]\n"
            )
            .expect("invariant: writing to a String does not fail");
        }
        format!(
            "mode: REGISTRY_ONLY\n\
             registry: {{files: [{registry}], watch: true}}\n\
             cgroupRoot: {root}\n\
             workloads:\n{workloads}\
             dns: {{resolvers: [\"{RESOLVER_V4}\", \"{RESOLVER_V6}\"]}}\n\
             metrics: {{listen: \"{METRICS}\"}}\n\
             socket: {socket}\n\
             pinPath: {pins}\n",
            registry = self.registry().display(),
            root = node.cgroup_root().display(),
            socket = self.socket().display(),
            pins = self.pin_path.display(),
        )
    }

    pub fn write_config(&self, text: &str) -> Result<()> {
        fs::write(self.config(), text).context("write the configuration")
    }

    /// Puts a manifest into the registry folder, whole from the first moment.
    pub fn put(&self, file: &str, manifest: &str) -> Result<()> {
        let draft = self.dir.join("manifest.draft");
        fs::write(&draft, manifest).with_context(|| format!("write {}", draft.display()))?;
        let path = self.registry().join(file);
        fs::rename(&draft, &path).with_context(|| format!("write {}", path.display()))
    }

    pub fn remove(&self, file: &str) -> Result<()> {
        let path = self.registry().join(file);
        fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))
    }

    /// A command line of `exeat` on the node.
    pub fn command(&self, node: &Node, args: &[&str]) -> Result<Command> {
        let mut command = node.command(&self.binary)?;
        command.args(args).stdin(Stdio::null());
        Ok(command)
    }

    /// Runs `exeat run` where it is expected to give up by itself, and collects its words.
    pub fn run_to_end(&self, node: &Node) -> Result<Output> {
        self.to_end(self.run_command(node)?)
    }

    /// The same for a prepared command line.
    pub fn to_end(&self, mut command: Command) -> Result<Output> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("start exeat")?;
        let ended = wait::until(ENDS_WITHIN, || child.try_wait().transpose()).transpose()?;
        if ended.is_none() {
            child.kill()?;
            let output = child.wait_with_output()?;
            bail!("exeat did not end by itself, it said:\n{}", text(&output));
        }
        child.wait_with_output().context("output of exeat")
    }

    /// `exeat run --config FILE`, not started yet.
    pub fn run_command(&self, node: &Node) -> Result<Command> {
        let config = self.config();
        let mut command = self.command(node, &["run", "--config"])?;
        command.arg(config);
        Ok(command)
    }

    /// Starts the agent and waits until it says that everything is enforced.
    pub fn start(&self, node: &Node) -> Result<Agent> {
        let open = || fs::File::options().create(true).append(true).open(self.log());
        let mut command = self.run_command(node)?;
        command.stdout(open().context("open the agent's log")?);
        command.stderr(open().context("open the agent's log")?);
        let child = command.spawn().with_context(|| format!("start {}", self.binary.display()))?;
        let mut agent = Agent { child, files: self.clone(), netns: node.netns().clone() };
        let mut ended = None;
        let ready = wait::holds(self.ready_within, || {
            ended = agent.child.try_wait().unwrap_or(None);
            ended.is_some() || agent.http("/readyz").is_ok_and(|(status, _)| status == 200)
        });
        match ended {
            Some(status) => bail!("the agent ended with {status}; its log:\n{}", self.log_text()),
            None if !ready => bail!("the agent is not ready; its log:\n{}", self.log_text()),
            None => Ok(agent),
        }
    }

    /// `exeat cleanup`: takes everything out of the kernel.
    pub fn clean_up(&self, node: &Node) -> Result<()> {
        let mut command = self.command(node, &["cleanup", "--config"])?;
        let output = command.arg(self.config()).output().context("run exeat cleanup")?;
        if !output.status.success() {
            bail!("exeat cleanup ended with {}:\n{}", output.status, text(&output));
        }
        Ok(())
    }

    /// Names of what is pinned, below the pin path.
    pub fn pinned(&self) -> Vec<PathBuf> {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
            let Ok(entries) = fs::read_dir(folder) else {
                return;
            };
            for path in entries.flatten().map(|entry| entry.path()) {
                if path.is_dir() {
                    walk(&path, found);
                } else {
                    found.push(path);
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.pin_path, &mut found);
        found
    }
}

/// A running agent. Dropping it ends it the hard way; what it pinned stays.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    files: AgentFiles,
    netns: NetNs,
}

impl Agent {
    pub fn files(&self) -> &AgentFiles {
        &self.files
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("kill the agent")?;
        self.child.wait().context("wait for the agent")?;
        Ok(())
    }

    /// SIGTERM, and waits for an orderly end.
    pub fn stop(mut self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, Signal::SIGTERM).context("SIGTERM to the agent")?;
        let ended = wait::until(ENDS_WITHIN, || self.child.try_wait().transpose()).transpose()?;
        match ended {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("after SIGTERM the agent ended with {status}"),
            None => bail!("the agent did not end after SIGTERM"),
        }
    }

    /// Scrapes `/metrics`.
    pub fn metrics(&self) -> Result<Metrics> {
        let (status, body) = self.http("/metrics")?;
        if status != 200 {
            bail!("/metrics answered {status}");
        }
        Metrics::parse(&body)
    }

    /// `exeat status -o json`.
    pub fn status(&self, node: &Node) -> Result<serde_json::Value> {
        let mut command = self.files.command(node, &["status", "-o", "json", "--socket"])?;
        let output = command.arg(self.files.socket()).output().context("run exeat status")?;
        if !output.status.success() {
            bail!("exeat status ended with {}:\n{}", output.status, text(&output));
        }
        serde_json::from_slice(&output.stdout).context("output of exeat status")
    }

    /// GET a page of the agent's HTTP server from inside the node.
    pub fn http(&self, page: &str) -> Result<(u16, String)> {
        self.netns.run(|| fetch(METRICS, page))?
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already, and nothing can be done about an error here.
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("exeat-tests: end the agent: {error}");
        }
    }
}

/// HTTP/1.0, so that the end of the connection is the end of the page.
pub(crate) fn fetch(server: SocketAddr, page: &str) -> Result<(u16, String)> {
    let timeout = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&server, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    write!(stream, "GET {page} HTTP/1.0\r\nHost: exeat\r\n\r\n")?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let (head, body) = reply.split_once("\r\n\r\n").context("no end of the HTTP header")?;
    let status = head.split(' ').nth(1).context("no HTTP status")?;
    Ok((status.parse()?, body.to_owned()))
}

/// What a program said, for an error message.
pub fn text(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout);
    format!("{}{}", stdout, String::from_utf8_lossy(&output.stderr))
}

/// `EXEAT_BIN`, or the release build in the target folder this program is in.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("EXEAT_BIN") {
        return Ok(path.into());
    }
    let current = std::env::current_exe().context("path of this program")?;
    current
        .ancestors()
        .map(|folder| folder.join("release/exeat"))
        .find(|path| path.exists())
        .context("the agent is not built (cargo xtask build), and EXEAT_BIN names none")
}

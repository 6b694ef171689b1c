//! Runs clients in a pod: `exeat-probe`, and real tools such as curl and dig.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;

use crate::node::{Node, Pod, RESOLVER_V4, RESOLVER_V6};
use crate::probe::{Exchanged, FirstConnects, Flooded, Load, Pace, Reached, Resolved, Stream};

/// Which addresses a client asks for, and over which IP version it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    A,
    Aaaa,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::Aaaa => "aaaa",
        }
    }

    /// The trusted resolver at its address of the same IP version.
    pub fn resolver(self) -> SocketAddr {
        let address = match self {
            Self::A => RESOLVER_V4,
            Self::Aaaa => RESOLVER_V6,
        };
        SocketAddr::new(address, 53)
    }
}

/// What carries a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    pub fn word(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

impl Pod {
    /// Asks the trusted resolver for addresses of `name`.
    pub fn resolve(&self, name: &str, kind: Kind) -> Result<Resolved> {
        self.resolve_at(kind.resolver(), name, kind, &[])
    }

    /// Asks a resolver of choice, with further options of `exeat-probe resolve`.
    pub fn resolve_at(
        &self,
        server: SocketAddr,
        name: &str,
        kind: Kind,
        options: &[&str],
    ) -> Result<Resolved> {
        let server = server.to_string();
        let mut args = vec!["resolve", name, "--server", &server, "--kind", kind.word()];
        args.extend(options);
        self.probe(&args)
    }

    /// Asks questions, each `NAME/TYPE`, over one TCP connection, with options of `exeat-probe
    /// stream`.
    pub fn ask_in_stream(
        &self,
        server: SocketAddr,
        questions: &[&str],
        options: &[&str],
    ) -> Result<Stream> {
        let server = server.to_string();
        let mut args = vec!["stream", "--server", &server];
        args.extend(options);
        args.push("--");
        args.extend(questions);
        self.probe(&args)
    }

    /// Resolves a name that must resolve, and gives its first address.
    pub fn address_of(&self, name: &str, kind: Kind) -> Result<IpAddr> {
        let resolved = self.resolve(name, kind)?;
        let first = resolved.addresses.first().copied();
        first.with_context(|| format!("{name} did not resolve in {}: {resolved:?}", self.name))
    }

    pub fn connect(&self, address: IpAddr, port: u16) -> Result<Reached> {
        self.probe(&["connect", &address.to_string(), &port.to_string()])
    }

    pub fn udp(&self, address: IpAddr, port: u16) -> Result<Reached> {
        self.probe(&["udp", &address.to_string(), &port.to_string()])
    }

    /// The same on a connected socket.
    pub fn udp_connected(&self, address: IpAddr, port: u16) -> Result<Reached> {
        self.probe(&["udp", "--connected", &address.to_string(), &port.to_string()])
    }

    /// Sends bytes in one datagram, and waits for whatever comes back.
    pub fn exchange(&self, to: SocketAddr, bytes: &[u8]) -> Result<Exchanged> {
        let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.probe(&["exchange", &to.to_string(), &digits.concat()])
    }

    /// Resolves `count` names that were never asked for before and connects to each at once.
    pub fn first_connects(
        &self,
        suffix: &str,
        port: u16,
        first: u32,
        count: u32,
        kind: Kind,
    ) -> Result<FirstConnects> {
        self.first_connects_over((Transport::Udp, kind), suffix, port, first, count)
    }

    /// The same over a transport of choice.
    pub fn first_connects_over(
        &self,
        (transport, kind): (Transport, Kind),
        suffix: &str,
        port: u16,
        first: u32,
        count: u32,
    ) -> Result<FirstConnects> {
        let (port, first, count) = (port.to_string(), first.to_string(), count.to_string());
        let server = kind.resolver().to_string();
        let mut args = vec!["resolve-connect", suffix, &port, "--server", &server];
        args.extend(["--first", &first, "--count", &count, "--kind", kind.word()]);
        if transport == Transport::Tcp {
            args.push("--tcp");
        }
        self.probe(&args)
    }

    /// Starts a connect load that goes on for at least `attempts` and until `until` exists.
    pub fn start_load(
        &self,
        allowed: &[SocketAddr],
        denied: &[SocketAddr],
        attempts: u64,
        until: &Path,
    ) -> Result<RunningLoad> {
        let mut command = self.command(probe_binary()?)?;
        command.arg("load").args(["--attempts", &attempts.to_string()]).arg("--until").arg(until);
        for address in allowed {
            command.args(["--allowed", &address.to_string()]);
        }
        for address in denied {
            command.args(["--denied", &address.to_string()]);
        }
        command.stdout(Stdio::piped());
        let child = command.spawn().context("start the load")?;
        Ok(RunningLoad { child })
    }

    /// Starts a process of the pod that keeps a CPU busy until it is dropped.
    pub fn start_burning(&self) -> Result<Background> {
        let child = self.command(probe_binary()?)?.arg("burn").spawn().context("start burning")?;
        Ok(Background { child })
    }

    /// Asks for `n<i>.SUFFIX` and reads no answer.
    pub fn flood_queries(&self, server: SocketAddr, suffix: &str, count: u32) -> Result<Flooded> {
        let (server, count) = (server.to_string(), count.to_string());
        self.probe(&["flood-queries", suffix, "--server", &server, "--count", &count])
    }

    /// Sends a datagram to each of `count` addresses.
    pub fn flood_flows(&self, first: Ipv4Addr, port: u16, count: u32) -> Result<Flooded> {
        let (first, port, count) = (first.to_string(), port.to_string(), count.to_string());
        self.probe(&["flood-flows", &first, &port, "--count", &count])
    }

    /// How long it takes to resolve `name`, over `count` times.
    pub fn pace(&self, name: &str, count: u32) -> Result<Pace> {
        let server = Kind::A.resolver().to_string();
        self.probe(&["pace", name, "--server", &server, "--count", &count.to_string()])
    }

    /// Runs a real tool to its end.
    pub fn tool(&self, program: &str, args: &[&str]) -> Result<Output> {
        let package = "is its Debian package installed?";
        self.command(program)?
            .args(args)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("run {program} in {} ({package})", self.name))
    }

    /// Runs `exeat-probe` as a process of the pod.
    pub fn probe<T: DeserializeOwned>(&self, args: &[&str]) -> Result<T> {
        run_probe(self.command(probe_binary()?)?, args)
    }
}

impl Node {
    /// Runs `exeat-probe` on the internet.
    pub fn internet_probe(&self, args: &[&str]) -> Result<serde_json::Value> {
        run_probe(self.internet_command(&probe_binary()?)?, args)
    }
}

/// Runs `exeat-probe` in the pod's network namespace, but outside of its cgroup: the socket
/// layer does not see it, only the wire layer does.
pub fn probe_outside_cgroup<T: DeserializeOwned>(
    node: &Node,
    pod: &Pod,
    args: &[&str],
) -> Result<T> {
    let cgroup = node.run().cgroup().join("outside");
    run_probe(pod.netns.command(&probe_binary()?, &cgroup)?, args)
}

/// Runs a prepared `exeat-probe` to its end and reads what it prints.
pub fn run_probe<T: DeserializeOwned>(mut command: Command, args: &[&str]) -> Result<T> {
    let line = args.join(" ");
    let output = command.args(args).output().with_context(|| format!("run exeat-probe {line}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "exeat-probe {line} failed: {stderr}");
    serde_json::from_slice(&output.stdout).with_context(|| format!("output of probe {line}"))
}

/// A connect load in the background.
#[derive(Debug)]
pub struct RunningLoad {
    child: Child,
}

impl RunningLoad {
    pub fn finish(self) -> Result<Load> {
        let output = self.child.wait_with_output().context("wait for the load")?;
        ensure!(output.status.success(), "the load ended with {}", output.status);
        serde_json::from_slice(&output.stdout).context("output of the load")
    }
}

/// A process that is ended when this is dropped.
#[derive(Debug)]
pub struct Background {
    child: Child,
}

impl Background {
    /// Takes over a started process.
    pub fn new(child: Child) -> Self {
        Self { child }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended by itself; the run's end kills by cgroup what is left.
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended {
            eprintln!("exeat-tests: end process {}: {error}", self.child.id());
        }
    }
}

/// `exeat-probe` lies beside this program, or a folder up (test programs are in `deps/`).
pub fn probe_binary() -> Result<PathBuf> {
    let current = std::env::current_exe().context("path of this program")?;
    current
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("exeat-probe"))
        .find(|path| path.exists())
        .context("exeat-probe is not built (cargo build -p exeat-tests --bins)")
}

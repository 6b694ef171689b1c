//! The socket layer: two processes call `connect()`, one where the programs are attached and one where not.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _, stdin, stdout},
    net::UdpSocket,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use exeat_agent::datapath::{Attachment, Datapath as _, aya::Kernel};
use exeat_tests::{netns::NetNs, run::RunGuard};

use crate::registry::DECLARED;

/// Calls of a round.
const CALLS: u32 = 1_000;
pub(crate) const NAME: &str = "connect(), by a declared prefix";

/// Two processes that connect when they are told to.
pub(crate) struct Connects {
    enforced: Caller,
    free: Caller,
}

impl Connects {
    /// Attaches the socket programs to the group above the pod's.
    pub(crate) fn start(kernel: &mut Kernel, run: &RunGuard, pod: &Path) -> Result<Self> {
        let parent = pod.parent().context("a group above the pod's")?.to_owned();
        for attached in kernel.attach(&[Attachment::Socket { cgroup: parent }]) {
            attached.result?;
        }
        let free = run.cgroup().join("free");
        fs::create_dir(&free).with_context(|| format!("make {}", free.display()))?;
        let netns = NetNs::add(&format!("{}-calls", run.name()))?;
        // All addresses are the namespace's own, so that nothing is sent and every call has a route.
        netns.ip("route add local default dev lo\n")?;
        Ok(Self { enforced: Caller::start(&netns, pod)?, free: Caller::start(&netns, &free)? })
    }

    /// A round: by what each call takes longer where the programs are attached, in nanoseconds.
    pub(crate) fn measure(&mut self) -> Result<i64> {
        let free = self.free.ask(DECLARED)?;
        Ok(self.enforced.ask(DECLARED)? - free)
    }
}

/// One of the processes.
struct Caller {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Caller {
    fn start(netns: &NetNs, group: &Path) -> Result<Self> {
        let this = std::env::current_exe().context("find this program")?;
        let mut command: Command = netns.command(&this, group)?;
        command.arg("connects").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("start the half that connects")?;
        let orders = child.stdin.take().context("its standard input")?;
        let answers = BufReader::new(child.stdout.take().context("its standard output")?);
        Ok(Self { child, orders, answers })
    }

    /// Has it connect to an address many times, and tell how long one call took.
    fn ask(&mut self, address: &str) -> Result<i64> {
        writeln!(self.orders, "{address}").context("tell it to connect")?;
        let mut line = String::new();
        self.answers.read_line(&mut line).context("hear how long it took")?;
        ensure!(!line.is_empty(), "the half that connects has ended");
        line.trim().parse().context("read how long it took")
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // It has ended by itself, or the group's end ends it.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// What the processes do: for each address that is asked for, the time of one call.
pub(crate) fn answer_rounds() -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0").context("open a socket")?;
    for line in stdin().lock().lines() {
        let address = line?;
        let destination: std::net::SocketAddr = format!("{address}:8443").parse()?;
        let began = Instant::now();
        for _ in 0..CALLS {
            socket.connect(destination).context("connect to what is declared")?;
        }
        let each = began.elapsed().as_nanos() / u128::from(CALLS);
        println!("{each}");
        stdout().flush()?;
    }
    Ok(())
}

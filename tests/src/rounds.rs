//! Promise 2 at length: a name nobody asked for before is resolved and its address connected to at once,
//! again and again, beside CPU hogs, with the agent killed half-way and started again later.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::agent::AgentFiles;
use crate::node::Pod;
use crate::pod_client::{Kind, Transport};
use crate::probe::FirstConnects;
use crate::registry::Entry;
use crate::scene::Scene;
use crate::wait;
use crate::world::World;

const SUFFIX: &str = "many.example.com";
const PORT: u16 = 80;
/// What every round is: transport of the question, and IP version of question and connection.
const LANES: [(Transport, Kind); 4] = [
    (Transport::Udp, Kind::A),
    (Transport::Udp, Kind::Aaaa),
    (Transport::Tcp, Kind::A),
    (Transport::Tcp, Kind::Aaaa),
];
/// Pods of one lane, since a pod may hold 4096 learned addresses at a time.
const PODS: u32 = 2;
/// Most names of one pod.
pub const PER_POD_MOST: u32 = 4000;
const HOGS: usize = 2;
const TAKES_AT_MOST: Duration = Duration::from_mins(20);

/// What came of it.
#[derive(Debug)]
pub struct Rounds {
    lanes: Vec<(Transport, Kind, FirstConnects)>,
    /// Connections that the server saw while the agent was dead.
    pub without_agent: u64,
    /// Connections and questions that arrived at the servers.
    pub connections: u64,
    pub questions: u64,
    /// A connect to an address that no answer named, which must be refused.
    pub bare: String,
}

impl Rounds {
    pub fn attempts(&self) -> u64 {
        self.lanes.iter().map(|(_, _, outcome)| u64::from(outcome.attempts)).sum()
    }

    pub fn failed(&self) -> u64 {
        self.lanes.iter().map(|(_, _, outcome)| u64::from(outcome.failed)).sum()
    }

    /// What is not as promised, one line each. What arrived is compared with what was tried, so
    /// that rounds that never happened do not pass.
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> =
            self.lanes.iter().flat_map(|(_, _, outcome)| outcome.failures.clone()).collect();
        let attempts = self.attempts();
        for (what, count) in [("connections", self.connections), ("questions", self.questions)] {
            if count < attempts {
                faults.push(format!("{count} {what} arrived for {attempts} rounds"));
            }
        }
        if self.failed() > 0 {
            faults.push(format!("{} first connects failed", self.failed()));
        }
        if self.without_agent == 0 {
            faults.push("no round took place with the agent dead".to_owned());
        }
        if self.bare != "EPERM" {
            faults.push(format!("an address that no answer named: {}", self.bare));
        }
        faults
    }
}

impl fmt::Display for Rounds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "DNS  IP    rounds  failed  seconds")?;
        for (transport, kind, outcome) in &self.lanes {
            let version = if *kind == Kind::A { "v4" } else { "v6" };
            let FirstConnects { attempts, failed, seconds, .. } = outcome;
            let transport = transport.word();
            writeln!(formatter, "{transport}  {version}  {attempts:8}  {failed:6}  {seconds:7.1}")?;
        }
        writeln!(formatter, "all      {:8}  {:6}", self.attempts(), self.failed())?;
        writeln!(formatter, "with the agent dead: {}", self.without_agent)?;
        writeln!(
            formatter,
            "arrived: {} questions, {} connections",
            self.questions, self.connections
        )?;
        write!(formatter, "an address that no answer named: {}", self.bare)
    }
}

/// Plays `per_pod` rounds in each of the pods, all lanes at the same time.
pub fn play(test: &str, per_pod: u32) -> Result<Rounds> {
    ensure!((1..=PER_POD_MOST).contains(&per_pod), "1 to {PER_POD_MOST} rounds a pod");
    let mut world = World::new(test)?;
    let mut lanes: Vec<Vec<Pod>> = Vec::new();
    for lane in 0..LANES.len() {
        let pods = (0..PODS).map(|pod| world.node.pod("shop", &format!("lane{lane}-{pod}")));
        lanes.push(pods.collect::<Result<_>>()?);
    }
    let files = AgentFiles::new(&world.node)?;
    let mut scene = Scene { agent: None, files, world };
    scene.put(&Entry::new("shop", "many", &format!("*.{SUFFIX}")).port(PORT, "HTTP"))?;
    scene.world.dns.numbered(SUFFIX, addresses);
    scene.start_agent()?;
    let hogs = (0..HOGS).map(|_| scene.world.web.start_burning()).collect::<Result<Vec<_>>>()?;

    let done = AtomicUsize::new(0);
    let (outcomes, without_agent) = std::thread::scope(|scope| -> Result<_> {
        let threads: Vec<_> = LANES
            .iter()
            .zip(&lanes)
            .enumerate()
            .map(|(lane, (&(transport, kind), pods))| {
                let done = &done;
                scope.spawn(move || {
                    let outcome = ride(lane, transport, kind, pods, per_pod);
                    done.fetch_add(1, Ordering::Relaxed);
                    outcome
                })
            })
            .collect();
        let total = u64::from(per_pod) * u64::from(PODS) * LANES.len() as u64;
        let without_agent = interrupt(&mut scene, total, || done.load(Ordering::Relaxed));
        let outcomes: Result<Vec<_>> = threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a lane panicked"))?)
            .collect();
        Ok((outcomes?, without_agent?))
    })?;
    drop(hogs);
    // The server counts a connection when it accepts it, which may be after the client is gone.
    let total: u64 = outcomes.iter().map(|it| u64::from(it.attempts - it.failed)).sum();
    let arrivals = || scene.world.http.arrivals().at_port(PORT);
    wait::until(Duration::from_secs(10), || (arrivals() >= total).then_some(()));
    let (connections, questions) = (arrivals(), scene.world.dns.asked_total());
    let pod = lanes.first().and_then(|pods| pods.first()).context("a pod")?;
    let nobodys = addresses(u32::from(u16::MAX)).first().copied().context("an address")?;
    let bare = pod.connect(nobodys, PORT)?.result;
    let lanes = LANES.iter().zip(outcomes);
    let lanes = lanes.map(|(&(transport, kind), outcome)| (transport, kind, outcome)).collect();
    Ok(Rounds { lanes, without_agent, connections, questions, bare })
}

/// All rounds of one lane, pod after pod, with names that no other lane asks.
fn ride(
    lane: usize,
    transport: Transport,
    kind: Kind,
    pods: &[Pod],
    per_pod: u32,
) -> Result<FirstConnects> {
    let mut sum = FirstConnects { attempts: 0, failed: 0, failures: Vec::new(), seconds: 0.0 };
    for (pod, number) in pods.iter().zip(0..) {
        let first = (u32::try_from(lane)? * PODS + number) * PER_POD_MOST;
        let over = (transport, kind);
        let outcome = pod.first_connects_over(over, SUFFIX, PORT, first, per_pod)?;
        sum.attempts += outcome.attempts;
        sum.failed += outcome.failed;
        sum.failures.extend(outcome.failures);
        sum.seconds += outcome.seconds;
    }
    Ok(sum)
}

/// Kills the agent (-9) when half of the connections have arrived, starts it again after three
/// quarters, and counts those in between.
fn interrupt(scene: &mut Scene, total: u64, done: impl Fn() -> usize) -> Result<u64> {
    let at_least = |scene: &Scene, count: u64| {
        let arrivals = || scene.world.http.arrivals().at_port(PORT);
        let came = || arrivals() >= count || done() == LANES.len();
        ensure!(wait::holds(TAKES_AT_MOST, came), "{} of {count} connections", arrivals());
        Ok(arrivals())
    };
    at_least(scene, total / 2)?;
    scene.kill_agent()?;
    let before = scene.world.http.arrivals().at_port(PORT);
    let after = at_least(scene, total / 4 * 3)?;
    scene.start_agent()?;
    Ok(after - before)
}

/// Addresses of the n-th name, of the benchmark and the documentation prefix.
fn addresses(number: u32) -> Vec<IpAddr> {
    let v4 = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number;
    let v6 = u128::from(Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 0)) + u128::from(number);
    vec![Ipv4Addr::from(v4).into(), Ipv6Addr::from(v6).into()]
}
